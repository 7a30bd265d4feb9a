"""The one process that finds jobs whose worker was lost with its host, of all hosts that share a Redis."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

import redis
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job
from workerlease import LEASES, LIFE, Lease, LeaseLostError, forget_execution
from workerlosses import LOST, end_lost, tell
from workerqueues import keep, let_go

REAPER = "wepp:reaper"
REAPER_LIFE = 12_000  # ms after which another launcher takes its place
GAP = 10  # s between two looks, after which workers have time again: they could not reach Redis either
log = logging.getLogger("rq.worker")


class Reaper:
    """Finds lost jobs by what Redis holds and by its clock; no host's clock matters."""

    def __init__(self, connection: redis.Redis, worker_class: Any, name: str) -> None:
        self.connection = connection
        self.worker_class = worker_class
        self.name = name
        self._looked = self._since = float("-inf")
        # Jobs of no execution: since when.
        self._unowned: dict[str, float] = {}

    def look(self) -> list[str]:
        """Return the ids of the jobs that are lost; none where another launcher looks for them."""
        if keep(self.connection, REAPER, self.name, REAPER_LIFE) != self.name:
            return []
        seconds, microseconds = self.connection.time()
        now = seconds + microseconds / 1e6
        if now - self._looked > GAP:
            self._since = now
        self._looked = now
        started = now - self.connection.info("server")["uptime_in_seconds"]
        self._unowned = {job_id: self._unowned.get(job_id, now) for job_id in self._find_unowned()}
        if now - max(self._since, started) < LIFE:
            return []
        overdue = self.connection.zrangebyscore(LEASES, "-inf", f"({now - LIFE}")
        unowned = (job_id for job_id, since in self._unowned.items() if now - since > LIFE)
        return list(dict.fromkeys([*(job_id.decode() for job_id in overdue), *unowned]))

    def close(self) -> None:
        """Let another launcher look."""
        let_go(self.connection, REAPER, self.name)

    def end(self, job_ids: list[str]) -> None:
        """Queue lost jobs again or fail them, all of them before the first of their runs is told."""
        ended = [(job_id, self._take(job_id)) for job_id in job_ids]
        for job_id, outcome in ended:
            if outcome:
                lease, job, status, text = outcome
                log.warning("Job %s: %s", job_id, text)
                tell(job, status, text)
                if status == LOST:
                    self._fail(lease, job, text)

    def _take(self, job_id: str) -> tuple[Lease, Job, str, str] | None:
        """Take a job from its lost execution; return what becomes of it, None where there is nothing to do."""
        worker, _, _ = (self.connection.get(f"wepp:lease:{job_id}") or b"its worker").decode().partition("/")
        lease = Lease.of(self.connection, job_id, self.name)
        with suppress(LeaseLostError, NoSuchJobError):
            if not lease.take_over():
                return None
            job = Job.fetch(job_id, connection=self.connection)
            if job.get_status(refresh=False) in ("started", "queued"):
                return lease, job, *end_lost(lease, job, f"{worker} was not heard of for {LIFE} s")
        self._forget(lease)
        lease.release()
        return None

    def _fail(self, lease: Lease, job: Job, text: str) -> None:
        """Fail a job as the tree's own workers do."""
        self._forget(lease)
        queue = Queue(job.origin, connection=self.connection)
        options = {"name": f"{self.name}.reaper", "connection": self.connection, "prepare_for_work": False}
        worker = self.worker_class([queue], **options)
        worker.handle_job_failure(job, queue, exc_string=text)
        self.connection.delete(worker.key)  # it counted the failure
        lease.release()

    def _forget(self, lease: Lease) -> None:
        with suppress(LeaseLostError), lease.pipeline() as pipeline:
            forget_execution(pipeline, lease.job_id, self._queue_keys())
            pipeline.execute()

    def _queue_keys(self) -> list[str]:
        return [key.decode() for key in self.connection.smembers("rq:queues")]

    def _find_unowned(self) -> set[str]:
        """Return jobs that were taken from their queues, or are started, and are of no execution."""
        taken, started = set(), set()
        for key in self._queue_keys():
            taken.update(self.connection.lrange(f"{key}:intermediate", 0, -1))
            entries = self.connection.zrange(f"rq:wip:{key.removeprefix('rq:queue:')}", 0, -1)
            started.update(entry.partition(b":")[0] for entry in entries)
        jobs = [job_id.decode() for job_id in taken | started]
        leases = self.connection.mget([f"wepp:lease:{job_id}" for job_id in jobs]) if jobs else []
        # A worker of another launcher has no leases.
        return {
            job_id
            for job_id, lease in zip(jobs, leases, strict=True)
            if not lease and (job_id.encode() in taken or not self._has_worker(job_id))
        }

    def _has_worker(self, job_id: str) -> bool:
        worker = self.connection.hget(f"rq:job:{job_id}", "worker_name") or b""
        return bool(self.connection.exists(b"rq:worker:" + worker))
