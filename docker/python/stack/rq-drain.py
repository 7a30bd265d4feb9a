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
        working = 0
        for each in Worker.all(connection=connection):
            # One that was killed never leaves by itself, but it listens to nothing.
            ((_, listening),) = connection.pubsub_numsub(PUBSUB_CHANNEL_TEMPLATE % each.name)
            working += bool(listening) and connection.hget(f"rq:worker:{each.name}", "state") != b"suspended"
        if not working:
            return
        if working != told:
            told = working
            print(f"waiting for {told} workers to end what they are at", flush=True)
        time.sleep(PAUSE_SECONDS)


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
