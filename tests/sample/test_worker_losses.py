"""Jobs whose host is lost, cut off or frozen run again, and end once, with the sample's workers and a real tree's."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
import redis
import worker_jobs
from conftest import RedisServer, wait_until
from line import Line
from redis.exceptions import WatchError
from rq import Queue
from rq.command import send_stop_job_command
from rq.job import Job
from worker_stack import RUNID, Stack, alive
from workerlease import LEASES, LIFE, Lease, LeasedRedis, LeaseLostError
from workerreaper import Reaper

pytest_plugins = ["worker_stack"]
pytestmark = pytest.mark.timeout(400)

GIVEN = 10 * (LIFE + 30)  # attempts, until what was lost must have been found


@pytest.fixture(params=["sample", "plain"])
def stack(stack: Stack, request: pytest.FixtureRequest) -> Stack:
    """Two kinds of workers."""
    if request.param == "plain":
        stack.make_plain()
    return stack


@pytest.fixture
def line(stack: Stack) -> Iterator[Line]:
    """The second host's way to Redis."""
    made = Line(stack.server.port)
    yield made
    made.close()


def start(stack: Stack, line: Line, *queues: str, **settings: str) -> tuple[Job, int]:
    """Have a job under way at the second host, while the main one looks on; return the job and its process."""
    stack.start(*queues, host="second", REDIS_PORT=str(line.port), **settings)
    job = Queue(queues[0] if queues else "default", connection=stack.queue.connection).enqueue(
        "worker_jobs.wait_for_release", RUNID, job_timeout=300
    )
    horse = stack.started(job)
    stack.start(*queues, **settings)
    wait_until(lambda: stack.health().returncode == 0, f"the main pool\n{stack.log}")
    return job, horse


def token(job: Job) -> str:
    return (job.connection.get(f"wepp:lease:{job.id}") or b"").decode()


def given_away(stack: Stack, job: Job) -> bool:
    return token(job).startswith("main.")


def run_log() -> str:
    return (worker_jobs.get_wd(RUNID) / "rq.log").read_text()


def assert_ended_once(stack: Stack, job: Job) -> None:
    stack.ended(job, "finished")
    assert job.return_value() == "released"
    assert len(job.results()) == 1
    wait_until(lambda: not job.connection.zrange(LEASES, 0, -1), "the lease's end")
    assert not job.connection.exists(f"wepp:lease:{job.id}")
    assert job.connection.zrange(f"rq:wip:{job.origin}", 0, -1) == []
    assert stack.queue.count == 0


def test_a_lost_hosts_job_runs_again_on_another_within_half_a_minute(
    stack: Stack, line: Line, release: Callable[[], None]
) -> None:
    job, horse = start(stack, line)
    time.sleep(LIFE)  # the main host's launcher counts no time before its own start
    for pid in (stack.pools[0].pid, *stack.workers("second."), horse):
        os.kill(pid, signal.SIGKILL)
    heard = job.connection.zscore(LEASES, job.id)
    wait_until(lambda: worker_jobs.starts(RUNID) == 2, f"a second try\n{stack.log}", GIVEN)
    seconds, microseconds = job.connection.time()
    assert seconds + microseconds / 1e6 - heard <= 30
    release()
    assert_ended_once(stack, job)
    assert "requeued" in stack.events.statuses(job)
    assert f"was not heard of for {LIFE} s: queued again, for loss 1 of 3" in run_log()


@pytest.mark.usefixtures("soon_lost")
def test_what_a_host_that_is_cut_off_has_computed_is_taken_and_it_reports_nothing_later(
    stack: Stack, line: Line, release: Callable[[], None]
) -> None:
    job, horse = start(stack, line)
    line.cut()
    wait_until(
        lambda: "waits: an earlier execution has not ended yet" in stack.log, f"a try\n{stack.log}", GIVEN
    )
    assert alive(horse)
    release()
    assert_ended_once(stack, job)
    assert worker_jobs.starts(RUNID) == 1
    assert "whose result is taken" in stack.log
    line.heal()
    wait_until(lambda: not alive(horse), f"the end of the first execution\n{stack.log}")
    stack.pools[1].terminate()
    assert stack.pools[1].wait(timeout=60) == 0
    stack.ended(stack.queue.enqueue("worker_jobs.by_keyword", runid=RUNID), "finished")
    assert_ended_once(stack, job)


