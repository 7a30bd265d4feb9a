"""The program that starts the workers, and the check that looks after their health."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import worker_jobs
from conftest import RedisServer, wait_until
from rq.worker_pool import WorkerData
from worker_stack import LAUNCHER, RUNID, Stack, alive, session_of
from workerpool import ENTRY_GRACE, RECORD_LIFE, WatchedPool
from workerqueues import QueueRules

pytest_plugins = ["worker_stack"]
pytestmark = pytest.mark.timeout(180)


def test_health_follows_the_workers(stack: Stack) -> None:
    assert "not reported" in stack.health().stdout
    assert stack.health().returncode == 1
    pool = stack.start(RQ_WORKER_COUNT="2")
    wait_until(lambda: stack.health().returncode == 0, "the pool being healthy")
    assert stack.health().stdout == "ok 2 of 2 workers alive\n"
    for key in stack.queue.connection.smembers("rq:workers"):
        stack.queue.connection.delete(key)  # as when heartbeats stop coming and the entry expires
    wait_until(lambda: stack.health().returncode == 1, "the pool being unhealthy")
    assert stack.health().stdout.startswith("bad ")
    pool.send_signal(signal.SIGSTOP)
    (stack.folder / "health-main").write_text("ok 2 of 2 workers alive\n")
    assert stack.health().returncode == 0
    old = time.time() - 30
    os.utime(stack.folder / "health-main", (old, old))
    assert "not reported for 25 s" in stack.health().stdout
    assert stack.health().returncode == 1
    pool.send_signal(signal.SIGCONT)


def test_the_password_is_on_no_command_line_and_in_no_log(stack: Stack) -> None:
    stack.start()
    wait_until(lambda: stack.health().returncode == 0, "the pool being healthy")
    for pid in [stack.pools[0].pid, *stack.workers()]:
        assert stack.server.password.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert stack.server.password not in stack.log
    assert "p%40ss" not in stack.log


def test_a_pool_tells_all_hosts_what_it_runs_until_it_ends(stack: Stack) -> None:
    pool = stack.start(host="second", RQ_WORKER_COUNT="2")
    wait_until(lambda: stack.health("second").returncode == 0, "the pool being healthy")
    redis_9 = stack.queue.connection
    (key,) = redis_9.keys("wepp:pool:*")
    assert key.decode() == f"wepp:pool:second:{socket.gethostname()}"
    record = {name.decode(): value.decode() for name, value in redis_9.hgetall(key).items()}
    assert len(record.pop("revision")) == 12
    assert abs(int(record.pop("heartbeat")) - redis_9.time()[0]) <= 6
    assert record == {
        "host": "second",
        "container": socket.gethostname(),
        "queues": "default,batch",
        "workers": "2 of 2",
        "note": "",
    }
    assert RECORD_LIFE - 60 < redis_9.ttl(key) <= RECORD_LIFE
    workers = redis_9.smembers("rq:workers")
    assert len(workers) == 2
    for worker in workers:
        redis_9.delete(worker)
        assert worker.startswith(b"rq:worker:second.")
    wait_until(lambda: redis_9.hget(key, "workers") == b"0 of 2", "the loss being told")
    assert redis_9.hget(key, "note") == b"not all workers are alive"
    pool.terminate()
    assert pool.wait(timeout=60) == 0
    assert redis_9.keys("wepp:pool:*") == []


def test_no_job_is_lost_that_comes_while_idle_workers_are_being_stopped(stack: Stack) -> None:
    came = []
    for _ in range(3):
        pool = stack.start(RQ_WORKER_COUNT="2")
        wait_until(lambda: stack.health().returncode == 0, "the pool being healthy")
        pool.send_signal(signal.SIGTERM)
        while pool.poll() is None:
            came.append(stack.queue.enqueue(worker_jobs.by_keyword, runid=RUNID))
            time.sleep(0.005)
    stack.start(RQ_WORKER_COUNT="2")
    for job in came:
        stack.ended(job, "finished")
    assert "lost" not in stack.log


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "said"),
    [
        ([], {}, 64, "usage"),
        (["--help"], {}, 64, "usage"),
        (["default"], {"RQ_WORKER_COUNT": "0"}, 64, "RQ_WORKER_COUNT"),
        (["default"], {"RQ_WORKER_COUNT": "many"}, 64, "RQ_WORKER_COUNT"),
        (["default"], {"WORKER_HOST": "the second"}, 64, "WORKER_HOST"),
        (["default"], {"RQ_REDIS_WAIT_TIMEOUT_SECONDS": "-1"}, 64, "RQ_REDIS_WAIT_TIMEOUT_SECONDS"),
        (["default"], {"REDIS_URL": "redis://:hidden@host:port/0"}, 64, "URL"),
        (["default"], {"REDIS_URL": "carrier-pigeon://:hidden@host/0"}, 64, "URL"),
        (["default"], {"REDIS_PASSWORD_FILE": "/nowhere"}, 64, "REDIS_PASSWORD"),
        (["default"], {"REDIS_PORT": "1", "RQ_REDIS_WAIT_TIMEOUT_SECONDS": "0"}, 69, "did not answer"),
        (["default"], {"REDIS_PASSWORD": "wrong"}, 77, "password"),
    ],
)
def test_the_launcher_refuses_what_cannot_work(
    stack: Stack, arguments: list[str], settings: dict[str, str], code: int, said: str
) -> None:
    result = subprocess.run(
        [sys.executable, str(LAUNCHER), *arguments],
        env=stack.environment(**settings),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == code, result.stderr
    assert said in result.stderr
    assert "hidden" not in result.stderr
    assert "Traceback" not in result.stderr


def test_the_launcher_waits_for_redis_and_ends_by_a_signal(stack: Stack) -> None:
    pool = stack.start(REDIS_PORT="1")
    wait_until(lambda: "waiting for Redis" in stack.log, "the launcher waiting")
    pool.terminate()
    assert pool.wait(timeout=30) == 0


def test_workers_whose_entries_are_lost_are_replaced_and_work_goes_on(
    stack: Stack, release: Callable[[], None]
) -> None:
    stack.start(RQ_WORKER_COUNT="2")
    wait_until(lambda: stack.health().returncode == 0, "the pool being healthy")
    before = stack.workers()
    for key in stack.queue.connection.smembers("rq:workers"):
        stack.queue.connection.delete(key)
    wait_until(
        lambda: not any(alive(pid) for pid in before), f"the end of both workers\n{stack.log}", attempts=600
    )
    wait_until(lambda: stack.health().returncode == 0, f"the pool being healthy again\n{stack.log}")
    job = stack.queue.enqueue("worker_jobs.wait_for_release", RUNID)
    stack.started(job)
    release()
    stack.ended(job, "finished")


def test_workers_end_by_a_signal_while_redis_is_away(stack: Stack) -> None:
    pool = stack.start(RQ_WORKER_COUNT="2")
    wait_until(lambda: stack.health().returncode == 0, "the pool being healthy")
    stack.server.stop()
    try:
        wait_until(lambda: stack.log.count("could not connect to Redis") >= 2, "the workers missing Redis")
        pool.send_signal(signal.SIGTERM)
        wait_until(lambda: pool.poll() is not None, "the pool ending")
    finally:
        stack.server.start()
    assert session_of(pool.pid) == []


def test_workers_come_back_to_a_redis_that_was_away_within_seconds(
    stack: Stack, release: Callable[[], None]
) -> None:
    stack.start()
    wait_until(lambda: stack.health().returncode == 0, "the pool being healthy")
    stack.server.stop()
    try:
        # The waits before were 1, 2 and 4 s.
        wait_until(lambda: "retrying in 5 seconds" in stack.log, f"the longest wait\n{stack.log}")
    finally:
        stack.server.start()
    assert "retrying in 8 seconds" not in stack.log
    release()
    stack.ended(stack.queue.enqueue("worker_jobs.wait_for_release", RUNID), "finished")


# ---- one pool with processes of the test's own and a clock ----


class Living:
    """A process that runs for ever."""

    def join(self, timeout: float) -> None:
        """Return at once: it does not end."""

    def is_alive(self) -> bool:
        return True


class Watched:
    """A pool with two workers; time is what the test says, and signals are recorded instead of sent."""

    def __init__(self, connection: redis.Redis, folder: Path) -> None:
        self.connection = connection
        self.now = 0.0
        self.signals: list[tuple[int, signal.Signals]] = []
        self.pool: Any = WatchedPool(
            QueueRules(["default"], connection, host="main", container="c", revision="0"),
            count=2,
            connection=connection,
            probe=connection,
            health_file=folder / "health",
            clock=lambda: self.now,
        )
        self.pool.status = self.pool.Status.STARTED
        self.grace = ENTRY_GRACE
        for number, name in enumerate(("lost", "well"), 1):
            self.pool.worker_dict[name] = WorkerData(name, number, Living())
            self.pool._takes[name] = ("default",)
        self.register("well")

    def register(self, name: str) -> None:
        self.connection.hset(f"rq:worker:{name}", "hostname", socket.gethostname())

    def sent_until(self, now: float) -> list[tuple[int, signal.Signals]]:
        """Have the pool look at its workers at that time; return all signals until then, with their receivers."""
        self.now = now
        self.pool.check_workers(respawn=False)
        return self.signals


@pytest.fixture
def watched(redis_env: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    with redis.Redis.from_url(redis_env.url(9)) as connection:
        made = Watched(connection, tmp_path)
        monkeypatch.setattr(os, "kill", lambda pid, number: made.signals.append((pid, number)))
        yield made


def test_a_worker_that_has_no_entry_for_too_long_is_signalled_to_end_and_only_once(watched: Watched) -> None:
    assert watched.sent_until(0) == []
    assert watched.sent_until(watched.grace - 1) == []
    assert watched.sent_until(watched.grace) == [(1, signal.SIGTERM)]
    assert watched.sent_until(10 * watched.grace) == [(1, signal.SIGTERM)]


def test_a_worker_that_registers_in_time_is_left_alone_and_has_all_the_time_again_later(
    watched: Watched,
) -> None:
    watched.sent_until(0)
    watched.register("lost")
    watched.sent_until(watched.grace - 1)
    # As rq's heartbeat leaves an entry that was deleted.
    watched.connection.delete("rq:worker:lost")
    watched.connection.hset("rq:worker:lost", "last_heartbeat", "2026-01-01T00:00:00Z")
    assert watched.sent_until(watched.grace + 10) == []
    assert watched.sent_until(2 * watched.grace + 9) == []
    assert watched.sent_until(2 * watched.grace + 10) == [(1, signal.SIGTERM)]


def test_the_time_without_redis_is_not_held_against_a_worker(watched: Watched) -> None:
    watched.sent_until(0)
    there = watched.pool.probe
    with redis.Redis(port=1) as watched.pool.probe:
        watched.sent_until(100)
    watched.pool.probe = there
    assert watched.sent_until(100 + watched.grace) == []
    assert watched.sent_until(100 + 2 * watched.grace) == [(1, signal.SIGTERM)]


def test_a_worker_that_was_told_to_end_is_stopped_with_its_pool(watched: Watched) -> None:
    watched.sent_until(0)
    reported = [*watched.sent_until(watched.grace)]
    watched.pool.request_stop()
    # To the worker this is another signal, by which its job has less time.
    assert watched.signals == [*reported, (1, signal.SIGINT), (2, signal.SIGINT)]
    assert watched.sent_until(10 * watched.grace) == watched.signals


def test_a_new_worker_that_is_signalled_before_it_handles_signals_ends_alone(watched: Watched) -> None:
    def is_signalled() -> None:
        with pytest.raises(SystemExit):
            watched.pool.request_stop()
        assert watched.signals == []

    process = multiprocessing.get_context("fork").Process(target=is_signalled)
    process.start()
    process.join()
    assert process.exitcode == 0
