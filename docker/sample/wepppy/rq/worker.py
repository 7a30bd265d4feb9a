"""The worker: run jobs, publish how they ended, and run those again whose process was killed.

A job runs in a process of its own (the work-horse). If that is killed, the worker queues the job again; if the worker
is killed, its work-horse ends with it, and another worker queues the job again once its heartbeats are overdue.
"""

# Half of rq has no annotations.
# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import re
import signal
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

from rq import Queue, Worker
from rq.exceptions import AbandonedJobError
from rq.job import Job, JobStatus

from wepppy.config.run_paths import get_wd
from wepppy.status_messenger import publish

RESULT_TTL = 604_800  # s: one week
HEARTBEAT = 5  # s between heartbeats while a job runs
WORKER_TTL = 30  # s; an idle worker wakes up every WORKER_TTL - 15 s
LIFE = 45  # s after the last heartbeat at which a worker and its job count as lost: a restart of Redis is shorter
MAINTENANCE = 10  # s between searches for abandoned jobs
STOP_GRACE = "120s"  # between the signal to stop and the container's kill
MOST_KILLS = 3  # a job whose process was killed more often fails (it may take all memory)
# https://docs.docker.com/reference/compose-file/extension/#specifying-durations
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")
_DURATION = re.compile(f"(?:{_PART.pattern})+")
_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None, use_errno=True)
_parent = 0

# rq logs every search for abandoned jobs: two lines every few seconds.
logging.getLogger("rq.worker").addFilter(lambda record: "cleaning" not in str(record.msg))


class JobCancelledError(Exception):
    """The job was cancelled by SIGUSR1."""


class SafeQueue(Queue):
    """A queue whose jobs are in a list of Redis at any moment, also while a worker that has several takes one."""

    @classmethod
    def lpop(cls, queue_keys: Sequence[str], timeout: int | None, connection: Any = None) -> Any:
        """Move a job to its queue's intermediate list, where rq finds it if it is killed; wait at the first one."""
        for key in queue_keys:
            found = cls.lmove(connection, key, None)
            if found is not None:
                return found
        return None if timeout is None else cls.lmove(connection, queue_keys[0], timeout)


