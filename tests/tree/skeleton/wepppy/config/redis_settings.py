"""Where Redis is, and which database serves which purpose."""

from __future__ import annotations

import os
from enum import IntEnum
from functools import cache, lru_cache
from typing import Any
from urllib.parse import quote, urlsplit

import redis

from wepppy.config.secrets import get_secret


class RedisDB(IntEnum):
    """The numbers of the Redis databases."""

    LOCK = 0
    STATUS = 2
    RQ = 9
    WD_CACHE = 11
    SESSION = 11
    NODB_CACHE = 13
    README = 14
    LOG_LEVEL = 15


def _first_set(*names: str) -> str | None:
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _with_database(url: str, database: int) -> str:
    """Return `url` with another database, and with the password when it has none of its own."""
    parts = urlsplit(url)
    password = get_secret("REDIS_PASSWORD")
    netloc = parts.netloc
    if password and not parts.password:
        netloc = f"{parts.username or ''}:{quote(password, safe='')}@{netloc.rpartition('@')[2]}"
    return parts._replace(netloc=netloc, path=f"/{database}").geturl()


def _address() -> str:
    return f"redis://{os.environ.get('REDIS_HOST', 'localhost')}:{os.environ.get('REDIS_PORT', '6379')}"


@cache
def redis_url(database: int) -> str:
    """Return the URL of one database, with its password."""
    base = _first_set("REDIS_URL", "RQ_REDIS_URL", "SESSION_REDIS_URL")
    return _with_database(base or _address(), int(database))


@lru_cache(maxsize=1)
def session_redis_url() -> str:
    """Return the URL of the sessions' database.

    As in the original the password is only added to a URL from the environment, not to REDIS_HOST and REDIS_PORT.
    """
    database = int(os.environ.get("SESSION_REDIS_DB") or RedisDB.SESSION)
    base = _first_set("SESSION_REDIS_URL", "REDIS_URL", "RQ_REDIS_URL")
    return _with_database(base, database) if base else f"{_address()}/{database}"


def redis_client(database: int, decode_responses: bool = True) -> redis.Redis:
    """Return a client of one database; nothing is contacted yet."""
    options: dict[str, Any] = {"decode_responses": decode_responses, "socket_timeout": 10}
    return redis.Redis.from_url(redis_url(database), **options)
