"""The queues `default`, `batch` and `fork-archive` of database 9, and the class of their workers."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rq import Worker
from rq.job import Job
from rq.queue import Queue

from wepppy.config.redis_settings import RedisDB, redis_client
from wepppy.nodb.status_messenger import StatusMessenger
from wepppy.weppcloud.utils.helpers import get_wd

RESULT_TTL = 604_800  # s
QUEUES = ("default", "batch", "fork-archive")


def run_of(job: Job) -> str | None:
    """Return the run that a job is about: its first text argument, else `runid` by name or in the job's meta data."""
    first = next((value for value in job.args if isinstance(value, str)), None)
    return first or job.kwargs.get("runid") or job.meta.get("runid")


def enqueue(queue: str, function: str, *arguments: Any, timeout: int = 3600) -> Job:
    """Put a call on a queue."""
    connection = redis_client(RedisDB.RQ, decode_responses=False)
    return Queue(queue, connection=connection).enqueue_call(
        function, args=arguments, timeout=timeout, result_ttl=RESULT_TTL
    )


class WepppyRqWorker(Worker):
    """A worker that records in the job and in the run's folder what it does."""

    def perform_job(self, job: Job, queue: Queue) -> bool:
        """Run one job; say how it ended on `<runid>:rq` and in the run's `rq.log`."""
        runid = run_of(job)
        job.meta.update(pid=os.getpid(), runid=runid)
        job.save_meta()
        self._record(runid, job, "started")
        done = super().perform_job(job, queue)
        self._record(runid, job, "finished" if done else "failed")
        return bool(done)

    @staticmethod
    def _record(runid: str | None, job: Job, status: str) -> None:
        if not runid:
            return
        folder = Path(get_wd(runid))
        if folder.is_dir():
            line = f"{datetime.now(UTC).isoformat()} {job.id} {job.func_name} {status}\n"
            with (folder / "rq.log").open("a", encoding="utf-8") as log:
                log.write(line)
        StatusMessenger.publish(f"{runid}:rq", json.dumps({"job": job.id, "status": status}))
