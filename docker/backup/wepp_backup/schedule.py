"""When something is due: the next backup, what is pruned after it, the next restore test.

The schedule follows the folder, not its own memory, so that it catches up after downtime and takes a backup made by
hand into account; and it looks at the clock often, so that one that is set back or forward does no lasting harm.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime

import psycopg

from wepp_backup import backup, restore_test, retention, row_counts
from wepp_backup import catalog as records
from wepp_backup.app import App
from wepp_backup.caller import CalledOff
from wepp_backup.catalog import Entry, RestoreTest, RestoreTestDue, newest
from wepp_backup.events import Problem

# All in seconds. Between two looks at clock and folder:
LONGEST_SLEEP = 60.0
# After a failure, doubled with each further one up to the longest.
FIRST_RETRY, LONGEST_RETRY = 15.0, 900.0
# Between two looks whether a database that held nothing when it was backed up holds something now.
EMPTY_PAUSE = 10.0
# From this difference between the clock and what really went by nothing is pruned in that round: a clock that ran ahead
# by a month would otherwise make all backups old.
JUMP = 3600.0


def run_keep(app: App, _flags: Namespace) -> None:
    """Make backups and restore tests whenever they are due, and prune, until the process is stopped."""
    settings = app.settings
    often = f"every {settings.interval}, kept for {settings.keep.days} days"
    app.report.message(f"a backup of {settings.database} {often}")
    with suppress(CalledOff):
        Schedule(app).run()


class Schedule:
    """Does what is due."""

    def __init__(self, app: App) -> None:
        self.app, self.settings, self.catalog, self.report = app, app.settings, app.catalog, app.report
        self._looked = datetime.now(UTC), time.monotonic()
        self._jumped = False
        self._failures: dict[Callable[[], bool], tuple[int, float]] = {}  # how many, and not before when

    def run(self) -> None:
        """Do so for ever."""
        if not self.settings.restore_test_interval:
            with suppress(OSError):  # switched on again later, restore tests are not late at once
                self.catalog.path(records.RESTORE_TEST_DUE).unlink(missing_ok=True)
        while True:
            time.sleep(min(self.round(), LONGEST_SLEEP))

    def round(self) -> float:
        """Do what is due; return for how many seconds there is nothing to do."""
        now, elapsed = datetime.now(UTC), time.monotonic()
        ahead = (now - self._looked[0]).total_seconds() - (elapsed - self._looked[1])
        self._looked = now, elapsed
        if abs(ahead) > JUMP:
            self.report.message(f"the clock was set by {ahead:.0f} s")
            self._jumped = True
        pause = self._do(self._back_up, self._until_backup)
        if self.settings.restore_test_interval:
            pause = min(pause, self._do(self._test, self._until_test))
        return max(pause, 1.0)

    def _do(self, work: Callable[[], bool], until_due: Callable[[], float]) -> float:
        """Do some work if it is due; return the pause until it is, or is tried again: a longer one each time."""
        failures, not_before = self._failures.get(work, (0, 0.0))
        pause = max(not_before - time.monotonic(), until_due())
        if pause > 0:
            return pause
        if work():
            self._failures.pop(work, None)
            return until_due()
        # Never so long that a short interval would be missed often.
        longest = min(LONGEST_RETRY, max(self.settings.interval.total_seconds() / 4, 1.0))
        pause = min(FIRST_RETRY * 2.0 ** min(failures, 10), longest)
        self._failures[work] = failures + 1, time.monotonic() + pause
        self.report.message(f"trying again in {pause:g} s")
        return pause

    def _newest(self) -> Entry | None:
        with suppress(Problem):  # the next attempt will tell why
            return newest([each for each in self.catalog.entries() if each.is_backup], datetime.now(UTC))
        return None

    def _until_backup(self) -> float:
        """Return for how long the newest backup is still young enough.

        One from the future says nothing. Neither does one that holds nothing as soon as the database holds a table: a
        new stack's first backup is often made before its first migration.
        """
        now, found = datetime.now(UTC), self._newest()
        if not found or found.is_ahead(now) or (found.is_empty and is_filled(self.app)):
            return 0.0
        pause = min(found.created + self.settings.interval - now, self.settings.interval).total_seconds()
        return min(pause, EMPTY_PAUSE) if found.is_empty else pause

    def _back_up(self) -> bool:
        try:
            made = backup.back_up(self.app)
        except Problem as problem:
            self.report.problem(problem)
            return False
        self.report.message(f"{made.name}: {made.bytes} bytes, {made.rows} rows, {made.seconds:.1f} s")
        try:
            self._prune()
        except Problem as problem:
            self.report.problem(problem)
        return True

    def _prune(self) -> None:
        if self._jumped:
            self._jumped = False
            self.report.message("nothing is pruned this time, because the clock was set")
            return
        keep, percent = self.settings.keep, self.settings.collapse_percent
        entries, now = self.catalog.entries(), datetime.now(UTC)
        if collapse := retention.find_collapse(entries, now, percent):
            self.report.message(f"{collapse}: nothing is pruned")
        for each in retention.expired(entries, now, keep, self.settings.keep_min, percent):
            if self.catalog.remove(each):
                self.report.message(f"removed {each.name}, older than {keep.days} days")

    def _last_test(self) -> RestoreTest | None:
        return self.catalog.read(records.RESTORE_TEST, RestoreTest)

    def _until_test(self) -> float:
        now, found, last = datetime.now(UTC), self._newest(), self._last_test()
        if not found or found.is_empty:
            return LONGEST_SLEEP
        if not last or last.drilled > now + records.AHEAD:
            return 0.0
        return (last.drilled + self.settings.restore_test_interval - now).total_seconds()

    def _test(self) -> bool:
        now, found, last = datetime.now(UTC), self._newest(), self._last_test()
        if not found:
            return True
        due = self.catalog.read(records.RESTORE_TEST_DUE, RestoreTestDue)
        if not due or (last and last.drilled >= due.since) or due.since > now:
            due = RestoreTestDue(now.replace(microsecond=0))
        # Before it begins: one that hangs, or is killed with the container, shall be noticed, too.
        self._remember(due)
        why = restore_test.try_restore(self.app, found.name)
        if why:
            self._remember(due._replace(problem=why))
            self.report.message(f"no test restore of {found.name}: {why}")
        return not why

    def _remember(self, due: RestoreTestDue) -> None:
        try:
            self.catalog.write(records.RESTORE_TEST_DUE, due)
        except OSError as error:
            self.report.message(f"that a restore test is due is not recorded: {error}")


def is_filled(app: App) -> bool:
    """Return True when the database holds a table; False where nobody can tell: the next backup will."""
    with suppress(Problem, psycopg.Error), closing(app.server.connect(app.settings.database)) as session:
        return row_counts.is_filled(session)
    return False
