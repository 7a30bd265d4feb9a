"""The program that lets workers finish their jobs before something is changed that they read at their start."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
import worker_jobs
from conftest import wait_until
from rq.suspension import is_suspended
from worker_stack import LAUNCHER, RUNID, Stack

DRAIN = LAUNCHER.with_name("rq-drain.py")

pytest_plugins = ["worker_stack"]
pytestmark = pytest.mark.timeout(180)


def drain(stack: Stack, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(DRAIN), *arguments], env=stack.environment(), stdout=subprocess.PIPE, text=True
    )


def start(stack: Stack) -> None:
    stack.start(RQ_WORKER_COUNT="2")
    wait_until(lambda: stack.health().returncode == 0, "the pool being healthy")


def test_a_job_under_way_is_finished_and_no_other_begins_until_workers_may_go_on(
    stack: Stack, release: Callable[[], None]
) -> None:
    start(stack)
    job = stack.queue.enqueue(worker_jobs.wait_for_release, RUNID)
    stack.started(job)
    draining = drain(stack)
    assert draining.stdout
    told = draining.stdout.readline()
    # The idle worker may have gone before the first look.
    assert told.startswith("waiting for "), told
    wait_until(lambda: len(stack.workers()) == 2, "the pool being whole")
    later = stack.queue.enqueue(worker_jobs.by_keyword, runid=RUNID)
    assert draining.poll() is None
    release()
    assert draining.wait(60) == 0
    stack.ended(job, "finished")
    assert job.result == "released"
    assert later.get_status() == "queued"
    assert 0 < stack.queue.connection.ttl("rq:suspended") <= 60
    assert drain(stack, "resume").wait(60) == 0
    stack.ended(later, "finished")


def test_an_idle_worker_that_waits_for_a_job_takes_none_once_all_are_drained(stack: Stack) -> None:
    start(stack)
    assert drain(stack).wait(60) == 0
    job = stack.queue.enqueue(worker_jobs.by_keyword, runid=RUNID)
    wait_until(lambda: len(stack.workers()) == 2, "the pool being whole")
    assert job.get_status() == "queued"
    # As when whoever asked was killed: the suspension ends by itself.
    stack.queue.connection.expire("rq:suspended", 1)
    stack.ended(job, "finished")


def test_workers_go_on_when_the_drain_is_called_off(stack: Stack, release: Callable[[], None]) -> None:
    start(stack)
    job = stack.queue.enqueue(worker_jobs.wait_for_release, RUNID)
    stack.started(job)
    draining = drain(stack)
    assert draining.stdout
    draining.stdout.readline()
    draining.send_signal(signal.SIGINT)
    assert draining.wait(60) != 0
    assert not is_suspended(stack.queue.connection)
    release()
    stack.ended(job, "finished")


def test_workers_that_are_gone_are_not_waited_for(stack: Stack) -> None:
    start(stack)
    (pool,) = stack.pools
    for pid in [pool.pid, *stack.workers()]:
        subprocess.run(["kill", "-KILL", str(pid)], check=False)
    pool.wait()
    assert drain(stack).wait(60) == 0
