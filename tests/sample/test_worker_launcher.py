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
from worker_stack import LAUNCHER, RUNID, Stack, session_of
from workerpool import RECORD_LIFE, WatchedPool
from workerqueues import QueueRules

pytest_plugins = ["worker_stack"]
pytestmark = pytest.mark.timeout(180)


def test_health_follows_the_workers(stack: Stack) -> None:
    assert "not reported" in stack.health().stdout
    assert stack.health().returncode == 1
    pool = stack.start(RQ_WORKER_COUNT="2")
    wait_until(lambda: stack.health().returncode == 0, "the pool being healthy")
    assert stack.health().stdout == "ok 2 of 2 workers alive\n"
    lose_workers(stack)
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


def lose_workers(stack: Stack) -> None:
    """Let workers' entries expire, for want of heartbeats."""
    for pid in stack.workers():
        os.kill(pid, signal.SIGSTOP)
    for key in stack.queue.connection.smembers("rq:workers"):
        stack.queue.connection.delete(key)


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
    assert all(worker.startswith(b"rq:worker:second.") for worker in workers)
    lose_workers(stack)
    wait_until(lambda: redis_9.hget(key, "workers") == b"0 of 2", "the loss being told")
    assert redis_9.hget(key, "note") == b"not all workers are alive"
    for pid in session_of(pool.pid):
        os.kill(pid, signal.SIGCONT)
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
        (["default"], {"RQ_JOB_MEMORY": "lots"}, 64, "RQ_JOB_MEMORY"),
        (["default"], {"RQ_WORKER_STOP_GRACE": "soon"}, 64, "RQ_WORKER_STOP_GRACE"),
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


def test_workers_whose_entries_are_lost_write_them_again_and_work_on(
    stack: Stack, release: Callable[[], None]
) -> None:
    stack.start(RQ_WORKER_COUNT="2")
    wait_until(lambda: stack.health().returncode == 0, "the pool being healthy")
    job = stack.queue.enqueue("worker_jobs.wait_for_release", RUNID)
    stack.started(job)
    before = stack.workers()
    keys = stack.queue.connection.smembers("rq:workers")
    stack.queue.connection.delete(*keys, "rq:workers")
    wait_until(lambda: stack.workers() == before, f"both workers registering again\n{stack.log}")
    assert {stack.queue.connection.hget(key, "state") for key in keys} == {b"busy", b"idle"}
    release()
    stack.ended(job, "finished")
    assert worker_jobs.starts(RUNID) == 1


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


# ---- one pool with a process of the test's own ----


class Living:
    """A process that runs for ever."""

    def join(self, timeout: float) -> None:
        """Return at once: it does not end."""

    def is_alive(self) -> bool:
        return True


@pytest.fixture
def pool(redis_env: RedisServer, tmp_path: Path) -> Iterator[Any]:
    """A pool with one worker that takes a queue which the pool may not take."""
    with redis.Redis.from_url(redis_env.url(9)) as connection:
        rules = QueueRules(["default"], connection, host="main", container="c", revision="0")
        made = WatchedPool(
            rules, count=1, connection=connection, probe=connection, health_file=tmp_path / "health"
        )
        made.status = made.Status.STARTED
        made.worker_dict["main.1"] = WorkerData("main.1", 1, Living())
        made._takes["main.1"] = ("other",)
        yield made


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, signal.Signals]]:
    """The signals that would have been sent."""
    sent: list[tuple[int, signal.Signals]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    return sent


def test_a_worker_is_told_once_to_end_and_again_when_its_pool_does(
    pool: Any, signals: list[tuple[int, signal.Signals]]
) -> None:
    for _ in range(3):
        pool.check_workers(respawn=False)
    assert signals == [(1, signal.SIGTERM)]
    pool.request_stop()
    # To the worker this is another signal, by which its job has less time.
    assert signals == [(1, signal.SIGTERM), (1, signal.SIGINT)]


def test_a_new_worker_that_is_signalled_before_it_handles_signals_ends_alone(
    pool: Any, signals: list[tuple[int, signal.Signals]]
) -> None:
    def is_signalled() -> None:
        with pytest.raises(SystemExit):
            pool.request_stop()
        assert signals == []

    process = multiprocessing.get_context("fork").Process(target=is_signalled)
    process.start()
    process.join()
    assert process.exitcode == 0
