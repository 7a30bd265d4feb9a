"""RedisPrep: what has been done to a run and when, as a hash that the preflight service watches.

The hash `<runid>` of database 0 holds `timestamps:<task>` (unix seconds), `attrs:<flag>` (`true`/`false`),
`locked:<name>` (`true`/`false`) and `rq:<task>` (job id). All but the locks is mirrored to `<wd>/redisprep.dump`,
so that a Redis that lost its data, or its last second in a crash, gets it back with the next change.
"""

from __future__ import annotations

import fcntl
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, TimeoutError  # noqa: A004
from redis.retry import Retry

from wepppy.config.redis_settings import RedisDB, redis_client
from wepppy.config.run_paths import get_wd

DUMP = "redisprep.dump"
_DUMP_LOCK = ".redisprep.lock"
_NAME = re.compile(r"[A-Za-z0-9_.\-]+")
# A restart of Redis takes seconds and must not cost a run its state: 12 tries wait about 40 s altogether.
_AWAY = (ConnectionError, TimeoutError, BusyLoadingError)
_RETRY = Retry(ExponentialBackoff(cap=5, base=0.1), 12, supported_errors=_AWAY)


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
        if not self._redis.hexists(self._key, "attrs:loaded"):
            self.restore()

    def timestamp(self, task: str) -> int:
        """Record that `task` was done now and return the time recorded, later than every other task of the run.

        Readers ask which of two tasks came last by comparing whole seconds, so tasks done within one second are
        recorded one second apart; a run of a dozen quick steps may thereby end some seconds ahead of the clock.
        """
        field = f"timestamps:{_checked(task)}"
        with self._changing() as fields:
            done = [value for name, value in fields.items() if name.startswith("timestamps:")]
            latest = max((int(value) for value in done if value.isdecimal()), default=0)
            now = max(int(self._clock()), latest + 1)
            fields |= {field: str(now), "last_modified": str(now)}
        return now

    def clear_timestamps(self, tasks: list[str]) -> None:
        """Forget that these tasks were done."""
        with self._changing() as fields:
            for task in tasks:
                fields.pop(f"timestamps:{_checked(task)}", None)

    def set_job(self, task: str, job_id: str) -> None:
        """Record which job does `task`."""
        field = f"rq:{_checked(task)}"
        with self._changing() as fields:
            fields[field] = job_id

    def restore(self) -> None:
        """Record again what Redis has lost of the mirror."""
        with self._changing():
            pass

    def lock(self, name: str) -> None:
        """Show that `name` is being worked on. A display only: it excludes no other process."""
        self._redis.hset(self._key, f"locked:{_checked(name)}", "true")

    def unlock(self, name: str) -> None:
        """Show that `name` is no longer being worked on."""
        self._redis.hset(self._key, f"locked:{_checked(name)}", "false")

    def unlock_all(self) -> None:
        """Clear whatever locks a process left behind when it was killed."""
        locks = [name for name in self.fields() if name.startswith("locked:")]
        if locks:
            self._redis.hset(self._key, mapping=dict.fromkeys(locks, "false"))

    def fields(self) -> dict[str, str]:
        """Return the whole hash."""
        held: Any = self._redis.hgetall(self._key)
        return dict(held)

    @contextmanager
    def _changing(self) -> Iterator[dict[str, str]]:
        """Yield all fields but the locks, of the mirror where Redis lacks them, and write them to both afterwards."""
        with self._exclusive() as mirror:
            fields = {**_read(mirror), **self.fields(), "attrs:loaded": "true"}
            fields = {name: value for name, value in fields.items() if not name.startswith("locked:")}
            before = set(fields)
            yield fields
            with self._redis.pipeline() as pipeline:
                pipeline.hset(self._key, mapping=fields)
                if gone := before - fields.keys():
                    pipeline.hdel(self._key, *gone)
                pipeline.execute()
            if mirror:
                temporary = mirror.with_name(f".{DUMP}.part")
                temporary.write_text(json.dumps(fields, indent=1, sort_keys=True), encoding="utf-8")
                temporary.replace(mirror)

    @contextmanager
    def _exclusive(self) -> Iterator[Path | None]:
        """Hold the lock of the run's state; yield where its mirror is, None if the run has no directory (yet)."""
        if not self._folder.is_dir():
            yield None
            return
        with (self._folder / _DUMP_LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._folder / DUMP


def _read(mirror: Path | None) -> dict[str, str]:
    try:
        kept = json.loads(mirror.read_text(encoding="utf-8")) if mirror else {}
    except (OSError, ValueError):
        kept = {}
    return {name: str(value) for name, value in kept.items()} if isinstance(kept, dict) else {}


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name for a task, flag or lock: {name!r}")
    return name


@lru_cache(maxsize=2)
def _client(retry: bool) -> redis.Redis:
    options: dict[str, Any] = {"retry": _RETRY, "retry_on_error": list(_AWAY)} if retry else {}
    return redis_client(RedisDB.LOCK, **options)
