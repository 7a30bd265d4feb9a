"""The folder of backups: what is a backup, whose it is, and who may do what to it meanwhile."""

from __future__ import annotations

import io
import json
import os
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import pytest
from wepp_backup.app import App, Settings
from wepp_backup.caller import Caller
from wepp_backup.catalog import (
    ATTEMPT,
    CHECKSUM,
    GLOBALS,
    MANIFEST,
    RESTORE_TEST,
    Attempt,
    Catalog,
    Manifest,
    RestoreTest,
    newest,
    read_manifest,
    unusable,
    write_json,
)  # fmt: skip
from wepp_backup.events import Problem, Reporter

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)


def put(catalog: Catalog, at: datetime, *, name: str = "", verified: bool = True, **facts: Any) -> str:
    """Lay a dump into the folder as a finished run leaves it; with verified=False without companions."""
    name = name or catalog.free_name(at)
    path = catalog.path(name)
    path.write_text("PGDMP")
    if verified:
        Path(f"{path}{CHECKSUM}").write_text("sum")
        Path(f"{path}{GLOBALS}").write_text("-- roles")
        write_json(Path(f"{path}{MANIFEST}"), Manifest(at, name=name, bytes=5, **facts))
    os.utime(path, (at.timestamp(), at.timestamp()))
    return name


def names(catalog: Catalog) -> list[str]:
    return sorted(each.name for each in catalog.folder.iterdir())


def test_names_are_in_utc_whatever_the_zone_of_the_clock(catalog: Catalog) -> None:
    summer = timezone(timedelta(hours=2))
    assert catalog.free_name(NOON.astimezone(summer)) == "wepppy-20260329-120000.dump"
    put(catalog, NOON)
    assert catalog.free_name(NOON) == "wepppy-20260329-120001.dump"
    odd = Catalog(catalog.folder, "../odd\nname").free_name(NOON)
    assert not set("/\n") & set(odd)
    assert not odd.startswith(".")


@pytest.mark.parametrize(
    ("name", "ours", "manual"),
    [
        ("wepppy-20260329-120000.dump", True, False),
        ("wepppy-manual-20260329-120000.dump", False, True),
        ("wepppy-before-upgrade.dump", False, False),
        ("wepppy-20260329-120000-keep.dump", False, False),
        ("wepppy-20261329-120000.dump", False, False),
        ("other-20260329-120000.dump", False, False),
        ("wepppy2-20260329-120000.dump", False, False),
    ],
)
def test_only_the_programs_names_and_those_of_the_operators_page_are_known(
    catalog: Catalog, name: str, ours: bool, manual: bool
) -> None:
    put(catalog, NOON, name=name)
    (entry,) = catalog.entries()
    assert (entry.ours, entry.manual) == (ours, manual)


def test_the_list_begins_with_the_newest_and_tells_what_is_verified(catalog: Catalog) -> None:
    first, last = put(catalog, NOON - DAY), put(catalog, NOON)
    by_hand = put(catalog, NOON - 3 * HOUR, name="wepppy-manual-20260329-090000.dump", verified=False)
    (catalog.folder / ".wepppy-20260329-130000.dump.partial").touch()
    cut = put(catalog, NOON + HOUR)
    os.truncate(catalog.path(cut), 4)
    told = [(each.name, each.verified) for each in catalog.entries()]
    assert told == [(cut, False), (last, True), (by_hand, False), (first, True)]


def test_a_manifest_of_the_programs_first_version_is_read(catalog: Catalog) -> None:
    name = put(catalog, NOON)
    written = {
        "format": 1, "name": name, "database": "wepppy", "created": "2026-03-29T12:00:00.123456789Z", "bytes": 5,
        "rows": 3, "tables": {"public.a": 3}, "views": None, "roles": None, "revision": "", "later": "unknown",
    }  # fmt: skip
    catalog.path(f"{name}{MANIFEST}").write_text(json.dumps(written))
    found = read_manifest(catalog.path(name))
    assert found
    assert (found.rows, found.counts.tables, found.roles) == (3, {"public.a": 3}, [])
    assert found.created.replace(microsecond=0) == NOON
    catalog.path(f"{name}{MANIFEST}").write_text(json.dumps({**written, "format": 2}))
    assert read_manifest(catalog.path(name)) is None


def test_a_backup_of_a_clock_that_ran_ahead_is_not_the_newest_until_its_day_comes(catalog: Catalog) -> None:
    later = NOON + 30 * DAY
    ahead = put(catalog, later)
    alone = newest(catalog.entries(), NOON)
    assert alone  # better than none
    assert alone.is_ahead(NOON)
    past = put(catalog, NOON - HOUR)
    found = [newest(catalog.entries(), now) for now in (NOON, later + timedelta(seconds=1))]
    assert [each.name for each in found if each] == [past, ahead]


def test_a_dump_that_somebody_holds_is_not_removed_until_he_lets_go(catalog: Catalog) -> None:
    put(catalog, NOON)
    (entry,) = catalog.entries()
    with catalog.hold(Path(entry.path)), catalog.hold(Path(entry.path)):
        assert not catalog.remove(entry)
    assert catalog.remove(entry)
    assert names(catalog) == []


