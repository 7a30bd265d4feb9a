"""Let the workers finish their jobs and take no others: `rq-drain.py`, then within a minute `rq-drain.py resume`.

Workers are suspended for a minute at a time, so that they go on by themselves when whoever asked is killed. Those of
`rq-worker.py` see it within a second, or after the job they are at. Prints how many have not seen it yet, whenever that
changes. Redis is the one of the tree's `wepppy.config.redis_settings`.
"""

from __future__ import annotations

import importlib
import sys
import time

import redis
from rq.command import PUBSUB_CHANNEL_TEMPLATE
from rq.suspension import resume, suspend
from rq.worker import Worker

SUSPENDED_SECONDS = 60
PAUSE_SECONDS = 0.5


def drain(connection: redis.Redis) -> None:
    """Return when no worker is at a job any more; all are suspended then."""
    told = 0
    while True:
        suspend(connection, SUSPENDED_SECONDS)
        there = [each.name for each in Worker.all(connection=connection) if _listens(connection, each.name)]
        working = sum(not _is_suspended(connection, name) for name in there)
        if not working:
            return
        if working != told:
            told = working
            print(f"waiting for {told} workers to end what they are at", flush=True)
        time.sleep(PAUSE_SECONDS)


def _listens(connection: redis.Redis, name: str) -> bool:
    """Return True for a worker that is there; one that was killed never leaves by itself."""
    ((_, count),) = connection.pubsub_numsub(PUBSUB_CHANNEL_TEMPLATE % name)
    return bool(count)


def _is_suspended(connection: redis.Redis, name: str) -> bool:
    return bool(connection.hget(f"rq:worker:{name}", "state") == b"suspended")


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
