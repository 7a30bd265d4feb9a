"""The program that starts the workers, and the one that looks after their health."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import wait_until
from worker_stack import LAUNCHER, Stack

pytest_plugins = ["worker_stack"]
pytestmark = pytest.mark.timeout(180)


def test_health_follows_the_workers(stack: Stack) -> None:
    assert "not reported" in stack.health().stdout
    pool = stack.start(RQ_WORKER_COUNT="2")
    wait_until(lambda: stack.health().returncode == 0, "the pool being healthy")
    assert stack.health().stdout == "2 of 2 workers alive\n"
    for key in stack.queue.connection.smembers("rq:workers"):
        stack.queue.connection.delete(key)  # as when heartbeats stop coming and the entry expires
    wait_until(lambda: stack.health().returncode == 1, "the pool being unhealthy")
    old = time.time() - 60
    pool.send_signal(signal.SIGSTOP)
    os.utime(stack.folder / "health", (old, old))
    assert "ago" in stack.health().stdout
    assert stack.health().returncode == 1
    pool.send_signal(signal.SIGCONT)


def test_the_password_is_on_no_command_line_and_in_no_log(stack: Stack) -> None:
    stack.start()
    wait_until(lambda: stack.health().returncode == 0, "the pool being healthy")
    for pid in [stack.pools[0].pid, *stack.workers()]:
        assert stack.server.password.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert stack.server.password not in stack.log
    assert "p%40ss" not in stack.log


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "said"),
    [
        ([], {}, 64, "usage"),
        (["--help"], {}, 64, "usage"),
        (["default"], {"RQ_WORKER_COUNT": "0"}, 64, "RQ_WORKER_COUNT"),
        (["default"], {"RQ_WORKER_COUNT": "many"}, 64, "RQ_WORKER_COUNT"),
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


def test_the_launcher_waits_for_redis_and_leaves_when_told(stack: Stack) -> None:
    pool = stack.start(REDIS_PORT="1")
    wait_until(lambda: "waiting for Redis" in stack.log, "the launcher waiting")
    pool.terminate()
    assert pool.wait(timeout=30) == 0
