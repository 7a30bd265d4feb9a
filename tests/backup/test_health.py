"""What the health check says of a folder, to the second; and that it is cheap enough to run for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from wepp_backup.app import Settings
from wepp_backup.catalog import (
    ATTEMPT,
    ATTEMPT_BY_HAND,
    CHECKSUM,
    MANIFEST,
    RESTORE_TEST,
    RESTORE_TEST_DUE,
    Attempt,
    Catalog,
    Manifest,
    RestoreTest,
    RestoreTestDue,
    write_json,
)  # fmt: skip
from wepp_backup.health import FIRST, judge

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=each) for each in (1, 60, 3600, 86400))
LIMIT = DAY + DAY / 4
EVERY = 4 * DAY


def put(catalog: Catalog, age: timedelta, **facts: Any) -> str:
    name = catalog.free_name(NOON - age)
    for suffix in ("", CHECKSUM):
        catalog.path(name + suffix).touch()
    write_json(catalog.path(name + MANIFEST), Manifest(NOON - age, name=name, **facts))
    return name


def said(catalog: Catalog, *words: str, ok: bool, every: timedelta = EVERY) -> None:
    seconds = int(every.total_seconds())
    text, is_well = judge(catalog, Settings({"BACKUP_DRILL_INTERVAL_SECONDS": f"{seconds}"}), NOON)
    assert is_well == ok, text
    for each in words:
        assert each in text


@pytest.mark.parametrize(("age", "ok"), [(LIMIT - SECOND, True), (LIMIT, True), (LIMIT + SECOND, False)])
def test_health_turns_at_the_exact_age(catalog: Catalog, age: timedelta, ok: bool) -> None:
    name = put(catalog, age)
    said(catalog, name, "" if ok else "more than the 1 d 6 h allowed", ok=ok)
    put(catalog, MINUTE)
    said(catalog, "is 1 min 0 s old", ok=True)


def test_without_a_verified_backup_it_is_not_well(catalog: Catalog) -> None:
    said(catalog, "no verified backup yet", ok=False)
    catalog.path("wepppy-20260329-110000.dump").write_text("cut")
    said(catalog, "no verified backup yet", ok=False)


def test_a_folder_that_is_gone_is_not_well(tmp_path: Path) -> None:
    said(Catalog(tmp_path / "none", "wepppy"), "cannot be used", ok=False)


def test_one_from_the_future_is_not_well_unless_there_is_another(catalog: Catalog) -> None:
    put(catalog, -HOUR)
    said(catalog, "from the future", "the clock was set back", ok=False)
    put(catalog, HOUR)
    said(catalog, "1 h 0 min old", ok=True)


def test_a_failed_attempt_of_the_schedule_is_not_well_until_a_backup_after_it(catalog: Catalog) -> None:
    failed = Attempt(NOON - 3 * MINUTE, NOON - 2 * MINUTE, problem="the disk is full")
    catalog.write(ATTEMPT, failed)
    said(catalog, "failed 2 min 0 s ago: the disk is full", "no verified backup yet", ok=False)
    put(catalog, HOUR)
    said(catalog, "the disk is full", "1 h 0 min old", ok=False)
    put(catalog, MINUTE)
    said(catalog, ok=True)


def test_a_failed_attempt_by_hand_says_nothing_while_a_backup_is_young_enough(catalog: Catalog) -> None:
    catalog.write(ATTEMPT_BY_HAND, Attempt(NOON - 3 * MINUTE, NOON - 2 * MINUTE, problem="no"))
    put(catalog, LIMIT)
    said(catalog, ok=True)


def test_a_first_backup_that_takes_long_lets_the_stack_start(catalog: Catalog) -> None:
    catalog.write(ATTEMPT, Attempt(NOON - FIRST))
    said(catalog, ok=False)
    catalog.write(ATTEMPT, Attempt(NOON - FIRST - SECOND))
    said(catalog, "is being made since 1 min 1 s", ok=True)
    put(catalog, 2 * DAY)
    said(catalog, "2 d 0 h old", ok=False)


def test_a_failed_restore_test_is_not_well_until_one_passes(catalog: Catalog) -> None:
    name = put(catalog, HOUR)
    wrong = "public.t has 1 rows instead of 2"
    catalog.remember_restore_test(catalog.path(name), RestoreTest(NOON - MINUTE, problem=wrong))
    said(catalog, f"the last test restore ({name}, 1 min 0 s ago) failed: {wrong}", ok=False)
    catalog.remember_restore_test(catalog.path(name), RestoreTest(NOON, ok=True))
    said(catalog, ok=True)


def test_a_newest_backup_that_cannot_be_restored_is_not_well(catalog: Catalog) -> None:
    put(catalog, DAY)
    name = put(catalog, HOUR, not_restorable="a CHECK fails")
    said(catalog, f"{name} is verified, not restorable: a CHECK fails", "is 1 d 0 h old", ok=False)
    put(catalog, MINUTE)
    said(catalog, ok=True)


def test_a_database_that_shrank_is_not_well_until_that_is_accepted(catalog: Catalog) -> None:
    put(catalog, DAY, rows=50000, tables=dict.fromkeys("abcdefghijkl", 0))
    put(catalog, HOUR)
    said(catalog, "shrank from 50000 rows in 12 tables", "to 0 in 0", "db-backup --accept-collapse", ok=False)
    put(catalog, MINUTE, collapse_accepted=True)
    said(catalog, ok=True)


def test_restore_tests_that_cannot_be_made_are_not_well_after_the_exact_quarter(catalog: Catalog) -> None:
    put(catalog, HOUR)
    reason = "the server's disk is too small"

    def due(since: timedelta) -> None:
        catalog.write(RESTORE_TEST_DUE, RestoreTestDue(NOON - since, reason))

    due(EVERY / 4)
    said(catalog, ok=True)
    due(EVERY / 4 + SECOND)
    words = f"no test restore could be held for 1 d 0 h (one is due every 4 d 0 h): {reason}"
    said(catalog, words, "1 h 0 min old", ok=False)
    said(catalog, ok=True, every=timedelta())
    due(FIRST)
    said(catalog, ok=True, every=SECOND)
    catalog.write(RESTORE_TEST, RestoreTest(NOON - 2 * EVERY, ok=True))
    due(EVERY)
    said(catalog, ok=False)
    catalog.write(RESTORE_TEST, RestoreTest(NOON - EVERY, ok=True))
    said(catalog, ok=True)


# Half of what the interpreter itself takes to start, each; a driver many times that.
DEAR = ("psycopg", "dataclasses", "inspect", "ast", "subprocess", "traceback", "tempfile", "urllib.request")
PROBE = f"""
import sys
from wepp_backup.cli import main
status = main(["health"])
print(status, sorted(set({DEAR}) & sys.modules.keys()))
"""


def test_the_check_runs_for_ever_and_so_loads_little(catalog: Catalog) -> None:
    put(catalog, HOUR)
    environment = {**os.environ, "BACKUP_DIR": str(catalog.folder)}
    done = subprocess.run(
        [sys.executable, "-ISc", f"import sys; sys.path.insert(0, {os.environ['PYTHONPATH']!r}){PROBE}"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "1 []"
