"""The worker: run jobs, and publish how they ended.

A job runs in a process of its own (the work-horse). What becomes of it when processes or hosts are lost is up to the
launcher.
"""

# Half of rq has no annotations.
# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
from types import FrameType
from typing import Any

from rq import Queue, Worker
from rq.job import Job, JobStatus

from wepppy.config.run_paths import get_wd
from wepppy.status_messenger import publish

RESULT_TTL = 604_800  # s: one week


class JobCancelledError(Exception):
    """The job was cancelled by SIGUSR1."""


class WepppyRqWorker(Worker):
    """A worker of jobs that belong to runs. Events go to `<runid>:rq` as JSON `{"job", "status"}`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"default_result_ttl": RESULT_TTL})
        self._cancelled = False

    def bootstrap(self, *args: Any, **kwargs: Any) -> None:
        """Register. SIGUSR1 is meant for the work-horse."""
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        super().bootstrap(*args, **kwargs)

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
        _log_into_run(runid)
        self._announce(job, "started")
        done: bool = super().perform_job(job, queue, *args)
        return done

    def handle_job_success(self, job: Job, *args: Any, **kwargs: Any) -> None:
        """Record the result, then publish it."""
        super().handle_job_success(job, *args, **kwargs)
        self._announce(job, "finished")

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Publish that the job raised."""
        self._announce(job, "exception")
        super().handle_exception(job, *exc_info)

    def handle_job_failure(self, job: Job, queue: Queue, *args: Any, **kwargs: Any) -> None:
        """Record why the job ended, then publish that."""
        self._note_failure(job, kwargs.get("exc_string") or next((text for text in args[1:2] if text), ""))
        super().handle_job_failure(job, queue, *args, **kwargs)
        ended = "canceled" if self._cancelled else "failed"
        self._announce(job, ended if job.get_status() == JobStatus.FAILED else "requeued")

    def _note_failure(self, job: Job, exc_string: str) -> None:
        job.get_meta(refresh=True)
        job.meta |= {"runid": job_runid(job), "exc_string": exc_string}
        job.save_meta()

    def _announce(self, job: Job, status: str) -> None:
        runid = job_runid(job)
        if runid:
            publish(runid, "rq", json.dumps({"job": job.id, "status": status}))


def job_runid(job: Job) -> str | None:
    """Return the run a job works on: its first positional argument, else its `runid`, else that of its meta."""
    try:
        candidates = [*job.args[:1], job.kwargs.get("runid")]
    except Exception:  # arguments that can't be unpickled may raise anything; the job itself will fail of it
        candidates = []
    candidates.append(job.meta.get("runid"))
    return next((candidate for candidate in candidates if isinstance(candidate, str) and candidate), None)


def _log_into_run(runid: str | None) -> None:
    """Have this process, which ends with the job, append what the job and rq log to `<wd>/rq.log` of its run."""
    with contextlib.suppress(ValueError, OSError):
        if runid is not None:
            handler = logging.FileHandler(get_wd(runid) / "rq.log", encoding="utf-8")
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
            logging.getLogger("wepppy").setLevel(logging.INFO)
            for name in ("rq.worker", "wepppy"):
                logging.getLogger(name).addHandler(handler)
