"""What the workers of a launcher do beyond the tree's own class: no job is lost with a worker, and none ends twice."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import redis
from rq import Queue
from rq.job import Job
from rq.worker import Worker
from workerfence import alone, forget
from workerlease import LIFE, LOSSES, Lease, LeaseLostError
from workerlosses import LOST, apart, end_lost, tell
from workerqueues import queues_of

RECONNECT_INTERVAL = 5.0  # s
LOOK_INTERVAL = 1  # s
HEARTBEAT = 5  # s
STOP_GRACE = "120s"  # between the signal to stop and the container's kill
# Longer than any outage: rq itself would fail a job whose heartbeats are overdue, whoever's fault that is.
REGISTERED = 86_400  # s
SIGNALS = (signal.SIGALRM, signal.SIGINT, signal.SIGTERM)
NO_REDIS = (redis.ConnectionError, redis.TimeoutError)
# https://docs.docker.com/reference/compose-file/extension/#specifying-durations
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([bkmg]?)b?", re.IGNORECASE)
_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None, use_errno=True)
_parent = 0
Answer = TypeVar("Answer")


class EndedWithoutRedisError(Exception):
    """A worker was signalled to end while it waits for a Redis that went away."""


class SafeQueue(Queue):
    """A queue whose jobs are in a list of Redis at any moment, also while a worker that has several takes one."""

    @classmethod
    def lpop(cls, queue_keys: Sequence[str], timeout: int | None, connection: Any = None) -> Any:
        """Move a job to its queue's intermediate list, where the reaper finds it; wait at the first one."""
        for key in queue_keys:
            found = cls.lmove(connection, key, None)
            if found is not None:
                return found
        return None if timeout is None else cls.lmove(connection, queue_keys[0], timeout)