@pytest.mark.usefixtures("soon_lost")
def test_a_host_that_comes_back_ends_what_was_given_away(
    stack: Stack, line: Line, release: Callable[[], None]
) -> None:
    job, horse = start(stack, line)
    line.cut()
    wait_until(lambda: given_away(stack, job), f"the job being given away\n{stack.log}", GIVEN)
    line.heal()
    wait_until(lambda: worker_jobs.starts(RUNID) == 2, f"a second try\n{stack.log}")
    assert not alive(horse)
    release()
    assert_ended_once(stack, job)
    assert "was given to another: its process is killed" in stack.log


@pytest.mark.usefixtures("soon_lost")
def test_a_host_that_was_frozen_does_not_go_on_with_what_was_given_away(
    stack: Stack, line: Line, release: Callable[[], None]
) -> None:
    job, horse = start(stack, line)
    frozen = [stack.pools[0].pid, *stack.workers("second."), horse]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: given_away(stack, job), f"the job being given away\n{stack.log}", GIVEN)
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: worker_jobs.starts(RUNID) == 2, f"a second try\n{stack.log}")
    assert not alive(horse)
    release()
    assert_ended_once(stack, job)


def test_jobs_outlive_a_redis_that_is_away_for_longer_than_they_count_as_lost(
    stack: Stack, release: Callable[[], None]
) -> None:
    stack.start(RQ_WORKER_COUNT="2")
    job = stack.queue.enqueue("worker_jobs.wait_for_release", RUNID, job_timeout=300)
    horse = stack.started(job)
    time.sleep(LIFE + 3)  # from now on the reaper would act at once
    stack.server.stop()
    time.sleep(LIFE + 3)
    (worker,) = {parent_of(horse)}
    os.kill(worker, signal.SIGSTOP)  # it takes its time to come back
    held = None
    stack.server.start()
    wait_until(lambda: stack.health().stdout.startswith(("ok", "bad 1 of 2")), f"Redis back\n{stack.log}")
    held = token(job)
    time.sleep(10)
    assert token(job) == held
    os.kill(worker, signal.SIGCONT)
    wait_until(lambda: stack.health().stdout == "ok 2 of 2 workers alive\n", f"all workers\n{stack.log}")
    assert alive(horse)
    release()
    assert_ended_once(stack, job)
    assert worker_jobs.starts(RUNID) == 1


def test_a_job_that_ends_while_redis_is_away_reports_its_result_later(
    stack: Stack, release: Callable[[], None]
) -> None:
    stack.start()
    job = stack.queue.enqueue("worker_jobs.wait_for_release", RUNID, job_timeout=300)
    horse = stack.started(job)
    stack.server.stop()
    release()
    time.sleep(12)  # longer than a client tries by itself
    assert alive(horse)
    stack.server.start()
    assert_ended_once(stack, job)
    assert worker_jobs.starts(RUNID) == 1


def test_a_job_that_always_takes_its_process_along_fails_after_three_losses(stack: Stack) -> None:
    stack.start()
    job = stack.queue.enqueue("worker_jobs.kill_itself", RUNID)
    stack.ended(job, "failed")
    assert worker_jobs.starts(RUNID) == 4
    assert [each for each in stack.events.statuses(job) if each in ("requeued", "lost")] == [
        *["requeued"] * 3,
        "lost",
    ]
    assert run_log().count("lost the process of its job: queued again") == 3
    assert "failed, since that is more than 3 times" in run_log()
    assert stack.queue.failed_job_registry.get_job_ids() == [job.id]
    assert job.connection.zrange("rq:wip:default", 0, -1) == []


