"""Messages of a run to whoever watches it."""

from __future__ import annotations

from functools import lru_cache

import redis

from wepppy.config.redis_settings import RedisDB, redis_client


class StatusMessenger:
    """Publishes on database 2; a message that nobody hears is gone."""

    @staticmethod
    @lru_cache(maxsize=1)
    def client() -> redis.Redis:
        """Return the one client of this process."""
        return redis_client(RedisDB.STATUS)

    @classmethod
    def publish(cls, channel: str, message: str) -> int:
        """Publish on `<runid>:<name>`; return how many heard it."""
        return int(cls.client().publish(channel, message))
