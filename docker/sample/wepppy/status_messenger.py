"""Progress messages: text sent to the watchers of a run at once, and stored nowhere."""

from __future__ import annotations

import logging
from functools import lru_cache

import redis

from wepppy.config.redis_settings import RedisDB, redis_client

_log = logging.getLogger(__name__)


def publish(runid: str, channel: str, text: str) -> int:
    """Send `text` to the watchers of `<runid>:<channel>` and return how many connections received it.

    Log a Redis that does not answer instead of raising: a lost message must not stop the work.
    """
    try:
        receivers: int = _client().publish(f"{runid}:{channel}", text)
    except redis.RedisError as error:
        _log.warning("message on %s:%s was not sent: %s", runid, channel, type(error).__name__)
        return 0
    return receivers


@lru_cache(maxsize=1)
def _client() -> redis.Redis:
    return redis_client(RedisDB.STATUS)
