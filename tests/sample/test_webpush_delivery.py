"""A run's end reaches every subscriber once, through restarts of everything. Real Redis, Postgres and encryption."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import psycopg
import pytest
import redis
from conftest import PostgresServer, RedisServer
from push_service import PushService, check_sender, message
from push_stack import RUNID, Stack, until
from wepppy.microservices import webpush_push, webpush_watch


@pytest.fixture
def stack(redis_env: RedisServer, postgres_env: PostgresServer) -> Iterator[Stack]:
    with psycopg.connect(postgres_env.url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE run (id serial PRIMARY KEY, runid text UNIQUE, config text NOT NULL)")
        cursor.execute(
            "CREATE TABLE webpush_subscription (id serial PRIMARY KEY, runid text NOT NULL, endpoint text NOT NULL, "
            "p256dh text NOT NULL, auth text NOT NULL, created timestamptz NOT NULL DEFAULT now(), "
            "UNIQUE (runid, endpoint))"
        )
        cursor.execute("INSERT INTO run (runid, config) VALUES (%s, 'sample')", (RUNID,))
    connection.close()
    with PushService() as service:
        made = Stack(redis_env, postgres_env, service)
        yield made


@pytest.mark.parametrize("status", ["finished", "failed"])
def test_the_end_of_a_run_arrives_encrypted_and_signed(stack: Stack, status: str) -> None:
    async def scenario() -> None:
        stack.subscribe()
        stack.enqueue("job")
        async with stack.watcher():
            stack.state("job", status)
            assert stack.publish("job", status) == 1
            await until(lambda: list(stack.marks().values()) == ["sent"])

    asyncio.run(scenario())
    [push] = stack.service.pushes
    told = message(stack.browser, push)
    assert (told["runid"], told["config"], told["status"]) == (RUNID, "sample", status)
    assert told["url"] == f"/weppcloud/runs/{RUNID}/sample/"
    claims = check_sender(push, stack.service.origin, stack.key.public_key, time.time())
    assert claims["sub"] == "mailto:operator@example.org"
    assert RUNID.encode() not in push.body


def test_every_subscriber_is_notified_once_however_many_events_and_watchers_there_are(stack: Stack) -> None:
    async def scenario() -> None:
        for index in range(10):
            stack.subscribe(f"browser-{index}")
        stack.enqueue("job")
        async with stack.watcher() as first, stack.watcher() as second:
            stack.state("job", "finished")
            for _ in range(5):
                assert stack.publish("job", "finished") == 2
            await until(lambda: list(stack.marks().values()) == ["sent"] * 10)
            await asyncio.gather(first.sweep(), second.sweep())
        async with stack.watcher() as third:  # after a restart
            await third.sweep()

    asyncio.run(scenario())
    assert sorted(push.path for push in stack.service.pushes) == sorted(
        f"/push/browser-{index}" for index in range(10)
    )


def test_an_end_without_a_watcher_is_sent_at_the_next_start(stack: Stack) -> None:
    async def scenario() -> None:
        stack.subscribe()
        stack.enqueue("job")
        stack.state("job", "finished")
        assert stack.publish("job", "finished") == 0
        async with stack.watcher():
            await until(lambda: stack.statuses() == ["finished"])

    asyncio.run(scenario())


def test_an_end_while_redis_restarts_is_told(stack: Stack) -> None:
    async def scenario() -> None:
        stack.subscribe()
        stack.enqueue("job")
        async with stack.watcher() as watcher:
            await asyncio.to_thread(stack.redis_server.stop)
            await until(lambda: not watcher.listening)
            await asyncio.to_thread(stack.redis_server.start)
            stack.state("job", "finished")  # and no event: it was published without a listener
            await until(lambda: list(stack.marks().values()) == ["sent"])

    asyncio.run(scenario())
    assert stack.statuses() == ["finished"]


def test_an_end_while_postgres_is_down_is_sent_when_it_is_back(stack: Stack) -> None:
    async def scenario() -> None:
        stack.subscribe()
        stack.enqueue("job")
        async with stack.watcher():
            await asyncio.to_thread(stack.postgres_server.stop)
            try:
                stack.state("job", "finished")
                stack.publish("job", "finished")
            finally:
                await asyncio.to_thread(stack.postgres_server.start)
            await until(lambda: list(stack.marks().values()) == ["sent"])

    asyncio.run(scenario())
    assert stack.statuses() == ["finished"]


def test_a_failure_that_is_tried_again_is_not_the_end(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webpush_watch, "FIRST_RECHECK", 0.001)

    async def scenario() -> None:
        stack.subscribe()
        stack.enqueue("job")
        async with stack.watcher() as watcher:
            stack.state("job", "queued")
            stack.publish("job", "failed")
            await until(lambda: not watcher._tasks)
            assert stack.service.pushes == []
            stack.state("job", "finished")
            stack.publish("job", "finished")
            await until(lambda: list(stack.marks().values()) == ["sent"])

    asyncio.run(scenario())
    assert stack.statuses() == ["finished"]


def test_an_event_a_moment_before_the_state_is_not_lost(stack: Stack) -> None:
    async def scenario() -> None:
        stack.subscribe()
        stack.enqueue("job")
        async with stack.watcher() as watcher:
            stack.publish("job", "finished")
            await until(lambda: bool(watcher._tasks))
            stack.state("job", "finished")
            await until(lambda: stack.statuses() == ["finished"])

    asyncio.run(scenario())


def test_a_subscription_after_the_end_gets_no_message(stack: Stack) -> None:
    async def scenario() -> None:
        stack.enqueue("job")
        stack.state("job", "finished", datetime.now(UTC) - timedelta(minutes=1))
        stack.subscribe()
        async with stack.watcher() as watcher:
            await watcher.sweep()
            stack.enqueue("next")
            stack.state("next", "finished")
            stack.publish("next", "finished")
            await until(lambda: list(stack.marks().values()) == ["sent"])

    asyncio.run(scenario())
    assert len(stack.service.pushes) == 1
    assert next(iter(stack.marks())).startswith("webpush:next:")


@pytest.mark.parametrize("status", [404, 410])
def test_an_endpoint_that_is_gone_is_dropped(stack: Stack, status: int) -> None:
    stack.service.answers.append((status, {}))

    async def scenario() -> None:
        stack.subscribe()
        stack.enqueue("job")
        async with stack.watcher():
            stack.state("job", "finished")
            stack.publish("job", "finished")
            await until(lambda: list(stack.marks().values()) == ["gone"])

    asyncio.run(scenario())
    assert stack.store.of_run(RUNID) == []
    assert len(stack.service.pushes) == 1


def test_a_busy_push_service_is_asked_again_no_sooner_than_it_says(stack: Stack) -> None:
    later = datetime.now(UTC) + timedelta(hours=2)
    stack.service.answers.extend(
        [
            (429, {"retry-after": "7"}),
            (503, {"retry-after": format_datetime(later, usegmt=True)}),
            (500, {}),
            (502, {"retry-after": "soon"}),
        ]
    )

    async def scenario() -> None:
        stack.subscribe()
        stack.enqueue("job")
        async with stack.watcher():
            stack.state("job", "finished")
            stack.publish("job", "finished")
            await until(lambda: list(stack.marks().values()) == ["sent"])

    asyncio.run(scenario())
    assert len(stack.service.pushes) == 5
    fixed, dated, third, fourth = stack.slept
    assert fixed == 7
    assert 7100 < dated <= 7200
    assert (third, fourth) == (4.0, 8.0)  # 2 s doubled twice and thrice, half of it by chance
    assert len(stack.store.of_run(RUNID)) == 1


def test_a_push_service_that_stays_broken_is_given_up(stack: Stack) -> None:
    stack.service.answers.extend([(500, {})] * 100)

    async def scenario() -> None:
        stack.subscribe()
        stack.enqueue("job")
        async with stack.watcher() as watcher:
            stack.state("job", "finished")
            stack.publish("job", "finished")
            await until(lambda: list(stack.marks().values()) == ["given up"])
            await watcher.sweep()

    asyncio.run(scenario())
    assert len(stack.service.pushes) == webpush_push.MAX_ATTEMPTS
    assert stack.slept == sorted(stack.slept)


def test_a_push_service_that_refuses_is_not_asked_again(stack: Stack) -> None:
    stack.service.answers.append((403, {}))

    async def scenario() -> None:
        stack.subscribe()
        stack.enqueue("job")
        async with stack.watcher():
            stack.state("job", "finished")
            stack.publish("job", "finished")
            await until(lambda: list(stack.marks().values()) == ["refused"])

    asyncio.run(scenario())
    assert len(stack.service.pushes) == 1


def test_a_stop_in_the_middle_of_waiting_hands_the_message_to_the_next_process(stack: Stack) -> None:
    stack.service.answers.append((503, {"retry-after": "3600"}))

    async def scenario() -> None:
        stack.subscribe()
        stack.enqueue("job")
        stack.sleep = asyncio.sleep  # type: ignore[method-assign, assignment]
        async with stack.watcher():
            stack.state("job", "finished")
            stack.publish("job", "finished")
            await until(lambda: len(stack.service.pushes) == 1)
        assert stack.marks() == {}
        async with stack.watcher():
            await until(lambda: list(stack.marks().values()) == ["sent"])

    asyncio.run(scenario())
    assert len(stack.service.pushes) == 2


def test_events_that_are_not_events_change_nothing(stack: Stack) -> None:
    async def scenario() -> None:
        stack.subscribe()
        stack.enqueue("job")
        async with stack.watcher() as watcher:
            with redis.Redis.from_url(stack.redis_server.url(2)) as client:
                for data in (
                    "",
                    "text",
                    "[]",
                    "{}",
                    '{"job": 1, "status": "finished"}',
                    '{"job": "job"}',
                    b"\xff",
                    "1" * 5000,
                ):
                    client.publish(f"{RUNID}:rq", data)
                    client.publish(":rq", data)
            stack.state("job", "finished")
            stack.publish("job", "finished")
            await until(lambda: list(stack.marks().values()) == ["sent"])
            assert watcher.listening

    asyncio.run(scenario())
    assert len(stack.service.pushes) == 1
