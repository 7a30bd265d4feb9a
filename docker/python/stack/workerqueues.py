"""Which of its queues a pool may take now, where hosts share them.

A queue of RQ_EXACTLY_ONE is taken by the one pool that holds `wepp:consumer:QUEUE`; `wepp:queue-owner:QUEUE` gives it
to the pools of one host. A queue of WORKER_SAME_REVISION is taken by pools with the revision of host `main` alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import redis

MAIN = "main"
POOLS = "wepp:pools"  # the keys of all pools' records
CONSUMER_LIFE = 30_000  # ms after which a queue whose consumer was lost may be taken by another
ALIVE = 60  # s since a pool was heard of

# Take or keep a key for ARGV[1]; return whose it is.
_KEEP = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return owner end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
"""
_LET_GO = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


def keep(connection: redis.Redis, key: str, owner: str, life: int) -> str:
    """Take a key that is nobody's, or keep it, for so many ms; return whose it is then."""
    found: bytes = connection.eval(_KEEP, 1, key, owner, life)
    return found.decode()


def let_go(connection: redis.Redis, key: str, owner: str) -> None:
    """Give up a key, if it is the owner's."""
    connection.eval(_LET_GO, 1, key, owner)


def queues_of(variable: str) -> list[str]:
    """Return the queues that a setting names, separated by commas."""
    return [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()]


class QueueRules:
    """The queues of one pool, in its order."""

    def __init__(
        self,
        names: Sequence[str],
        connection: redis.Redis,
        *,
        host: str,
        container: str,
        revision: str,
        exactly_one: Iterable[str] = (),
        same_revision: Iterable[str] = (),
    ) -> None:
        self.names = names
        self.connection = connection
        self.host = host
        self.revision = revision
        self.consumer = f"{host}:{container}"
        self.exactly_one = [name for name in names if name in set(exactly_one)]
        self.same_revision = [name for name in names if name in set(same_revision) and host != MAIN]
        self.allowed: list[str] = []
        self.note = ""

    def look(self, in_use: Iterable[str]) -> None:
        """Find out which queues may be taken (`allowed`) and why not the others (`note`).

        in_use: those that workers of the pool listen to. One that is not to be taken any more is kept from
        others until no worker does.
        """
        used = set(in_use)
        refused = self._other_revision()
        for name in self.exactly_one:
            key = f"wepp:consumer:{name}"
            given = (self.connection.get(f"wepp:queue-owner:{name}") or self.host.encode()).decode()
            if given != self.host:
                refused.setdefault(name, f"host {given} owns it")
            if name in used or name not in refused:
                consumer = keep(self.connection, key, self.consumer, CONSUMER_LIFE)
                if consumer != self.consumer:
                    refused.setdefault(name, f"{consumer} consumes it")
            else:
                let_go(self.connection, key, self.consumer)
        self.allowed = [name for name in self.names if name not in refused]
        self.note = "; ".join(f"{name} is not taken: {why}" for name, why in refused.items())

    def plan(self, count: int) -> list[tuple[str, ...]]:
        """Return what each of so many workers takes: at most one of them queues that exactly one may consume."""
        shared = tuple(name for name in self.allowed if name not in self.exactly_one)
        if len(shared) == len(self.allowed):
            return [shared] * count if shared else []
        return [tuple(self.allowed), *[shared] * (count - 1 if shared else 0)]

    def close(self) -> None:
        """Let others take the queues."""
        for name in self.exactly_one:
            let_go(self.connection, f"wepp:consumer:{name}", self.consumer)

    def _other_revision(self) -> dict[str, str]:
        """Return the queues that are refused for this host's revision, each with the reason."""
        if not self.same_revision:
            return {}
        now = self.connection.time()[0]
        expected = set()
        for key in self.connection.smembers(POOLS):
            if key.startswith(f"wepp:pool:{MAIN}:".encode()):
                revision, heartbeat = self.connection.hmget(key, "revision", "heartbeat")
                if revision and now - int(heartbeat) <= ALIVE:
                    expected.add(revision.decode())
        if not expected or self.revision in expected:
            return {}
        reason = f"its revision is {self.revision} here and {' or '.join(sorted(expected))} on {MAIN}"
        return dict.fromkeys(self.same_revision, reason)
