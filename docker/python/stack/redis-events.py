"""Says whether Redis tells of changes in the checklists: one word, `on` or `off`, and what its setting lacks or is.

The `preflight` service follows the hashes of database 0 by keyspace events. A server that others run sends none until
it is told to, and nothing looks unhealthy then. It is tried with a key of this program's own, which needs no right to
read the server's configuration.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import redis

SECONDS = 3.0
NEEDED = "Kh"
KEY_SECONDS = 60


def arrives(client: redis.Redis) -> bool:
    """Return whether the change of a hash is told within some seconds."""
    key = f"wepp:events:{secrets.token_hex(8)}"
    with client.pubsub() as channel:
        channel.subscribe(f"__keyspace@0__:{key}")
        channel.get_message(timeout=SECONDS)  # that it is subscribed
        with client.pipeline() as pipeline:
            pipeline.hset(key, "tried", "1")
            pipeline.expire(key, KEY_SECONDS)
            # Answered after the events of what came before it on this server, if there are any.
            pipeline.publish(f"__keyspace@0__:{key}", "end")
            pipeline.delete(key)
            pipeline.execute()
        message = channel.get_message(timeout=SECONDS)
        return message is not None and message["data"] == "hset"


def wanted(client: redis.Redis) -> str:
    """Return the setting that the server should have: what it has and what is needed."""
    try:
        has = str(client.config_get("notify-keyspace-events").get("notify-keyspace-events", ""))
    except redis.RedisError:
        # Reading it is not for every role, and some providers have no such command.
        return NEEDED
    return has + "".join(
        letter for letter in NEEDED if letter not in has and not (letter == "h" and "A" in has)
    )


def main() -> int:
    """Print the answer."""
    password = Path(os.environ["REDIS_PASSWORD_FILE"]).read_text(encoding="utf-8").strip()
    client = redis.Redis(
        host=os.environ["REDIS_HOST"],
        port=int(os.environ["REDIS_PORT"]),
        password=password or None,
        decode_responses=True,
        socket_connect_timeout=SECONDS,
        socket_timeout=SECONDS,
    )
    with client:
        print("on" if arrives(client) else f"off {wanted(client)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
