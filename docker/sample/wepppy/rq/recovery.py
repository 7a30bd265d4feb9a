"""Jobs that a dead worker left behind: found, and put back into their queue exactly once.

rq keeps a running job in the queue's registry of started jobs under a time to live that its worker prolongs. Two
things can go wrong: the time runs out (the worker died), or the job is in no list at all (the worker died between
taking it from the queue and registering it, or Redis handed it to a connection whose worker had just died). Every
change is a transaction that fails if another worker was faster.
"""

# redis-py does not annotate `watch`.
# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import redis
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus
from rq.registry import StartedJobRegistry

from wepppy.rq.process_identity import process_identity

_SEARCH_EVERY = 20  # s between searches for lost jobs, over all workers together
_DOUBT = (
    10  # s for which a job must have been nowhere: taking it from a queue and registering it are two commands
)
_BATCH = 500
PROCESS = "process"  # field of a worker's entry in Redis: which process it is, beyond its number


@dataclass(frozen=True)
class Abandoned:
    """A job in the registry of started jobs whose worker is dead."""

    job: Job
    entry: bytes  # the registry's member: job id and, in newer versions of rq, the execution's id


def kills_of(job: Job) -> int:
    """Return how often the job's process or its worker was killed so far."""
    kills = job.meta.get("kills", 0)
    return kills if isinstance(kills, int) else 0


def abandoned_jobs(queue: Queue) -> Iterator[Abandoned]:
    """Yield the queue's started jobs whose time ran out, or whose worker lived on this host and is gone."""
    registry = StartedJobRegistry(queue=queue)
    now = time.time()
    entries: Any = queue.connection.zrange(registry.key, 0, -1, withscores=True)
    for entry, expiry in entries:
        try:
            job = queue.job_class.fetch(
                _job_id(entry), connection=queue.connection, serializer=queue.serializer
            )
        except NoSuchJobError:
            continue
        status = job.get_status(refresh=False)
        expired = expiry <= now and status in (JobStatus.STARTED, JobStatus.QUEUED)
        # Only a started job names the worker that runs it; before that the name may be that of an earlier try.
        if expired or (status == JobStatus.STARTED and _worker_is_gone(queue.connection, job.worker_name)):
            yield Abandoned(job, entry)


def requeue(queue: Queue, abandoned: Abandoned) -> bool:
    """Move an abandoned job back into its queue; False if another worker did, or if it ended after all."""
    registry = StartedJobRegistry(queue=queue)
    job = abandoned.job
    with queue.connection.pipeline() as pipeline:
        try:
            pipeline.watch(registry.key, job.key)
            status = _text(pipeline.hget(job.key, "status"))
            if pipeline.zscore(registry.key, abandoned.entry) is None or status not in ("started", "queued"):
                return False
            waiting = pipeline.lpos(queue.key, job.id) is not None
            pipeline.multi()
            pipeline.zrem(registry.key, abandoned.entry)
            if not waiting:
                _put_back(queue, job, pipeline, kills=kills_of(job) + 1)
            pipeline.execute()
        except redis.WatchError:
            return False  # looked at again at the next maintenance
    return not waiting


def forget(queue: Queue, abandoned: Abandoned) -> None:
    """Remove the entry of a job that was given up."""
    queue.connection.zrem(StartedJobRegistry(queue=queue).key, abandoned.entry)


def requeue_lost_jobs(queue: Queue) -> list[str]:
    """Put jobs that claim to be queued or started, but are in no list, back into the queue; return their ids.

    A job is suspect the first time it is found so and lost the second time. At most one worker searches, now and then.
    """
    connection = queue.connection
    if not connection.set(f"wepppy:rq:searching:{queue.name}", os.getpid(), nx=True, ex=_SEARCH_EVERY):
        return []
    suspects_key = f"wepppy:rq:suspects:{queue.name}"
    now = time.time()
    suspects = {_text(name): float(since) for name, since in connection.hgetall(suspects_key).items()}
    nowhere = set(_jobs_in_no_list(queue))
    recovered = []
    for job_id in nowhere:
        if job_id not in suspects:
            connection.hset(suspects_key, job_id, now)
        elif now - suspects[job_id] >= _DOUBT and _put_back_lost(queue, job_id):
            recovered.append(job_id)
    settled = [name for name in suspects if name not in nowhere] + recovered
    if settled:
        connection.hdel(suspects_key, *settled)
    return recovered


def _jobs_in_no_list(queue: Queue) -> Iterator[str]:
    connection = queue.connection
    prefix = queue.job_class.key_for("")
    prefix_text = prefix.decode() if isinstance(prefix, bytes) else prefix
    candidates = []
    keys: list[str] = []
    for key in connection.scan_iter(match=f"{prefix_text}*", count=_BATCH):
        name = _text(key)
        if ":" not in name[len(prefix_text) :]:  # not the set of a job's dependents
            keys.append(name)
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        with connection.pipeline(transaction=False) as pipeline:
            for key in batch:
                pipeline.hmget(key, "status", "origin")
            for key, (status, origin) in zip(batch, pipeline.execute(raise_on_error=False), strict=True):
                if _text(origin) == queue.name and _text(status) in ("queued", "started"):
                    candidates.append(key[len(prefix_text) :])
    # Read after the candidates: a job that moved on meanwhile is then seen where it moved to, or gone from `queued`.
    held = {_text(job_id) for job_id in connection.lrange(queue.key, 0, -1)}
    held |= {_text(job_id) for job_id in connection.lrange(f"{queue.key}:intermediate", 0, -1)}
    held |= {_job_id(entry) for entry in connection.zrange(StartedJobRegistry(queue=queue).key, 0, -1)}
    yield from (job_id for job_id in candidates if job_id not in held)


def _put_back_lost(queue: Queue, job_id: str) -> bool:
    registry = StartedJobRegistry(queue=queue)
    with queue.connection.pipeline() as pipeline:
        try:
            key = queue.job_class.key_for(job_id)
            pipeline.watch(key, queue.key, registry.key)
            job = queue.job_class.fetch(job_id, connection=queue.connection, serializer=queue.serializer)
            if job.get_status(refresh=False) not in (JobStatus.QUEUED, JobStatus.STARTED):
                return False
            if job_id in set(_jobs_in_no_list(queue)):
                pipeline.multi()
                _put_back(queue, job, pipeline, kills=kills_of(job))
                pipeline.execute()
                return True
        except (redis.WatchError, NoSuchJobError):
            return False
    return False


def _put_back(queue: Queue, job: Job, pipeline: Any, kills: int) -> None:
    job.meta["kills"] = kills
    job.worker_name = None
    # `retry` spends one of the job's retries; this try is not one that its owner granted for exceptions.
    job.retries_left = (job.retries_left or 0) + 1
    job.retry(queue, pipeline)


def _worker_is_gone(connection: redis.Redis, name: str | None) -> bool:
    if not name:
        return False
    held = connection.hmget(f"rq:worker:{name}", "hostname", "pid", "death", PROCESS)
    hostname, pid, death, process = map(_text, held)
    if death:
        return True
    if hostname != socket.gethostname() or not pid.isdigit():
        return False  # elsewhere, or forgotten: the time to live decides
    # A container that is started anew gives the same numbers to other processes, so the number alone proves nothing.
    running = process_identity(int(pid))
    return running is None or process not in ("", running)


def _job_id(entry: Any) -> str:
    return _text(entry).partition(":")[0]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.decode() if isinstance(value, bytes) else str(value)
