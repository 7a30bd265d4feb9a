"""Jobs on a real Redis outlive every way to be killed, end exactly once, and say so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import worker_jobs
from conftest import wait_until
from rq.job import Job
from rq.registry import StartedJobRegistry
from worker_stack import RUNID, Stack, alive
from workerclass import SafeQueue, bytes_of, hand_back_after
from workerlease import LEASES, LIFE, LOSSES, MOST_LOSSES

pytest_plugins = ["worker_stack"]
pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("soon_lost")]


def test_a_killed_work_horse_costs_one_try_and_the_job_ends_once(
    stack: Stack, release: Callable[[], None]
) -> None:
    stack.start()
    job = stack.queue.enqueue("worker_jobs.wait_for_release", RUNID)
    first = stack.started(job)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: worker_jobs.starts(RUNID) == 2, "a second try")
    release()
    stack.ended(job, "finished")
    wait_until(lambda: "finished" in stack.events.statuses(job), "the event")
    assert stack.events.statuses(job) == ["started", "requeued", "started", "finished"]
    assert job.return_value() == "released"
    assert worker_jobs.starts(RUNID) == 2


def test_a_killed_worker_takes_its_work_horse_along_and_another_worker_ends_the_job_once(
    stack: Stack, release: Callable[[], None]
) -> None:
    stack.start()
    job = stack.queue.enqueue("worker_jobs.wait_for_release", RUNID)
    horse = stack.started(job)
    os.kill(parent_of(horse), signal.SIGKILL)
    wait_until(lambda: not alive(horse), "the work-horse ending with its worker")
    wait_until(
        lambda: worker_jobs.starts(RUNID) == 2, f"a second try\n{stack.log}", attempts=10 * (LIFE + 30)
    )
    release()
    stack.ended(job, "finished")
    wait_until(lambda: "finished" in stack.events.statuses(job), "the event")
    assert stack.events.statuses(job) == ["started", "requeued", "started", "finished"]
    assert len(StartedJobRegistry(queue=stack.queue).get_job_ids(cleanup=False)) == 0


def test_a_killed_pool_takes_all_along_and_the_next_pool_ends_the_job_once(
    stack: Stack, release: Callable[[], None]
) -> None:
    pool = stack.start()
    job = stack.queue.enqueue("worker_jobs.wait_for_release", RUNID)
    horse = stack.started(job)
    worker = parent_of(horse)
    os.killpg(pool.pid, signal.SIGKILL)
    pool.wait()
    wait_until(lambda: not alive(worker) and not alive(horse), "worker and work-horse ending with the pool")
    assert job.get_status() == "started"  # no process was left to change it
    stack.start()
    wait_until(
        lambda: worker_jobs.starts(RUNID) == 2, f"a second try\n{stack.log}", attempts=10 * (LIFE + 30)
    )
    release()
    stack.ended(job, "finished")
    assert worker_jobs.starts(RUNID) == 2


def overdue(stack: Stack) -> None:
    """Let the time of all heartbeats be over."""
    heard = stack.queue.connection.zrange(LEASES, 0, -1)
    if heard:
        stack.queue.connection.zadd(LEASES, dict.fromkeys(heard, 0), xx=True)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("function", ["kill_itself", "kill_its_worker"])
def test_a_job_that_always_gets_its_process_killed_is_given_up(stack: Stack, function: str) -> None:
    stack.start()
    job = stack.queue.enqueue(f"worker_jobs.{function}", RUNID)
    for tries in range(1, MOST_LOSSES + 2 if function == "kill_its_worker" else 1):
        wait_until(
            lambda tries=tries: worker_jobs.starts(RUNID) == tries, f"the next try\n{stack.log}", attempts=900
        )
        wait_until(lambda: not alive(stack.horse(job)), "the work-horse ending with its worker")
        overdue(stack)
    stack.ended(job, "failed")
    wait_until(lambda: "failed" in stack.events.statuses(job), "the event")
    assert worker_jobs.starts(RUNID) == MOST_LOSSES + 1
    assert stack.events.statuses(job) == [*["started", "requeued"] * MOST_LOSSES, "started", "lost", "failed"]
    assert job.get_meta(refresh=True)["exc_string"]
    assert stack.queue.count == 0
    assert len(StartedJobRegistry(queue=stack.queue).get_job_ids(cleanup=False)) == 0


def test_an_exception_is_final_and_its_traceback_is_kept(stack: Stack) -> None:
    stack.start()
    job = stack.queue.enqueue("worker_jobs.fail", RUNID)
    stack.ended(job, "failed")
    wait_until(lambda: "failed" in stack.events.statuses(job), "the event")
    assert stack.events.statuses(job) == ["started", "exception", "failed"]
    meta = job.get_meta(refresh=True)
    assert "ZeroDivisionError: the ground is flat" in meta["exc_string"]
    assert "in fail" in meta["exc_string"]
    assert "ZeroDivisionError" in (worker_jobs.get_wd(RUNID) / "rq.log").read_text()
    assert worker_jobs.starts(RUNID) == 1


def test_the_run_is_found_by_keyword_too(stack: Stack) -> None:
    stack.start()
    job = stack.queue.enqueue("worker_jobs.by_keyword", kwargs={"runid": RUNID})
    stack.ended(job, "finished")
    wait_until(lambda: "finished" in stack.events.statuses(job), "the event")
    assert job.get_meta(refresh=True)["runid"] == RUNID


def test_sigusr1_cancels_the_job(stack: Stack) -> None:
    stack.start()
    job = stack.queue.enqueue("worker_jobs.wait_for_release", RUNID)
    os.kill(stack.started(job), signal.SIGUSR1)
    stack.ended(job, "failed")
    wait_until(lambda: "canceled" in stack.events.statuses(job), "the event")
    assert stack.events.statuses(job) == ["started", "exception", "canceled"]
    assert "JobCancelledError" in job.get_meta(refresh=True)["exc_string"]


def test_a_stopped_pool_lets_its_job_end(stack: Stack, release: Callable[[], None]) -> None:
    pool = stack.start()
    job = stack.queue.enqueue("worker_jobs.wait_for_release", RUNID)
    stack.started(job)
    pool.terminate()
    wait_until(lambda: "Waiting for workers" in stack.log, "the pool waiting")
    release()
    assert pool.wait(timeout=60) == 0
    assert job.get_status() == "finished"
    assert stack.workers() == []


def test_a_stopped_pool_hands_back_a_job_that_takes_too_long(
    stack: Stack, release: Callable[[], None]
) -> None:
    pool = stack.start(RQ_WORKER_STOP_GRACE="200ms")
    job = stack.queue.enqueue("worker_jobs.wait_for_release", RUNID)
    stack.started(job)
    pool.terminate()
    assert pool.wait(timeout=60) == 0
    assert job.get_status() == "queued"
    assert stack.queue.job_ids == [job.id]
    assert stack.queue.connection.hget(job.key, LOSSES) == b"0"  # not the job's fault
    stack.start()
    release()
    stack.ended(job, "finished")
    wait_until(lambda: "finished" in stack.events.statuses(job), "the event")
    assert stack.events.statuses(job) == ["started", "requeued", "started", "finished"]


@pytest.mark.parametrize(
    ("stop_grace", "seconds"), [("", 60), ("90s", 45), ("1m30s", 45), ("1h", 1800), ("500ms", 0.25)]
)
def test_a_job_is_handed_back_after_half_of_the_grace_that_compose_gives(
    stop_grace: str, seconds: float
) -> None:
    assert hand_back_after(stop_grace) == seconds


@pytest.mark.parametrize("stop_grace", ["120", "soon", "1m 30s", "-1s"])
def test_a_grace_that_compose_would_not_read_is_refused(stop_grace: str) -> None:
    with pytest.raises(ValueError, match="RQ_WORKER_STOP_GRACE must be a duration"):
        hand_back_after(stop_grace)


@pytest.mark.parametrize(
    ("size", "expected"),
    [("", 0), ("2g", 2 << 30), ("512m", 512 << 20), ("1.5GB", 3 << 29), ("64kb", 65536), ("7", 7)],
)
def test_a_size_is_read_as_compose_reads_it(size: str, expected: int) -> None:
    assert bytes_of(size) == expected


def test_a_job_whose_worker_was_killed_between_taking_and_starting_it_is_found(stack: Stack) -> None:
    lost = stack.queue.enqueue("worker_jobs.by_keyword", kwargs={"runid": RUNID})
    waiting = stack.queue.enqueue("worker_jobs.by_keyword", kwargs={"runid": RUNID})
    taken(stack, lost)
    stack.start()
    stack.ended(waiting, "finished")
    stack.ended(lost, "finished")
    wait_until(lambda: "finished" in stack.events.statuses(lost), "the event")
    assert stack.events.statuses(lost) == ["requeued", "started", "finished"]


def taken(stack: Stack, job: Job) -> None:
    """Leave the job where a worker has it for a moment, between its queue and its start."""
    assert SafeQueue.lpop([stack.queue.key], None, stack.queue.connection) == (
        stack.queue.key,
        job.id.encode(),
    )


def test_a_job_that_ended_is_not_run_again_when_redis_lost_that_it_was_taken(stack: Stack) -> None:
    job = stack.queue.enqueue("worker_jobs.by_keyword", kwargs={"runid": RUNID})
    taken(stack, job)
    job.set_status("finished")
    stack.start()
    waiting = stack.queue.intermediate_queue.get_job_ids
    wait_until(lambda: not waiting(), "the list being cleared", attempts=10 * (LIFE + 30))
    assert job.get_status() == "finished"
    assert stack.events.statuses(job) == []


def test_without_this_launcher_the_workers_do_what_a_real_trees_do(
    stack: Stack, release: Callable[[], None]
) -> None:
    rq = Path(sys.executable).with_name("rq")
    worker = ["--worker-class", "wepppy.rq.WepppyRqWorker", "default"]
    with (stack.folder / "pool.log").open("wb") as log:
        pool = subprocess.Popen(
            [rq, "worker-pool", "-n", "1", "-u", stack.server.url(9), "--logging-level", "INFO", *worker],
            env=stack.environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    stack.pools.append(pool)
    cancelled = stack.queue.enqueue("worker_jobs.wait_for_release", RUNID)
    os.kill(stack.started(cancelled), signal.SIGUSR1)
    stack.ended(cancelled, "failed")
    failed = stack.queue.enqueue("worker_jobs.fail", RUNID)
    stack.ended(failed, "failed")
    release()
    done = stack.queue.enqueue("worker_jobs.wait_for_release", RUNID)
    stack.ended(done, "finished")
    wait_until(lambda: "finished" in stack.events.statuses(done), "the last event")
    assert stack.events.statuses(cancelled) == ["started", "exception", "canceled"]
    assert stack.events.statuses(failed) == ["started", "exception", "failed"]
    assert stack.events.statuses(done) == ["started", "finished"]
    assert "ZeroDivisionError" in failed.get_meta(refresh=True)["exc_string"]
    assert done.get_meta(refresh=True)["runid"] == RUNID
    assert 600_000 < done.connection.ttl(done.key) <= 604_800
    assert "ZeroDivisionError" in (worker_jobs.get_wd(RUNID) / "rq.log").read_text()