def test_a_job_that_takes_too_long_for_a_pool_that_is_stopped_is_queued_again(
    stack: Stack, release: Callable[[], None]
) -> None:
    pool = stack.start(RQ_WORKER_STOP_GRACE="200ms")
    job = stack.queue.enqueue("worker_jobs.wait_for_release", RUNID)
    stack.started(job)
    pool.terminate()
    assert pool.wait(timeout=60) == 0
    assert stack.queue.job_ids == [job.id]
    assert "is being stopped: queued again" in run_log()
    release()
    stack.start()
    assert_ended_once(stack, job)


@pytest.mark.parametrize("zone", ["America/Boise", "Asia/Tokyo"])
def test_a_job_that_is_killed_after_its_time_is_not_run_again(stack: Stack, zone: str) -> None:
    stack.start(TZ=zone)
    job = stack.queue.enqueue("worker_jobs.outlast_its_time", RUNID, job_timeout=1)
    stack.ended(job, "failed")
    assert worker_jobs.starts(RUNID) == 1
    in_time = stack.queue.enqueue("worker_jobs.kill_itself", RUNID, job_timeout=300)
    stack.ended(in_time, "failed")
    assert worker_jobs.starts(RUNID) == 5


def test_a_job_that_a_user_stops_stays_stopped_also_after_redis_lost_its_workers_entry(stack: Stack) -> None:
    stack.start()
    job = stack.queue.enqueue("worker_jobs.wait_for_release", RUNID)
    horse = stack.started(job)
    before = stack.workers()
    job.connection.delete(*job.connection.smembers("rq:workers"), "rq:workers")
    wait_until(lambda: stack.workers() == before, f"the worker registering again\n{stack.log}")
    send_stop_job_command(job.connection, job.id)
    stack.ended(job, "stopped")
    assert not alive(horse)
    assert stack.queue.count == 0


@pytest.mark.parametrize("function", ["take_memory", "start_a_program_that_takes_memory"])
def test_a_job_that_takes_more_memory_than_its_ceiling_fails_alone_and_its_run_is_told(
    stack: Stack, function: str
) -> None:
    stack.start(RQ_JOB_MEMORY="512m")
    greedy = stack.queue.enqueue(f"worker_jobs.{function}", RUNID, 1024)
    stack.ended(greedy, "failed")
    said = "a process of a job gets 512m of memory (RQ_JOB_MEMORY)"
    assert said in (stack.log if stack.plain else run_log())
    assert "MemoryError" in (stack.log if stack.plain else greedy.get_meta(refresh=True)["exc_string"]) or (
        function == "start_a_program_that_takes_memory"
    )
    assert worker_jobs.starts(RUNID) == 1
    modest = stack.queue.enqueue(f"worker_jobs.{function}", RUNID, 64)
    stack.ended(modest, "finished")
    killed = stack.queue.enqueue("worker_jobs.kill_itself", RUNID)
    stack.ended(killed, "failed")
    assert f"lost the process of its job; {said}: queued again" in run_log()


def parent_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
        return int(file.read().rpartition(")")[2].split()[1])


def test_jobs_of_an_exactly_one_queue_work_one_after_the_other_though_their_hosts_know_nothing_of_each_other(
    stack: Stack, line: Line, release: Callable[[], None]
) -> None:
    job, _ = start(stack, line, "batch", RQ_EXACTLY_ONE="batch")
    line.cut()
    job.connection.pexpire("wepp:consumer:batch", 1)  # as after half a minute
    wait_until(
        lambda: stack.health().stdout == "ok 1 of 1 workers alive\n", f"a second consumer\n{stack.log}"
    )
    later = Queue("batch", connection=job.connection).enqueue("worker_jobs.wait_for_release", RUNID)
    wait_until(lambda: f"Job {later.id} waits" in stack.log, f"the later job waiting\n{stack.log}")
    assert worker_jobs.starts(RUNID) == 1
    release()
    stack.ended(later, "finished")
    assert worker_jobs.starts(RUNID) == 2
    line.heal()
    stack.ended(job, "finished")


