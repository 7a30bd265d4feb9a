"""The program that lets workers finish their jobs before something is changed that they read at their start."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
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
    # Until the idle worker has seen that it is suspended it may take a job, which is waited for like the first.
    came = [stack.queue.enqueue(worker_jobs.by_keyword, runid=RUNID)]
    assert draining.stdout.readline().startswith("waiting for ")
    for _ in range(300):
        came.append(stack.queue.enqueue(worker_jobs.by_keyword, runid=RUNID))
        time.sleep(0.005)
    assert draining.poll() is None
    release()
    assert draining.wait(60) == 0
    stack.ended(job, "finished")
    assert job.return_value() == "released"
    assert len(stack.workers()) == 2
    assert came[-1].get_status() == "queued"
    assert {each.get_status() for each in came} <= {"queued", "finished"}
    assert 0 < stack.queue.connection.ttl("rq:suspended") <= 60
    assert drain(stack, "resume").wait(60) == 0
    for each in came:
        stack.ended(each, "finished")
    assert "lost" not in stack.log


def test_an_idle_worker_that_waits_for_a_job_takes_none_once_all_are_drained(stack: Stack) -> None:
    start(stack)
    assert drain(stack).wait(60) == 0
    job = stack.queue.enqueue(worker_jobs.by_keyword, runid=RUNID)
    time.sleep(2)  # longer than a worker waits for a job before it looks whether it is suspended
    assert job.get_status() == "queued"
    # As when the suspending program was killed: the suspension ends by itself.
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
