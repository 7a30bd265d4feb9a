"""A run's end reaches every subscriber once, through restarts of everything. Real Redis, Postgres and encryption."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import psycopg
import pytest
from conftest import PostgresServer, RedisServer
from push_service import PushService, check_sender, encode, message
from push_stack import RUNID, Stack
from redis import RedisError
from wepppy.microservices import webpush_store, webpush_watch
from wepppy.microservices.webpush import load_key


@pytest.fixture
def stack(
    redis_env: RedisServer, postgres_env: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stack]:
    monkeypatch.setenv("WEBPUSH_ALLOW_INSECURE", "true")
    monkeypatch.setenv("VAPID_SUBJECT", "mailto:operator@example.org")
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
        yield Stack(redis_env, postgres_env, service)


@pytest.mark.parametrize("status", ["finished", "failed"])
def test_the_end_of_a_run_arrives_encrypted_and_signed(
    stack: Stack, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAPID_PRIVATE_KEY", encode(bytes(range(1, 33))))
    stack.key, public_key = load_key()
    stack.subscribe()
    stack.enqueue("job")
    watcher = stack.watcher()
    watcher.look()
    assert stack.service.pushes == []
    stack.state("job", status)
    watcher.look()
    [push] = stack.service.pushes
    told = message(stack.browser, push)
    assert (told["runid"], told["config"], told["status"]) == (RUNID, "sample", status)
    assert told["url"] == f"/weppcloud/runs/{RUNID}/sample/"
    claims = check_sender(push, stack.service.origin, public_key, time.time())
    assert claims["sub"] == "mailto:operator@example.org"
    assert RUNID.encode() not in push.body


def test_every_subscriber_is_notified_once(stack: Stack) -> None:
    for index in range(20):
        stack.subscribe(f"browser-{index}")
    stack.end("job")
    watcher = stack.watcher()
    watcher.look()
    watcher.look()
    stack.watcher().look()  # after a restart
    assert sorted(push.path for push in stack.service.pushes) == sorted(
        f"/push/browser-{index}" for index in range(20)
    )
    assert webpush_store.subscriptions() == []


def test_a_message_that_was_sent_while_postgres_went_away_is_not_sent_again(stack: Stack) -> None:
    stack.subscribe()
    stack.end("job")
    watcher = stack.watcher()
    genuine = watcher._send

    def send_and_stop(*arguments: Any) -> None:
        genuine(*arguments)
        stack.postgres_server.stop()

    watcher._send = send_and_stop  # type: ignore[method-assign]
    try:
        with pytest.raises(psycopg.Error):
            watcher.look()
        with pytest.raises(psycopg.Error):
            watcher.look()
    finally:
        stack.postgres_server.start()
    watcher.look()
    assert len(stack.service.pushes) == 1
    assert webpush_store.subscriptions() == []


def test_an_end_while_redis_restarts_is_told(stack: Stack) -> None:
    stack.subscribe()
    stack.enqueue("job")
    watcher = stack.watcher()
    watcher.look()
    stack.redis_server.stop()
    with pytest.raises(RedisError):
        watcher.look()
    stack.redis_server.start()
    stack.state("job", "finished")
    watcher.look()
    assert stack.statuses() == ["finished"]


def test_a_failure_that_is_tried_again_is_not_the_end(stack: Stack) -> None:
    stack.subscribe()
    stack.enqueue("job")
    watcher = stack.watcher()
    stack.state("job", "queued")
    watcher.look()
    assert stack.service.pushes == []
    stack.state("job", "finished")
    watcher.look()
    assert stack.statuses() == ["finished"]


def test_a_subscription_after_the_end_is_for_the_next_end(stack: Stack) -> None:
    stack.enqueue("job")
    stack.state("job", "finished", datetime.now(UTC) - timedelta(minutes=1))
    stack.subscribe()
    watcher = stack.watcher()
    watcher.look()
    assert stack.service.pushes == []
    stack.end("next", "failed")
    watcher.look()
    assert stack.statuses() == ["failed"]


def test_a_subscription_made_again_while_a_message_is_sent_stays(stack: Stack) -> None:
    stack.subscribe()
    stack.end("job")
    watcher = stack.watcher()
    genuine = watcher._send

    def send_and_subscribe(*arguments: Any) -> None:
        genuine(*arguments)
        stack.subscribe()

    watcher._send = send_and_subscribe  # type: ignore[method-assign]
    watcher.look()
    assert len(webpush_store.subscriptions()) == 1


@pytest.mark.parametrize("status", [404, 410, 403, 302])
def test_a_push_service_that_refuses_is_not_asked_again(stack: Stack, status: int) -> None:
    stack.service.answers.append((status, {"location": "/elsewhere"}))
    stack.subscribe()
    stack.end("job")
    watcher = stack.watcher()
    watcher.look()
    watcher.look()
    assert len(stack.service.pushes) == 1
    assert webpush_store.subscriptions() == []


def test_a_busy_push_service_is_asked_again_no_sooner_than_it_says(stack: Stack) -> None:
    later = datetime.now(UTC) + timedelta(hours=2)
    stack.service.answers.extend(
        [(429, {"retry-after": "700"}), (503, {"retry-after": format_datetime(later, usegmt=True)})]
    )
    stack.subscribe()
    stack.end("job")
    watcher = stack.watcher()
    for ahead, pushes in ((0, 1), (690, 1), (710, 2), (7100, 2), (7300, 3)):
        stack.ahead = ahead
        watcher.look()
        assert len(stack.service.pushes) == pushes, ahead
    assert webpush_store.subscriptions() == []


def test_a_push_service_that_stays_broken_is_asked_ever_less_often_and_given_up(stack: Stack) -> None:
    stack.service.answers.extend([(500, {"retry-after": "soon"})] * 100)
    stack.subscribe()
    stack.end("job")
    watcher = stack.watcher()
    while webpush_store.subscriptions():
        before = len(stack.service.pushes)
        watcher.look()
        assert len(stack.service.pushes) <= before + 1
        stack.ahead = stack.ahead * 1.3 + 6
        assert stack.ahead < webpush_watch.TTL_SECONDS * 1.3
    assert 5 < len(stack.service.pushes) < 16


def test_a_restart_in_the_middle_of_waiting_hands_the_message_to_the_next_process(stack: Stack) -> None:
    stack.service.answers.append((503, {"retry-after": "3600"}))
    stack.subscribe()
    stack.end("job")
    stack.watcher().look()
    assert len(stack.service.pushes) == 1
    stack.watcher().look()
    assert len(stack.service.pushes) == 2


def test_an_address_that_became_forbidden_is_sent_nothing(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.subscribe()
    stack.end("job")
    monkeypatch.delenv("WEBPUSH_ALLOW_INSECURE")
    stack.watcher().look()
    assert stack.service.pushes == []
