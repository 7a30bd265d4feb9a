"""RedisPrep: what has been done to a run and when, as a hash that the preflight service watches.

The hash `<runid>` of database 0 holds `timestamps:<task>` (unix seconds), `attrs:<flag>` (`true`/`false`),
`locked:<name>` (`true`/`false`) and `rq:<task>` (job id). All but the locks is mirrored to `<wd>/redisprep.dump`,
so that a Redis that lost its data gets it back from the run directory.
"""

from __future__ import annotations

import fcntl
import json
import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, TimeoutError, WatchError  # noqa: A004
from redis.retry import Retry

from wepppy.config.redis_settings import RedisDB, redis_client
from wepppy.config.run_paths import get_wd

DUMP = "redisprep.dump"
_DUMP_LOCK = ".redisprep.lock"
_NAME = re.compile(r"[A-Za-z0-9_.\-]+")
# A restart of Redis takes seconds and must not cost a run its state: 12 tries wait about 40 s altogether.
_RETRY = Retry(
    ExponentialBackoff(cap=5, base=0.1),
    12,
    supported_errors=(ConnectionError, TimeoutError, BusyLoadingError),
)


class RedisPrep:
    """The state of one run. Every method is atomic and may be called from any process."""

    def __init__(self, runid: str, *, retry: bool = False, clock: Callable[[], float] = time.time) -> None:
        """Open the state of a run, loading it from the run directory if Redis does not have it.

        With `retry` every method outlasts a restart of Redis: for jobs. A web request had better fail at once.
        Raises ValueError for a bad run id, redis.RedisError if Redis stays away.
        """
        self._folder = get_wd(runid)
        self._key = self._folder.name
        self._clock = clock
        self._redis = _client(retry)
        self._recorded: dict[str, int] = {}
        if not self._redis.hexists(self._key, "attrs:loaded"):
            self._load()

    def timestamp(self, task: str) -> int:
        """Record that `task` was done now and return the time recorded, later than every other task of the run.

        Readers ask which of two tasks came last by comparing whole seconds, so tasks done within one second are
        recorded one second apart; a run of a dozen quick steps may thereby end some seconds ahead of the clock.
        What this object recorded before is recorded again if Redis has lost it: a crash costs it its last second.
        """
        field = f"timestamps:{_checked(task)}"
        while True:
            with self._redis.pipeline() as pipeline:
                try:
                    pipeline.watch(self._key)  # type: ignore[no-untyped-call]
                    held: Any = pipeline.hgetall(self._key)
                    latest = max(
                        (_seconds(value) for name, value in held.items() if name.startswith("timestamps:")),
                        default=0,
                    )
                    lost = {name: value for name, value in self._recorded.items() if name not in held}
                    now = max(int(self._clock()), latest + 1, *(value + 1 for value in lost.values()))
                    pipeline.multi()
                    pipeline.hset(self._key, mapping={**lost, field: now, "last_modified": now})
                    pipeline.execute()
                    break
                except WatchError:
                    continue  # changed in between: read again
        self._recorded[field] = now
        self._dump()
        return now

    def clear_timestamps(self, tasks: list[str]) -> None:
        """Forget that these tasks were done."""
        if tasks:
            fields = [f"timestamps:{_checked(task)}" for task in tasks]
            for field in fields:
                self._recorded.pop(field, None)
            self._redis.hdel(self._key, *fields)
            self._dump()

    def restore(self) -> None:
        """Record again what Redis has lost of this object and the mirror; locks are not mirrored."""
        self._load()
        self._dump()

    def set_attr(self, name: str, value: bool) -> None:
        """Set a flag."""
        self._redis.hset(self._key, f"attrs:{_checked(name)}", _word(value))
        self._dump()

    def lock(self, name: str) -> None:
        """Show that `name` is being worked on. A display only: it excludes no other process."""
        self._redis.hset(self._key, f"locked:{_checked(name)}", "true")

    def unlock(self, name: str) -> None:
        """Show that `name` is no longer being worked on."""
        self._redis.hset(self._key, f"locked:{_checked(name)}", "false")

    def unlock_all(self) -> None:
        """Clear whatever locks a process left behind when it was killed."""
        left = [
            name for name, value in self.fields().items() if name.startswith("locked:") and value == "true"
        ]
        if left:
            self._redis.hset(self._key, mapping=dict.fromkeys(left, "false"))

    def set_job(self, task: str, job_id: str) -> None:
        """Record which job does `task`."""
        self._redis.hset(self._key, f"rq:{_checked(task)}", job_id)
        self._dump()

    def job(self, task: str) -> str | None:
        """Return the job that did or does `task`."""
        job_id: Any = self._redis.hget(self._key, f"rq:{_checked(task)}")
        return None if job_id is None else str(job_id)

    def fields(self) -> dict[str, str]:
        """Return the whole hash."""
        held: Any = self._redis.hgetall(self._key)
        return dict(held)

    def _load(self) -> None:
        try:
            kept = json.loads((self._folder / DUMP).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            kept = {}
        mapping = {str(name): str(value) for name, value in kept.items()} if isinstance(kept, dict) else {}
        mapping |= {name: str(value) for name, value in self._recorded.items()}
        # What Redis does hold is newer than the file; hence hsetnx, and the flag last.
        with self._redis.pipeline() as pipeline:
            for name, value in mapping.items():
                if not name.startswith("locked:"):
                    pipeline.hsetnx(self._key, name, value)
            pipeline.hset(self._key, "attrs:loaded", "true")
            pipeline.execute()

    def _dump(self) -> None:
        if not self._folder.is_dir():
            return  # no run directory (yet): Redis alone holds the state
        # Under a lock, so that what was read first is not what is written last.
        with (self._folder / _DUMP_LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            kept = {name: value for name, value in self.fields().items() if not name.startswith("locked:")}
            temporary = self._folder / f".{DUMP}.part"
            temporary.write_text(json.dumps(kept, indent=1, sort_keys=True), encoding="utf-8")
            temporary.replace(self._folder / DUMP)


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name for a task, flag or lock: {name!r}")
    return name


def _seconds(value: str) -> int:
    try:
        return int(value)
    except ValueError:
        return 0


def _word(value: bool) -> str:
    return "true" if value else "false"


@lru_cache(maxsize=2)
def _client(retry: bool) -> redis.Redis:
    if not retry:
        return redis_client(RedisDB.LOCK)
    return redis_client(
        RedisDB.LOCK, retry=_RETRY, retry_on_error=[ConnectionError, TimeoutError, BusyLoadingError]
    )