def test_a_dump_that_was_just_pruned_cannot_be_held(catalog: Catalog) -> None:
    put(catalog, NOON)
    (entry,) = catalog.entries()
    catalog.remove(entry)
    with pytest.raises(Problem, match="there is no dump"), catalog.hold(Path(entry.path)):
        pass


def test_sweeping_removes_what_a_killed_run_left_and_nothing_else(catalog: Catalog) -> None:
    whole, orphan = put(catalog, NOON), put(catalog, NOON + DAY)
    catalog.path(orphan).unlink()
    others = (".hidden", "wepppy-notes.json", "other-20200101-000000.dump.json", ".other-1.dump.partial")
    for each in (".wepppy-20260330-120000.dump.partial", *others):
        catalog.path(each).touch()
    catalog.sweep()
    assert names(catalog) == sorted(
        [*others, whole, *(whole + each for each in (GLOBALS, MANIFEST, CHECKSUM))]
    )


def test_the_folder_has_one_writer_at_a_time_and_the_second_is_told(catalog: Catalog) -> None:
    told, inside = threading.Event(), []

    def second() -> None:
        with catalog.lock(told.set):
            inside.append("second")

    with catalog.lock(lambda: pytest.fail("nobody held it")):
        thread = threading.Thread(target=second)
        thread.start()
        assert told.wait(60)
        inside.append("first")
    thread.join(60)
    assert inside == ["first", "second"]


def test_a_folder_that_is_not_there_is_told_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="none cannot be used: no such file"):
        Catalog(tmp_path / "none", "wepppy").entries()


def test_a_folder_whose_disk_takes_nothing_is_not_a_matter_of_rights() -> None:
    assert "mounted for writing" in unusable(Path("/backups"), OSError(30, "Read-only file system")).fix
    assert "belongs to the user" in unusable(Path("/backups"), PermissionError(13, "Permission denied")).fix


def test_a_note_that_the_folder_does_not_take_is_known_here_until_it_takes_one_again(
    catalog: Catalog,
) -> None:
    begun = Attempt(NOON)
    catalog.write(ATTEMPT, begun)
    away = catalog.folder.rename(catalog.folder.with_name("away"))
    catalog.write(ATTEMPT, begun._replace(ended=NOON + HOUR, problem="the disk is full"))
    away.rename(catalog.folder)
    found = catalog.read(ATTEMPT, Attempt)
    assert found
    assert found.problem == "the disk is full"
    catalog.write(ATTEMPT, begun._replace(ended=NOON + HOUR, ok=True))
    found = catalog.read(ATTEMPT, Attempt)
    assert found
    assert found.ok


def test_a_failed_restore_test_makes_a_backup_none_to_rely_on_until_one_passes(catalog: Catalog) -> None:
    name = put(catalog, NOON, rows=1)
    catalog.remember_restore_test(catalog.path(name), RestoreTest(NOON, problem="a CHECK fails"))
    (entry,) = catalog.entries()
    assert entry.manifest
    assert (entry.verified, entry.is_generation, entry.manifest.not_restorable) == (
        True,
        False,
        "a CHECK fails",
    )
    last = catalog.read(RESTORE_TEST, RestoreTest)
    assert last
    assert (last.name, last.problem) == (name, "a CHECK fails")
    catalog.remember_restore_test(catalog.path(name), RestoreTest(NOON, ok=True))
    assert catalog.entries()[0].is_generation


def app(catalog: Catalog, report: Reporter) -> App:
    nobody = cast(Caller, None)  # one would take this process' signals
    return App(Settings({"BACKUP_DIR": str(catalog.folder)}), report, nobody)


def test_a_name_is_one_in_the_folder_and_a_path_is_a_path(catalog: Catalog, report: Reporter) -> None:
    assert app(catalog, report).choose("a.dump") == catalog.path("a.dump")
    assert app(catalog, report).choose("/given/a.dump") == Path("/given/a.dump")
    with pytest.raises(Problem, match="no verified backup of wepppy"):
        app(catalog, report).choose("latest")


def test_latest_is_the_newest_that_can_be_restored_and_what_is_passed_over_is_told(
    catalog: Catalog, report: Reporter
) -> None:
    now = datetime.now(UTC)
    good = put(catalog, now - DAY)
    put(catalog, now - HOUR, not_restorable="a CHECK fails")
    put(catalog, now + DAY)
    assert app(catalog, report).choose("latest") == catalog.path(good)
    assert isinstance(report.out, io.StringIO)
    told = report.out.getvalue()
    assert "is passed over, not restorable: a CHECK fails" in told
    assert "is from the future" in told


def test_latest_is_refused_after_a_collapse_unless_it_is_forced(catalog: Catalog, report: Reporter) -> None:
    now = datetime.now(UTC)
    good = put(catalog, now - DAY, rows=50000, tables={"public.run": 50000})
    empty = put(catalog, now - HOUR)
    with pytest.raises(Problem, match="shrank from 50000 rows in 1 tables") as told:
        app(catalog, report).choose("latest")
    assert f"--dump={good}" in told.value.fix
    assert app(catalog, report).choose("latest", force=True) == catalog.path(empty)
