"""Whose a job is: the one execution of it that may say how it ended.

`wepp:lease:JOB` holds the token of that execution, the sorted set `wepp:leases` when it was last heard of, in seconds
of Redis' own clock. Whoever takes the lease over has the job: what its former execution reports is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import redis
from redis.client import Pipeline
from rq import Queue
from rq.job import Job

LEASES = "wepp:leases"
LIFE = 25  # s without a heartbeat after which a worker, and the job it is at, count as lost
MOST_LOSSES = 3  # a job that was lost more often fails: it may be what ends its workers
LOSSES = "wepp_losses"  # a field of the job's own hash, there once it was queued again

_NOW = "local time = redis.call('TIME') local now = time[1] + time[2] / 1000000 "
_IF_HELD = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end "
_IF_OVERDUE = """
local heard = redis.call('ZSCORE', KEYS[2], ARGV[2])
if heard and now - heard <= tonumber(ARGV[3]) then return 0 end
"""
_SET = "redis.call('SET', KEYS[1], ARGV[1]) redis.call('ZADD', KEYS[2], now, ARGV[2]) return 1"
_DELETE = "redis.call('DEL', KEYS[1]) redis.call('ZREM', KEYS[2], ARGV[2]) return 1"


class LeaseLostError(Exception):
    """The job was given to another execution."""


class LeasedRedis(redis.Redis):
    """A client whose transactions, while a lease is set, are those of an execution: they need it to be held."""

    lease: Lease | None = None

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        """Return a pipeline, as redis-py's own."""
        return self.lease.pipeline() if self.lease else super().pipeline(transaction, shard_hint)


@dataclass
class Lease:
    """The lease of a job, for one execution of it."""

    connection: redis.Redis
    job_id: str
    token: str
    # In a work-horse that lost its job nothing is left to do.
    ends_process: bool = False

    @classmethod
    def of(cls, connection: redis.Redis, job_id: str, worker: str) -> Lease:
        """Make the lease of a new execution; it is not taken yet."""
        return cls(connection, job_id, f"{worker}/{uuid4().hex}")

    @property
    def key(self) -> str:
        """The key that holds the token."""
        return f"wepp:lease:{self.job_id}"

    def take(self) -> None:
        """Take it, whoever has it."""
        self._evaluate(_NOW + _SET)

    def take_over(self) -> bool:
        """Take it from an execution that was not heard of for too long, or that never began; return whether it was."""
        return self._evaluate(_NOW + _IF_OVERDUE + _SET, LIFE)

    def renew(self) -> bool:
        """Note that the execution lives; return whether the job is still its own."""
        return self._evaluate(_NOW + _IF_HELD + _SET)

    def release(self) -> bool:
        """Give it up; return whether it was still held."""
        return self._evaluate(_IF_HELD + _DELETE)

    def pipeline(self) -> FencedPipeline:
        """Return a pipeline that is executed only while the lease is held."""
        pool, callbacks = self.connection.connection_pool, self.connection.response_callbacks
        made = FencedPipeline(pool, callbacks, True, None)
        made.lease = self
        return made

    def lost(self) -> None:
        """Act upon the loss of the job: raise LeaseLostError, or end this process."""
        if self.ends_process:
            os._exit(1)
        raise LeaseLostError(self.job_id)

    def _evaluate(self, script: str, *more: Any) -> bool:
        return bool(self.connection.eval(script, 2, self.key, LEASES, self.token, self.job_id, *more))


class FencedPipeline(Pipeline):
    """A transaction that Redis executes only if the lease is held then, however late it arrives there."""

    lease: Lease

    def watch(self, *names: Any) -> None:
        """Watch keys, and the lease with them."""
        super().watch(self.lease.key, *names)
        if self.get(self.lease.key) != self.lease.token.encode():
            self.lease.lost()

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Execute the commands."""
        if self.command_stack and not self.watching:
            self.watch()
        return super().execute(raise_on_error)


def queue_again(lease: Lease, job: Job, counts: bool) -> int:
    """Put a job whose execution is over back at the front of its queue, once, unless it was lost too often.

    lease: the caller's, which it gives up. counts: whether this was a loss, not somebody's wish. Returns the losses;
    with more than MOST_LOSSES nothing was changed.
    """
    job.refresh()
    losses = int(job.connection.hget(job.key, LOSSES) or 0) + counts
    if losses > MOST_LOSSES:
        return losses
    queue = Queue(job.origin, connection=job.connection, serializer=job.serializer)
    job.started_at = job.ended_at = None
    with lease.pipeline() as pipeline:
        forget_execution(pipeline, job.id, [queue.key])
        pipeline.lrem(queue.key, 0, job.id)
        queue._enqueue_job(job, pipeline=pipeline, at_front=True)
        pipeline.hset(job.key, LOSSES, losses)
        pipeline.delete(lease.key)
        pipeline.zrem(LEASES, job.id)
        pipeline.execute()
    return losses


def forget_execution(pipeline: FencedPipeline, job_id: str, queue_keys: Iterable[str]) -> None:
    """Remove what rq noted of an execution. From rq 2 on its own id follows the job's in `rq:wip:QUEUE`."""
    for key in queue_keys:
        started = f"rq:wip:{key.removeprefix('rq:queue:')}"
        for entry in pipeline.lease.connection.zrange(started, 0, -1):
            if entry.partition(b":")[0] == job_id.encode():
                pipeline.zrem(started, entry)
                pipeline.delete(b"rq:execution:" + entry, f"rq:executions:{job_id}")
        pipeline.lrem(f"{key}:intermediate", 0, job_id)
        pipeline.delete(f"{key}:intermediate:first_seen:{job_id}")
