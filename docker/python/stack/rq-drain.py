"""Lets the workers finish their jobs and take no others: `rq-drain.py`, then within a minute `rq-drain.py resume`.

Workers are suspended for a minute at a time, so that they go on by themselves when whoever asked is killed. Each is
then told to leave once its job is done, and its pool starts another, which waits: one that waits for a job already
would still take the next. Prints how many are still at work, whenever that changes. Redis is the one of the tree's
`wepppy.config.redis_settings`.
"""

from __future__ import annotations

import importlib
import sys
import time

import redis
from rq.command import PUBSUB_CHANNEL_TEMPLATE, send_shutdown_command
from rq.suspension import resume, suspend
from rq.worker import Worker

SUSPENDED_SECONDS = 60
PAUSE_SECONDS = 0.5


def drain(connection: redis.Redis) -> None:
    """Return when no worker is at a job any more; all are suspended then."""
    suspend(connection, SUSPENDED_SECONDS)
    # Whoever comes later sees that it is suspended before it asks for a job.
    asked = [worker.name for worker in Worker.all(connection=connection)]
    asked = [name for name in asked if not _waits(connection, name)]
    for name in asked:
        send_shutdown_command(connection, name)
    told = 0
    while working := [name for name in asked if _listens(connection, name)]:
        if len(working) != told:
            told = len(working)
            print(f"waiting for {told} workers to end what they are at", flush=True)
        time.sleep(PAUSE_SECONDS)
        suspend(connection, SUSPENDED_SECONDS)


def _listens(connection: redis.Redis, name: str) -> bool:
    """True for a worker that is there; one that was killed never leaves by itself."""
    ((_, count),) = connection.pubsub_numsub(PUBSUB_CHANNEL_TEMPLATE % name)
    return bool(count)


def _waits(connection: redis.Redis, name: str) -> bool:
    """True for a worker that was suspended before it asked for a job."""
    state = connection.hget(f"rq:worker:{name}", "state")
    return state == b"suspended"


def main(arguments: list[str]) -> int:
    """Drain, or resume; return the exit code."""
    settings = importlib.import_module("wepppy.config.redis_settings")
    connection = redis.Redis.from_url(settings.redis_url(settings.RedisDB.RQ))
    if arguments == ["resume"]:
        resume(connection)
        return 0
    try:
        drain(connection)
    except BaseException:
        resume(connection)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