class WepppyRqWorker(Worker):
    """A worker of jobs that belong to runs. Events go to `<runid>:rq` as JSON `{"job", "status"}`."""

    queue_class = SafeQueue

    def __init__(self, queues: Any, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("worker_ttl", WORKER_TTL)
        kwargs.setdefault("job_monitoring_interval", HEARTBEAT)
        kwargs.setdefault("maintenance_interval", MAINTENANCE)
        kwargs |= {"default_result_ttl": RESULT_TTL, "queue_class": SafeQueue}
        super().__init__([getattr(queue, "name", queue) for queue in queues], *args, **kwargs)
        self.push_exc_handler(self._announce_abandoned)
        self._hand_back_at: float | None = None
        self._cancelled = False

    # -- life ---------------------------------------------------------------------------------------------------

    def bootstrap(self, *args: Any, **kwargs: Any) -> None:
        """Register; from here on a process that this one forks is killed when this one is gone.

        An orphaned work-horse would go on beside the next one of its job. SIGUSR1 is meant for the work-horse.
        """
        os.register_at_fork(before=_remember_parent, after_in_child=_end_with_parent)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        super().bootstrap(*args, **kwargs)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Send a heartbeat of LIFE seconds at most: rq's own would hide a killed worker for minutes."""
        super().heartbeat(min(timeout or LIFE, LIFE), pipeline=pipeline)

    def get_heartbeat_ttl(self, job: Job, *args: Any, **kwargs: Any) -> int:
        """Return for how many seconds a heartbeat of a running job counts."""
        return min(super().get_heartbeat_ttl(job, *args, **kwargs), LIFE)

    def clean_registries(self) -> None:
        """Queue again what killed workers left. One killed at it holds rq's lock for LIFE, not for 15 minutes."""
        for queue in self.queues:
            self.connection.expire(queue.registry_cleaning_key, LIFE, lt=True)
        super().clean_registries()

    def handle_warm_shutdown_request(self) -> None:
        """Let a running job end within half of the stop's grace."""
        super().handle_warm_shutdown_request()
        self._hand_back_at = time.monotonic() + hand_back_after(os.environ.get("RQ_WORKER_STOP_GRACE", ""))

    def maintain_heartbeats(self, *args: Any, **kwargs: Any) -> None:
        """Send heartbeats, and hand the job back when the time to stop has come. Called every few seconds."""
        super().maintain_heartbeats(*args, **kwargs)
        if self._hand_back_at is not None and time.monotonic() >= self._hand_back_at:
            self.log.warning("Worker %s: handing its job back to the queue", self.name)
            self.kill_horse()

    # -- jobs ---------------------------------------------------------------------------------------------------

    def setup_work_horse_signals(self) -> None:
        """In the work-horse: SIGUSR1 cancels the job."""
        super().setup_work_horse_signals()
        signal.signal(signal.SIGUSR1, self._cancel)

    def _cancel(self, signum: int, frame: FrameType | None) -> None:
        self._cancelled = True
        raise JobCancelledError("cancelled on request")

    def prepare_job_execution(self, job: Job, remove_from_intermediate_queue: bool = False) -> None:
        """Take the job off the intermediate list of its queue, as it is registered as started."""
        if job.retries_left is None:  # its first try
            job.retries_left = MOST_KILLS
            self.connection.hset(job.key, "retries_left", MOST_KILLS)
        super().prepare_job_execution(job, remove_from_intermediate_queue=True)

    def perform_job(self, job: Job, queue: Queue, *args: Any) -> bool:
        """In the work-horse: run the job, with its log in the run directory."""
        runid = job_runid(job)
        job.meta["pid"] = os.getpid()
        job.meta["runid"] = runid
        job.meta.pop("exc_string", None)
        job.save_meta()
        _log_into_run(runid)
        self._announce(job, "started")
        done: bool = super().perform_job(job, queue, *args)
        return done

    def handle_job_success(self, job: Job, *args: Any, **kwargs: Any) -> None:
        """Record the result, then publish it."""
        super().handle_job_success(job, *args, **kwargs)
        self._announce(job, "finished")

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Publish that the job raised, which is final: only a killed job is run again."""
        job.retries_left = 0
        self._announce(job, "exception")
        super().handle_exception(job, *exc_info)

    def handle_work_horse_killed(self, job: Job, retpid: int, ret_val: int, rusage: Any) -> None:
        """Let rq queue the job again while it has tries left, unless it was killed for its time."""
        super().handle_work_horse_killed(job, retpid, ret_val, rusage)
        left = MOST_KILLS if job.retries_left is None else job.retries_left
        # A stopping worker kills its work-horse: no failure of the job.
        job.retries_left = left + (self._hand_back_at is not None)
        if job.timeout and 0 < job.timeout < time.time() - (job.started_at or job.enqueued_at).timestamp():
            job.retries_left = 0

    def handle_job_failure(self, job: Job, queue: Queue, *args: Any, **kwargs: Any) -> None:
        """Record why the job ended or queue it again, then publish which."""
        exc_string = kwargs.get("exc_string") or next((text for text in args[1:2] if text), "")
        if not self.is_horse and job.get_status() in (JobStatus.FINISHED, JobStatus.FAILED):
            return  # Redis lost in a crash that the job had been taken off the intermediate list
        if job.retries_left is None:
            job.retries_left = MOST_KILLS  # taken from the queue by a worker that was killed before it began
        self._note_failure(job, exc_string)
        super().handle_job_failure(job, queue, *args, **kwargs)
        ended = "canceled" if self._cancelled else "failed"
        self._announce(job, ended if job.get_status() == JobStatus.FAILED else "requeued")

    def _announce_abandoned(self, job: Job, kind: Any, *_: Any) -> bool:
        """Publish what rq does with a job that a killed worker left behind."""
        if kind is AbandonedJobError:
            self._note_failure(job, "its worker was killed")
            self._announce(job, "requeued" if job.should_retry else "failed")
        return True

    def _note_failure(self, job: Job, exc_string: str) -> None:
        job.get_meta(refresh=True)
        job.meta |= {"runid": job_runid(job), "exc_string": exc_string}
        job.save_meta()

    def _announce(self, job: Job, status: str) -> None:
        runid = job_runid(job)
        if runid:
            publish(runid, "rq", json.dumps({"job": job.id, "status": status}))


def hand_back_after(stop_grace: str) -> float:
    """Return for how many seconds of the stop's grace a job may still run: half of it.

    The rest is for the heartbeat that notices, and for killing the job and queueing it again. `stop_grace` is a
    duration as Compose writes it (`90s`, `1m30s`, `200ms`); blank means `STOP_GRACE`. Raises ValueError for
    anything else.
    """
    text = stop_grace.strip() or STOP_GRACE
    if not _DURATION.fullmatch(text):
        raise ValueError(f"RQ_WORKER_STOP_GRACE must be a duration like 90s or 1m30s, not {text!r}")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)) / 2


def job_runid(job: Job) -> str | None:
    """Return the run a job works on: its first positional argument, else its `runid`, else that of its meta."""
    try:
        candidates = [*job.args[:1], job.kwargs.get("runid")]
    except Exception:  # arguments that can't be unpickled may raise anything; the job itself will fail of it
        candidates = []
    candidates.append(job.meta.get("runid"))
    return next((candidate for candidate in candidates if isinstance(candidate, str) and candidate), None)


def _remember_parent() -> None:
    global _parent
    _parent = os.getpid()


def _end_with_parent() -> None:
    if _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != _parent:  # gone before the kernel knew that it matters
        os.kill(os.getpid(), signal.SIGKILL)


def _log_into_run(runid: str | None) -> None:
    """Have this process, which ends with the job, append what the job and rq log to `<wd>/rq.log` of its run."""
    with contextlib.suppress(ValueError, OSError):
        if runid is not None:
            handler = logging.FileHandler(get_wd(runid) / "rq.log", encoding="utf-8")
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
            logging.getLogger("wepppy").setLevel(logging.INFO)
            for name in ("rq.worker", "wepppy"):
                logging.getLogger(name).addHandler(handler)