class PollingWorker(Worker):
    """A worker that, between two jobs, checks every second whether it was suspended or signalled to end.

    rq waits minutes for a job, learns of a suspension only after it, and ends at once when a signal arrives. Redis may
    have answered by then, and that job is in no queue any more. This one ends between two polls instead: a job that was
    handed out is done first.

    A job is the one execution's that holds its lease. The worker renews that with its heartbeats and, once it finds
    the job given to another, kills its work-horse and says nothing of it. A Redis that is away changes nothing.
    """

    # It connects to a Redis that was away within seconds of its return; rq doubles the wait up to a minute.
    max_connection_wait_time = RECONNECT_INTERVAL
    # s for an answer of Redis. rq waits for minutes, in which nothing is known of the job.
    connection_timeout = 10
    _waits = False
    # s of the monotonic clock
    _next_sign = 0.0
    _began = 0.0
    _hand_back_at = float("inf")
    _lease: Lease | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.queue_class = SafeQueue
        self.job_monitoring_interval = HEARTBEAT

    # -- life ---------------------------------------------------------------------------------------------------

    def bootstrap(self, *arguments: Any, **options: Any) -> None:
        """Register; from here on a process that this one forks is killed when this one is gone."""
        os.register_at_fork(before=_remember_parent, after_in_child=_end_with_parent)
        super().bootstrap(*arguments, **options)

    def subscribe(self) -> None:
        """Listen to commands, also to those that come after Redis was away."""
        # Where a process was stopped the listening thread might get its signals, which wake nobody there.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        super().subscribe()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        if self.pubsub_thread.exception_handler is None:
            self.pubsub_thread.exception_handler = _listen_on

    def dequeue_job_and_maintain_ttl(self, timeout: int | None, max_idle_time: int | None = None) -> Any:
        """Return the next job and its queue, None when it is to end; called by rq for each."""
        self._waits = True
        found = None
        while not found:
            # rq's own loop waits for a Redis that went away.
            with suppress(*NO_REDIS):
                self.check_for_suspension(burst=False)
            if self._stop_requested:
                return None
            with suppress(EndedWithoutRedisError, redis.TimeoutError):
                found = super().dequeue_job_and_maintain_ttl(LOOK_INTERVAL, LOOK_INTERVAL)
        self._waits = False
        self._lease = Lease.of(self.connection, found[0].id, self.name)
        self._lease.take()
        return found

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Send a heartbeat; rq calls it for each poll, so most are left out: Redis logs each on its disk."""
        now = time.monotonic()
        if self._waits and now < self._next_sign:
            return
        try:
            if self._waits or pipeline is None:
                self._register_again()
            super().heartbeat(LIFE, pipeline)
        except NO_REDIS:
            if self._waits and self._stop_requested:
                raise EndedWithoutRedisError from None
            if self._waits:
                raise
        self._next_sign = now + HEARTBEAT

    def set_state(self, state: str, pipeline: Any = None) -> None:
        """Publish the state where it changed; rq calls it for each poll."""
        if state != self.get_state():
            super().set_state(state, pipeline)

    def _register_again(self, job: Job | None = None) -> None:
        """Write the entry that Redis lost: it expires while Redis is away, or older data was loaded."""
        if self.birth_date and not self.connection.hexists(self.key, "hostname"):
            self.connection.delete(self.key)
            self.register_birth()
            super().set_state(self.get_state())
            if job and hasattr(self, "set_current_job_id"):
                # rq 1 asks for it when the job is to be stopped.
                self.set_current_job_id(job.id)

    # -- the worker of a job ------------------------------------------------------------------------------------

    def get_heartbeat_ttl(self, job: Job, *arguments: Any, **options: Any) -> int:
        """Return for how many seconds rq itself may count on a job after a heartbeat."""
        return REGISTERED

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Have a job done, and give its lease up; a job whose end could not be told is left to the reaper."""
        self._began = time.monotonic()
        super().execute_job(job, queue)
        with suppress(*NO_REDIS):
            if self.connection.hget(job.key, "status") != b"started" and self._lease.release():
                forget(job.id)

    def maintain_heartbeats(self, job: Job, *execution: Any) -> None:
        """Send heartbeats; end a job that is another's by now, or whose time to end with the pool has come."""
        try:
            if not self._lease.renew():
                self.log.warning(
                    "Worker %s: job %s was given to another: its process is killed", self.name, job.id
                )
                self.kill_horse()
                return
            self._register_again(job)
            super().maintain_heartbeats(job, *execution)
        except NO_REDIS as error:
            self.log.warning(
                "Worker %s: Redis does not answer (%s), the job goes on", self.name, type(error).__name__
            )
        if time.monotonic() >= self._hand_back_at:
            self.log.warning("Worker %s: handing its job back to the queue", self.name)
            self.kill_horse()

    def set_current_job_working_time(self, *arguments: Any, **options: Any) -> None:
        """Publish for how long the job runs; rq 1 calls it with each heartbeat."""
        with suppress(*NO_REDIS):
            super().set_current_job_working_time(*arguments, **options)

    def handle_work_horse_killed(self, job: Job, retpid: int, ret_val: int, rusage: Any) -> None:
        """End what a killed work-horse has started."""
        with suppress(OSError, TypeError):  # there is no id of one that was waited for before
            os.killpg(retpid, signal.SIGKILL)
        super().handle_work_horse_killed(job, retpid, ret_val, rusage)

    def handle_job_failure(self, job: Job, queue: Queue, *arguments: Any, **options: Any) -> None:
        """Report a failure; put a job whose process was killed back into its queue. Another's job is left alone."""
        if self.is_horse:
            super().handle_job_failure(job, queue, *arguments, **options)
        elif self._lease and self._lease.job_id == job.id and self._lease.renew():
            with suppress(LeaseLostError), self._fenced():
                overtime = job.timeout and 0 < job.timeout < time.monotonic() - self._began
                if self._stopped_job_id != job.id and not overtime:
                    ends = time.monotonic() >= self._hand_back_at
                    what = "is being stopped" if ends else f"lost the process of its job{_ceiling()}"
                    status, text = end_lost(self._lease, job, f"worker {self.name} {what}", counts=not ends)
                    apart(tell, job, status, text)
                    if status != LOST:
                        return
                    options["exc_string"] = text
                super().handle_job_failure(job, queue, *arguments, **options)

    @contextmanager
    def _fenced(self) -> Iterator[None]:
        self.connection.lease = self._lease
        try:
            yield
        finally:
            self.connection.lease = None

    # -- the work-horse -----------------------------------------------------------------------------------------

    def prepare_job_execution(self, job: Job, remove_from_intermediate_queue: bool = False) -> None:
        """Take the job off the intermediate list of its queue, as it is registered as started."""
        super().prepare_job_execution(job, remove_from_intermediate_queue=True)

    def perform_job(self, job: Job, queue: Queue, *execution: Any) -> bool:
        """Perform a job as the one execution that has it."""
        size = bytes_of(os.environ.get("RQ_JOB_MEMORY", ""))
        if size:
            # The programs that it starts have the same limit, each for itself.
            _, most = resource.getrlimit(resource.RLIMIT_DATA)
            resource.setrlimit(resource.RLIMIT_DATA, (min(size, most) if most > 0 else size, most))
        self._lease.ends_process = True
        self.connection.lease = self._lease
        job.perform = partial(self._perform_alone, job, job.perform)
        done: bool = super().perform_job(job, queue, *execution)
        return done

    def _perform_alone(self, job: Job, perform: Callable[[], Any]) -> Any:
        """Perform a job when no other execution of it is under way, or return the result that one came to."""

        def say(text: str) -> None:
            self.log.warning("Job %s %s", job.id, text)

        try:
            with ExitStack() as locks:
                if job.origin in queues_of("RQ_EXACTLY_ONE"):
                    locks.enter_context(alone(f"queue {job.origin}", say))
                outcome = locks.enter_context(alone(job.id, say))
                earlier = (
                    outcome.read() if _insist(partial(self.connection.hexists, job.key, LOSSES)) else None
                )
                if earlier:
                    say("was done by an earlier execution, whose result is taken")
                    return earlier[0]
                result = perform()
                outcome.write(result)
                return result
        except Exception as error:
            if _ceiling():
                resource.setrlimit(resource.RLIMIT_DATA, resource.getrlimit(resource.RLIMIT_DATA)[1:] * 2)
                say(f"ended by {type(error).__name__}{_ceiling()}")
            raise
        finally:
            # Others that wait for the lock need not wait for Redis.
            if not _insist(self._lease.renew):
                self._lease.lost()

    def handle_job_success(self, *arguments: Any, **options: Any) -> None:
        """Report the result, once Redis is there."""
        _insist(partial(super().handle_job_success, *arguments, **options))

    # -- signals ------------------------------------------------------------------------------------------------

    def request_stop(self, signum: int, frame: object) -> None:
        """Handle SIGTERM, at which the job may take all its time, and SIGINT, at which the whole pool ends."""
        super().request_stop(signum, frame)
        if signum == signal.SIGTERM:
            # rq would kill the job at another signal.
            signal.signal(signal.SIGINT, self.request_stop)
        else:
            self._hand_back_at = time.monotonic() + hand_back_after(
                os.environ.get("RQ_WORKER_STOP_GRACE", "")
            )

    def _shutdown(self) -> None:
        """Handle the signals that end a worker after its job."""
        self._stop_requested = True
        if self.scheduler:
            self.stop_scheduler()


