"""Queues that exactly one pool may consume, and queues for pools with the main host's revision."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator

import pytest
import redis
import worker_jobs
from conftest import RedisServer, wait_until
from rq import Queue
from worker_stack import RUNID, Stack
from workerqueues import QueueRules

pytest_plugins = ["worker_stack"]
pytestmark = pytest.mark.timeout(300)

CONTAINER = socket.gethostname()


def record(stack: Stack, host: str) -> dict[str, str]:
    found = stack.queue.connection.hgetall(f"wepp:pool:{host}:{CONTAINER}")
    return {name.decode(): value.decode() for name, value in found.items()}


def takes(stack: Stack, host: str) -> str:
    return record(stack, host).get("queues", "no record")


def listeners(stack: Stack, queue: str) -> set[str]:
    """Return the names of the workers that listen to a queue."""
    return {
        key.decode().removeprefix("rq:worker:")
        for key in stack.queue.connection.smembers(f"rq:workers:{queue}")
    }


def test_a_second_consumer_of_an_exactly_one_queue_is_refused_and_takes_its_other_queues(
    stack: Stack,
) -> None:
    stack.start(host="one", RQ_WORKER_COUNT="2", RQ_EXACTLY_ONE="batch,fork-archive")
    wait_until(
        lambda: stack.health("one").stdout == "ok 2 of 2 workers alive\n", f"the first pool\n{stack.log}"
    )
    stack.start(host="two", RQ_WORKER_COUNT="2", RQ_EXACTLY_ONE="batch")
    note = f"batch is not taken: one:{CONTAINER} consumes it"
    wait_until(
        lambda: stack.health("two").stdout == f"ok 2 of 2 workers alive; {note}\n",
        f"the second pool\n{stack.log}",
    )
    assert stack.health("two").returncode == 0
    assert (takes(stack, "one"), takes(stack, "two")) == ("default,batch", "default")
    assert (record(stack, "one")["note"], record(stack, "two")["note"]) == ("", note)
    assert note in stack.log
    (consumer,) = listeners(stack, "batch")
    assert consumer.startswith("one.")
    assert len(listeners(stack, "default")) == 4


def test_a_pool_that_has_no_other_queue_waits_until_the_consumer_ends_or_is_lost(stack: Stack) -> None:
    first = stack.start("batch", host="one", RQ_EXACTLY_ONE="batch")
    wait_until(lambda: stack.health("one").returncode == 0, f"the first pool\n{stack.log}")
    second = stack.start("batch", host="two", RQ_WORKER_COUNT="3", RQ_EXACTLY_ONE="batch")
    waits = f"ok 0 of 0 workers alive; batch is not taken: one:{CONTAINER} consumes it\n"
    wait_until(lambda: stack.health("two").stdout == waits, f"the second pool waiting\n{stack.log}")
    first.terminate()
    assert first.wait(timeout=60) == 0
    wait_until(lambda: stack.health("two").stdout == "ok 1 of 1 workers alive\n", f"the change\n{stack.log}")
    os.killpg(second.pid, signal.SIGKILL)
    assert 20_000 < stack.queue.connection.pttl("wepp:consumer:batch") <= 30_000
    stack.queue.connection.pexpire("wepp:consumer:batch", 1)  # as after half a minute
    stack.start("batch", host="three", RQ_EXACTLY_ONE="batch")
    wait_until(
        lambda: stack.health("three").stdout == "ok 1 of 1 workers alive\n", f"the third pool\n{stack.log}"
    )


def test_a_queue_that_is_given_to_another_host_is_let_go_after_the_job_under_way(
    stack: Stack, release: Callable[[], None]
) -> None:
    owner = "wepp:queue-owner:batch"
    batch = Queue("batch", connection=stack.queue.connection)
    # The job has more time than a container that is stopped gives it.
    stack.start(host="one", RQ_EXACTLY_ONE="batch", RQ_WORKER_STOP_GRACE="200ms")
    wait_until(lambda: stack.health("one").returncode == 0, f"the first pool\n{stack.log}")
    stack.start(host="two", RQ_EXACTLY_ONE="batch")
    wait_until(lambda: takes(stack, "two") == "default", f"the second pool\n{stack.log}")
    under_way = batch.enqueue("worker_jobs.wait_for_release", RUNID)
    stack.started(under_way)
    batch.connection.set(owner, "two")
    wait_until(
        lambda: "host two owns it" in record(stack, "one")["note"], f"the order being seen\n{stack.log}"
    )
    later = batch.enqueue("worker_jobs.by_keyword", runid=RUNID)
    for _ in range(2):
        seen = record(stack, "two")["heartbeat"]
        wait_until(
            lambda seen=seen: record(stack, "two")["heartbeat"] > seen, "another look of the second pool"
        )
    assert batch.connection.get("wepp:consumer:batch") == f"one:{CONTAINER}".encode()
    assert (under_way.get_status(), later.get_status()) == ("started", "queued")
    release()
    stack.ended(under_way, "finished")
    stack.ended(later, "finished")
    assert worker_jobs.starts(RUNID) == 1
    assert takes(stack, "two") == "default,batch"
    (consumer,) = listeners(stack, "batch")
    assert consumer.startswith("two.")
    wait_until(
        lambda: record(stack, "one")["workers"] == "1 of 1", f"the first pool's other queue\n{stack.log}"
    )
    # Without an owner it stays where it is; given back it is taken again.
    batch.connection.delete(owner)
    wait_until(
        lambda: f"two:{CONTAINER} consumes it" in record(stack, "one")["note"], f"no owner\n{stack.log}"
    )
    batch.connection.set(owner, "one")
    wait_until(lambda: takes(stack, "one") == "default,batch", f"the way back\n{stack.log}")
    stack.ended(batch.enqueue("worker_jobs.by_keyword", runid=RUNID), "finished")


# ---- the rules alone ----


@pytest.fixture
def connection(redis_env: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_env.url(9)) as made:
        yield made


def rules(connection: redis.Redis, host: str = "two", **options: list[str]) -> QueueRules:
    names = ["default", "batch", "fork-archive"]
    return QueueRules(names, connection, host=host, container="c", revision="mine", **options)


def main_runs(connection: redis.Redis, revision: str, age: int = 0) -> None:
    key = f"wepp:pool:main:{revision}"
    connection.sadd("wepp:pools", key)
    connection.hset(key, mapping={"revision": revision, "heartbeat": connection.time()[0] - age})


def test_queues_that_ask_for_it_are_refused_to_a_host_with_another_revision_than_main(
    connection: redis.Redis,
) -> None:
    second = rules(connection, same_revision=["batch"])
    second.look([])
    assert second.allowed == second.names  # nothing is known of main
    main_runs(connection, "mine", age=3600)
    main_runs(connection, "other")
    second.look([])
    assert second.allowed == ["default", "fork-archive"]
    assert second.note == "batch is not taken: its revision is mine here and other on main"
    main_runs(connection, "mine")  # while main is being updated
    second.look([])
    assert (second.allowed, second.note) == (second.names, "")


def test_the_main_host_itself_may_run_two_revisions(connection: redis.Redis) -> None:
    main_runs(connection, "other")
    main = rules(connection, host="main", same_revision=["batch"])
    main.look([])
    assert main.allowed == main.names


def test_a_queue_that_was_lost_to_another_is_not_taken_and_not_let_go_for_it(connection: redis.Redis) -> None:
    first, second = (rules(connection, host, exactly_one=["batch"]) for host in ("one", "two"))
    first.look([])
    connection.delete("wepp:consumer:batch")  # one was not heard of for half a minute
    second.look([])
    first.look(["batch"])
    first.close()
    assert "batch" not in first.allowed
    assert "batch" in second.allowed
    assert connection.get("wepp:consumer:batch") == b"two:c"


def test_one_worker_alone_takes_the_queues_of_one_consumer(connection: redis.Redis) -> None:
    first = rules(connection, exactly_one=["fork-archive", "batch"])
    first.look([])
    assert first.plan(3) == [("default", "batch", "fork-archive"), ("default",), ("default",)]
    second = rules(connection, "three", exactly_one=["fork-archive"])
    second.look([])
    assert second.plan(2) == [("default", "batch")] * 2
    third = rules(connection, "four", exactly_one=["default", "batch", "fork-archive"])
    third.look([])
    assert third.plan(2) == [("default",)]
    assert rules(connection, exactly_one=["fork-archive"]).plan(2) == []