# ---- the lease alone ----


@pytest.fixture
def connection(redis_env: RedisServer) -> Iterator[LeasedRedis]:
    with LeasedRedis.from_url(redis_env.url(9)) as made:
        yield made


def test_a_transaction_of_an_execution_that_has_lost_its_job_changes_nothing(connection: LeasedRedis) -> None:
    first, second = (Lease.of(connection, "job", name) for name in ("one.a", "two.b"))
    first.take()
    connection.lease = first
    connection.pipeline().set("key", "first").execute()
    # It is taken over between the look at it and the transaction, which may arrive much later.
    with connection.pipeline() as pipeline:
        pipeline.watch("other")
        pipeline.multi()
        pipeline.set("key", "late")
        second.take()
        with pytest.raises(WatchError):
            pipeline.execute()
    with pytest.raises(LeaseLostError):
        connection.pipeline().set("key", "late").execute()
    assert connection.get("key") == b"first"
    assert not first.renew()
    assert not first.release()
    assert second.renew()


def test_a_lease_is_taken_over_only_when_it_is_overdue(connection: LeasedRedis) -> None:
    first, second = (Lease.of(connection, "job", name) for name in ("one.a", "two.b"))
    first.take()
    assert not second.take_over()
    connection.zincrby(LEASES, -LIFE - 1, "job")
    assert first.renew()
    assert not second.take_over()
    connection.zincrby(LEASES, -LIFE - 1, "job")
    assert second.take_over()
    assert not first.renew()


class Later(redis.Redis):
    """A client for which time passes as the test says, of a server that began long ago."""

    passed = 0
    uptime = 86_400

    def time(self) -> tuple[int, int]:
        seconds, microseconds = super().time()
        return seconds + self.passed, microseconds

    def info(self, section: str) -> dict[str, int]:
        return {"uptime_in_seconds": self.uptime}


@pytest.fixture
def later(redis_env: RedisServer) -> Iterator[Later]:
    with Later.from_url(redis_env.url(9)) as made:
        yield made


def looks(reaper: Reaper, after: int, times: int = 1) -> list[str]:
    found: list[str] = []
    for _ in range(times):
        reaper.connection.passed += after
        found = reaper.look()
    return found


def test_time_in_which_workers_could_not_reach_redis_is_not_held_against_them(later: Later) -> None:
    reaper = Reaper(later, None, "main:c")
    later.zadd(LEASES, {"lost": 0})
    assert looks(reaper, 0) == []
    assert looks(reaper, 8, times=3) == []
    assert looks(reaper, 8) == ["lost"]
    # Nobody had an answer for a minute.
    assert looks(reaper, 60) == []
    assert looks(reaper, 8, times=4) == ["lost"]
    later.uptime = 3  # started again, perhaps with older data
    assert looks(reaper, 1) == []


def test_one_launcher_at_a_time_looks_for_lost_jobs(later: Later) -> None:
    first, second = (Reaper(later, None, f"main:{name}") for name in "cd")
    later.zadd(LEASES, {"lost": 0})
    assert looks(first, 0) == looks(second, 0) == []
    assert looks(first, 8, times=4) == ["lost"]
    assert looks(second, 1) == []
    first.close()
    assert looks(second, 8, times=5) == ["lost"]
    assert looks(first, 1) == []


def test_a_job_that_ended_keeps_its_end_though_nobody_gave_its_lease_up(connection: LeasedRedis) -> None:
    queue = Queue("default", connection=connection)
    job = queue.enqueue("worker_jobs.fail", RUNID)
    connection.lrem(queue.key, 1, job.id)
    job.set_status("finished")
    Lease.of(connection, job.id, "one.a").take()
    connection.zincrby(LEASES, -LIFE - 1, job.id)
    connection.zadd("rq:wip:default", {job.id: 1})
    Reaper(connection, None, "main:c").end([job.id])
    assert job.get_status() == "finished"
    assert not connection.exists(f"wepp:lease:{job.id}", LEASES, "rq:wip:default", queue.key)
