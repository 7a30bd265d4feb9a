"""The worker: run jobs, publish how they ended, and retry jobs whose process was killed.

A job runs in a process of its own (the work-horse). If that process is killed, the worker re-queues the job; if the
worker is killed, its work-horse dies with it and another worker re-queues the job (see `recovery`).
"""

# Half of rq has no annotations.
# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import redis
from rq import Queue, Worker
from rq.exceptions import StopRequested
from rq.job import Job, JobStatus

from wepppy.config.run_paths import get_wd
from wepppy.rq import recovery
from wepppy.rq.process_bonds import bind_children, stop_with_parent
from wepppy.rq.process_identity import process_identity
from wepppy.status_messenger import publish

RESULT_TTL = 604_800  # s: one week
HEARTBEAT = 5  # s between heartbeats while a job runs
WORKER_TTL = 30  # s; an idle worker wakes up every WORKER_TTL - 15 s
LIFE = 45  # s after the last heartbeat at which a worker and its job count as dead
MAINTENANCE = 10  # s between searches for abandoned jobs
STOP_GRACE = "120s"  # between the signal to stop and the container's kill
MOST_KILLS = 3  # a job whose process was killed more often fails (it may take all memory)
# https://docs.docker.com/reference/compose-file/extension/#specifying-durations
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")
_DURATION = re.compile(f"(?:{_PART.pattern})+")

# rq logs every search for abandoned jobs: two lines every few seconds.
logging.getLogger("rq.worker").addFilter(lambda record: "cleaning" not in str(record.msg))


class JobCancelledError(Exception):
    """The job was cancelled by SIGUSR1."""