def hand_back_after(stop_grace: str) -> float:
    """Return for how many seconds of the stop's grace a job may still run: half of it.

    The rest is for the heartbeat that notices, and for killing the job and queueing it again. `stop_grace` is a
    duration as Compose writes it (`90s`, `1m30s`, `200ms`); blank means `STOP_GRACE`. Raises ValueError for
    anything else.
    """
    text = stop_grace.strip() or STOP_GRACE
    if not re.fullmatch(f"(?:{_PART.pattern})+", text):
        raise ValueError(f"RQ_WORKER_STOP_GRACE must be a duration like 90s or 1m30s, not {text!r}")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)) / 2


def bytes_of(size: str) -> int:
    """Return the bytes of a size as Compose writes it (`2g`, `512m`), 0 for a blank one. Raises ValueError."""
    found = _SIZE.fullmatch(size.strip() or "0")
    if not found:
        raise ValueError(f"RQ_JOB_MEMORY must be a size like 512m or 2g, not {size!r}")
    return int(float(found[1]) * 1024 ** "bkmg".index(found[2].lower() or "b"))


def _ceiling() -> str:
    size = os.environ.get("RQ_JOB_MEMORY", "").strip()
    return f"; a process of a job gets {size} of memory (RQ_JOB_MEMORY)" if size else ""


def _insist(ask: Callable[[], Answer]) -> Answer:
    """Return the answer to what Redis is asked, however long that is away."""
    while True:
        try:
            return ask()
        except NO_REDIS:
            time.sleep(LOOK_INTERVAL)


def _listen_on(error: BaseException, pubsub: Any, thread: Any) -> None:
    if not isinstance(error, NO_REDIS):
        raise error
    time.sleep(LOOK_INTERVAL)


def _remember_parent() -> None:
    global _parent
    _parent = os.getpid()


def _end_with_parent() -> None:
    if _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != _parent:  # gone before the kernel knew that it matters
        os.kill(os.getpid(), signal.SIGKILL)
