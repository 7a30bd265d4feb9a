"""The checklist of a run: a hash in database 0, mirrored to a file of the run."""

from __future__ import annotations

import json
import time
from pathlib import Path

from wepppy.config.redis_settings import RedisDB, redis_client

DUMP = "redisprep.dump"


class RedisPrep:
    """The state of one run's tasks; the hash is named after the last part of the run's folder."""

    def __init__(self, wd: str) -> None:
        self.wd = Path(wd)
        self.run_id = self.wd.name
        self.redis = redis_client(RedisDB.LOCK)
        if not self.redis.hexists(self.run_id, "attrs:loaded"):
            self._load()

    def _load(self) -> None:
        dump = self.wd / DUMP
        kept = json.loads(dump.read_text(encoding="utf-8")) if dump.exists() else {}
        self.redis.hset(self.run_id, mapping={**kept, "attrs:loaded": "true"})

    def set(self, field: str, value: str | int) -> None:
        """Set one field and write the mirror."""
        self.redis.hset(self.run_id, mapping={field: str(value), "last_modified": int(time.time())})
        fields = self.redis.hgetall(self.run_id)
        kept = {name: text for name, text in fields.items() if not name.startswith("locked:")}
        (self.wd / DUMP).write_text(json.dumps(kept, sort_keys=True), encoding="utf-8")

    def timestamp(self, task: str) -> None:
        """Say that a task is done, one second later than whatever was done before it.

        The checklist compares whole seconds with "strictly later"; tasks of this small model share a second.
        """
        fields = self.redis.hgetall(self.run_id)
        before = [int(text) for name, text in fields.items() if name.startswith("timestamps:")]
        self.set(f"timestamps:{task}", max([int(time.time()), *(moment + 1 for moment in before)]))

    def set_rq_job_id(self, task: str, job_id: str) -> None:
        """Record which job does a task."""
        self.set(f"rq:{task}", job_id)
