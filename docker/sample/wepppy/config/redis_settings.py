"""The Redis databases by name, and how to reach each of them."""

from __future__ import annotations

from enum import IntEnum
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from wepppy.config.environment import setting
from wepppy.config.secrets import get_secret


class RedisDB(IntEnum):
    """Database numbers; the whole stack shares them, so they are part of the interface."""

    LOCK = 0
    STATUS = 2
    RQ = 9
    WD_CACHE = 11
    SESSION = 11  # the same database holds sessions (`session:*`) and the working-directory cache
    NODB_CACHE = 13
    README = 14
    LOG_LEVEL = 15


def redis_url(db: RedisDB) -> str:
    """Return the URL of one Redis database, password included: never print it.

    The base is the first of `REDIS_URL`, `RQ_REDIS_URL`, `SESSION_REDIS_URL` with its database number
    replaced, else `REDIS_HOST` (localhost) and `REDIS_PORT` (6379). `REDIS_PASSWORD[_FILE]` is added,
    percent-encoded, when the base has no password of its own. Raises RuntimeError for a secret file that
    can't be read.
    """
    base = (
        setting("REDIS_URL")
        or setting("RQ_REDIS_URL")
        or setting("SESSION_REDIS_URL")
        or f"redis://{setting('REDIS_HOST', 'localhost')}:{setting('REDIS_PORT', '6379')}"
    )
    parts = urlsplit(base)
    location = parts.netloc
    if parts.password is None:
        password = get_secret("REDIS_PASSWORD")
        if password:
            address = location.rpartition("@")[2]
            location = f"{parts.username or ''}:{quote(password, safe='')}@{address}"
    return urlunsplit((parts.scheme, location, f"/{int(db)}", parts.query, ""))


def redis_client(db: RedisDB, **kwargs: Any) -> redis.Redis:
    """Return a client of one database that survives a Redis restart.

    Answers are text unless `decode_responses=False` is given. Connections are checked after 15 idle seconds,
    a server that refuses is tried five times within two seconds, one that does not answer for 5 s is given up; a
    caller that waits on purpose (Pub/Sub, blocking pops) passes its own `socket_timeout`.
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "health_check_interval": 15,
        "socket_connect_timeout": 3,
        "socket_timeout": 5,
        "retry": Retry(ExponentialBackoff(cap=1, base=0.05), 5, supported_errors=(redis.ConnectionError,)),
    }
    options.update(kwargs)
    return redis.Redis.from_url(redis_url(db), **options)