class WepppyRqWorker(Worker):
    """A worker of jobs that belong to runs. Events go to `<runid>:rq` as JSON `{"job", "status"}`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("worker_ttl", WORKER_TTL)
        kwargs.setdefault("job_monitoring_interval", HEARTBEAT)
        kwargs.setdefault("maintenance_interval", MAINTENANCE)
        kwargs["default_result_ttl"] = RESULT_TTL
        super().__init__(*args, **kwargs)
        self._hand_back_at: float | None = None
        self._cancelled = False

    # -- life ---------------------------------------------------------------------------------------------------

    def bootstrap(self, *args: Any, **kwargs: Any) -> None:
        """Register; from here on every process ends with its parent."""
        pool = multiprocessing.parent_process()
        if pool is not None and pool.pid is not None:
            stop_with_parent(signal.SIGTERM, pool.pid)
        bind_children()
        signal.signal(
            signal.SIGUSR1, signal.SIG_IGN
        )  # meant for the work-horse; its default would end the worker
        super().bootstrap(*args, **kwargs)

    def register_birth(self) -> None:
        """Register, and note the identity of the process: its number may be given to another one."""
        super().register_birth()
        self.connection.hset(self.key, recovery.PROCESS, process_identity(os.getpid()) or "")

    def work(self, *args: Any, **kwargs: Any) -> bool:
        """Work until a signal stops it, also one that comes before rq handles signals."""
        try:
            worked: bool = super().work(*args, **kwargs)
        except StopRequested:
            self.teardown()
            return False
        return worked

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Send a heartbeat of LIFE seconds at most: rq's own would hide a dead worker for minutes."""
        super().heartbeat(min(timeout or LIFE, LIFE), pipeline=pipeline)

    def get_heartbeat_ttl(self, job: Job, *args: Any, **kwargs: Any) -> int:
        """Return for how many seconds a heartbeat of a running job counts."""
        return min(super().get_heartbeat_ttl(job, *args, **kwargs), LIFE)

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

    def clean_registries(self) -> None:
        """Re-queue what dead workers left behind, before rq's own cleaning would give those jobs up."""
        for queue in self.queues:
            with contextlib.suppress(redis.WatchError):  # another worker is at it
                for job in recovery.abandoned_jobs(queue):
                    self._recover(queue, job)
                for job_id in recovery.requeue_lost_jobs(queue):
                    self.log.warning("Worker %s: job %s was lost and is queued again", self.name, job_id)
        super().clean_registries()

    def _recover(self, queue: Queue, abandoned: recovery.Abandoned) -> None:
        job = abandoned.job
        if recovery.kills_of(job) >= MOST_KILLS:
            job.retries_left = 0
            self.handle_job_failure(
                job, queue, exc_string=f"given up: its worker was killed {MOST_KILLS + 1} times"
            )
            recovery.forget(queue, abandoned)
        elif recovery.requeue(queue, abandoned):
            self.log.warning(
                "Worker %s: job %s was left by a dead worker and is queued again", self.name, job.id
            )
            self._announce(job, "requeued")

    # -- jobs ---------------------------------------------------------------------------------------------------

    def setup_work_horse_signals(self) -> None:
        """In the work-horse: SIGUSR1 cancels the job."""
        super().setup_work_horse_signals()
        signal.signal(signal.SIGUSR1, self._cancel)

    def _cancel(self, signum: int, frame: FrameType | None) -> None:
        self._cancelled = True
        raise JobCancelledError("cancelled on request")

    def perform_job(self, job: Job, queue: Queue, *args: Any) -> bool:
        """In the work-horse: run the job, with its log in the run directory."""
        runid = job_runid(job)
        job.meta["pid"] = os.getpid()
        job.meta["runid"] = runid
        job.meta.pop("exc_string", None)
        job.save_meta()
        with _run_log(runid):
            self._announce(job, "started")
            done: bool = super().perform_job(job, queue, *args)
            return done

    def handle_job_success(self, job: Job, *args: Any, **kwargs: Any) -> None:
        """Record the result, then publish it."""
        super().handle_job_success(job, *args, **kwargs)
        self._announce(job, "finished")

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Publish that the job raised; whether it is final follows in another event."""
        self._announce(job, "exception")
        super().handle_exception(job, *exc_info)

    def handle_work_horse_killed(self, job: Job, retpid: int, ret_val: int, rusage: Any) -> None:
        """Count the kill of a work-horse. rq then re-queues jobs that have retries left."""
        super().handle_work_horse_killed(job, retpid, ret_val, rusage)
        job.get_meta(refresh=True)
        # A stopping worker kills its work-horse: no failure of the job.
        kills = recovery.kills_of(job) + (0 if self._hand_back_at is not None else 1)
        job.meta["kills"] = kills
        job.save_meta()
        job.worker_name = None
        overdue = job.timeout and job.timeout > 0 and (_seconds_since_start(job) > job.timeout)
        if kills <= MOST_KILLS and not overdue:
            job.retries_left = max(job.retries_left or 0, 1)
        else:
            job.retries_left = 0

    def handle_job_failure(self, job: Job, queue: Queue, *args: Any, **kwargs: Any) -> None:
        """Record why the job ended or re-queue it, then publish which."""
        exc_string = kwargs.get("exc_string") or next((text for text in args[1:2] if text), "")
        runid = job_runid(job)
        job.get_meta(refresh=True)
        job.meta["runid"] = runid
        job.meta["exc_string"] = exc_string
        job.save_meta()
        super().handle_job_failure(job, queue, *args, **kwargs)
        status = job.get_status()
        if status in (JobStatus.QUEUED, JobStatus.SCHEDULED):
            self._announce(job, "requeued")
        elif status in (JobStatus.FAILED, JobStatus.STOPPED):
            self._announce(job, "canceled" if self._cancelled or status == JobStatus.STOPPED else "failed")

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


def _seconds_since_start(job: Job) -> float:
    if job.started_at is None:
        return 0.0
    return time.time() - job.started_at.timestamp()


@contextlib.contextmanager
def _run_log(runid: str | None) -> Iterator[None]:
    """Append what the job and rq log to `<wd>/rq.log`, if there is such a run."""
    handler: logging.Handler | None = None
    if runid is not None:
        with contextlib.suppress(ValueError, OSError):
            handler = logging.FileHandler(get_wd(runid) / "rq.log", encoding="utf-8")
    if handler is None:
        yield
        return
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger("rq.worker"), logging.getLogger("wepppy")]
    loggers[1].setLevel(logging.INFO)
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()
