"""A schedule by a clock that the test moves, and that somebody may set."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from wepp_backup import backup, restore_test, schedule
from wepp_backup.app import Settings
from wepp_backup.catalog import CHECKSUM, MANIFEST, RESTORE_TEST, Catalog, Manifest, RestoreTest, write_json
from wepp_backup.events import Reporter, fail
from wepp_backup.health import judge
from wepp_backup.schedule import LONGEST_SLEEP, Schedule

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)


class Scene:
    """A schedule whose backups are files made in no time."""

    def __init__(self, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.elapsed = NOON, 0.0
        self.fails = self.is_empty = False
        self.untested = ""  # why no restore test can be made
        self.made: list[float] = []  # when, in seconds that really went by
        self.tested: list[str] = []
        self.catalog = catalog
        self.out = io.StringIO()
        self.clock = SimpleNamespace(monotonic=lambda: self.elapsed, sleep=self.pass_)
        monkeypatch.setattr(schedule, "time", self.clock)
        monkeypatch.setattr(schedule, "datetime", SimpleNamespace(now=lambda _: self.wall))
        monkeypatch.setattr(schedule, "is_filled", lambda _: not self.is_empty)
        monkeypatch.setattr(backup, "back_up", self._make)
        monkeypatch.setattr(restore_test, "try_restore", lambda _, name: self.test(name))
        app: Any = SimpleNamespace(
            settings=Settings({"BACKUP_KEEP_MIN": "1", "BACKUP_DRILL_INTERVAL_SECONDS": "0"}),
            catalog=self.catalog, report=Reporter(self.out, as_json=True),
        )  # fmt: skip
        self.schedule = Schedule(app)

    def set(self, **changed: object) -> None:
        for name, value in changed.items():
            setattr(self.schedule.settings, name, value)

    def pass_(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.elapsed += seconds

    def run(self, seconds: float) -> None:
        until = self.elapsed + seconds
        while self.elapsed < until:
            # Longer than the real one, for a year of looks takes its time.
            self.pass_(min(self.schedule.round(), 10 * LONGEST_SLEEP, until - self.elapsed))

    def put(self, at: datetime, rows: int = 1) -> Manifest:
        name = self.catalog.free_name(at)
        for suffix in ("", CHECKSUM):
            self.catalog.path(name + suffix).touch()
        tables = {} if self.is_empty else {"public.alembic_version": rows}
        manifest = Manifest(
            at, name=name, rows=sum(tables.values()), tables=tables, collapse_accepted=self.is_empty
        )
        write_json(self.catalog.path(name + MANIFEST), manifest)
        return manifest

    def ages(self) -> list[float]:
        """Return the days since noon of the dumps there are, the newest first."""
        return [(each.created - NOON).total_seconds() / DAY for each in self.catalog.entries()]

    def health(self) -> tuple[str, bool]:
        return judge(self.catalog, self.schedule.settings, self.wall)

    def _make(self, _: object) -> Manifest:
        self.made.append(self.elapsed)
        if self.fails:
            raise fail("the server is away", "wait")
        return self.put(self.wall)

    def test(self, name: str) -> str:
        """Make a restore test; return why that could not be done."""
        self.tested.append(name)
        if not self.untested:
            self.catalog.write(RESTORE_TEST, RestoreTest(self.wall, ok=True, name=name))
        return self.untested
