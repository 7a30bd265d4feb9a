"""A backup now, and the list of backups, as the tasks tell them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scripts.base.clock import age
from scripts.database.backup import back_up, show
from scripts.engine.sidecar import backups_folder
from tests.unit.fakes import Checkout, FakeLineProcess, Screen, container, service

MADE = {"path": "/backups/wepppy-20261124-000000.dump", "bytes": 2_000_000, "rows": 7, "seconds": 1.25}
LISTED: Any = {
    "now": "2026-11-24T12:00:00Z",
    "ok": False,
    "health": "the last try failed",
    "backups": [
        {
            "name": "wepppy-20261124-000000.dump", "created": "2026-11-24T00:00:00Z", "bytes": 2_000_000,
            "verified": True, "manifest": {"rows": 7, "server_version": "17.2 (Debian)"},
            "drill": {"drilled": "2026-11-24T11:30:00Z", "ok": True, "problem": ""},
        },
        {
            "name": "wepppy-manual-20261101-000000.dump", "created": "2026-11-01T00:00:00Z", "bytes": 5,
            "verified": False,
        },
    ],
}  # fmt: skip


def scene(folder: Path, answer: object) -> Checkout:
    made = Checkout(folder)
    made.with_env()
    made.runner.line_processes.append(FakeLineProcess([json.dumps({"kind": "result", "answer": answer})]))
    return made


def test_a_backup_is_told_by_the_path_it_has_on_this_machine(tmp_path: Path) -> None:
    made, screen = scene(tmp_path, MADE), Screen()
    compose = made.compose()
    back_up(compose, screen.console)
    assert screen.out.getvalue() == (
        f"{backups_folder(compose)}/wepppy-20261124-000000.dump: 2.0 MB, 7 rows, 1.2 s\n"
    )


def test_a_backup_in_a_volume_is_told_by_its_path_in_the_container(tmp_path: Path) -> None:
    made, screen = scene(tmp_path, MADE), Screen(as_json=True)
    mount = {"type": "volume", "source": "postgres-backups", "target": "/backups"}
    volumes = {"postgres-backup": service("wepppy-backup:dev", volumes=[mount])}
    made.runner.on("config", "json", stdout=json.dumps({"name": "wepppy", "services": volumes}))
    back_up(made.compose(), screen.console)
    assert json.loads(screen.out.getvalue())["path"] == MADE["path"]


def test_the_list_says_what_is_verified_and_drilled_and_whether_all_is_well(tmp_path: Path) -> None:
    made, screen = scene(tmp_path, LISTED), Screen()
    assert not show(made.compose(), screen.console)
    lines = screen.out.getvalue().splitlines()
    assert lines[1].split() == [
        "wepppy-20261124-000000.dump", "12", "h", "2.0", "MB", "7", "yes", "30", "min", "ago", "17.2",
    ]  # fmt: skip
    assert " ".join(lines[2].split()) == "wepppy-manual-20261101-000000.dump 23 d 12 h 5 bytes no"
    assert "warning: the last try failed" in screen.err.getvalue()


def test_a_backup_that_cannot_be_restored_and_a_failed_one_by_hand_are_told(tmp_path: Path) -> None:
    first, by_hand = LISTED["backups"]
    manifest = {**first["manifest"], "not_restorable": "a CHECK fails"}
    attempt = {"started": "2026-11-24T11:00:00Z", "ok": False, "problem": "the server is away"}
    listed = {
        **LISTED,
        "ok": True,
        "backups": [{**first, "manifest": manifest}, by_hand],
        "attempt_by_hand": attempt,
    }
    made, screen = scene(tmp_path, listed), Screen()
    show(made.compose(), screen.console)
    assert "yes, not restorable: a CHECK fails" in screen.out.getvalue()
    assert "warning: the last db-backup failed: the server is away" in screen.err.getvalue()
    later = {**attempt, "started": "2026-11-23T11:00:00Z"}
    (tmp_path / "later").mkdir()
    made, screen = scene(tmp_path / "later", {**listed, "attempt_by_hand": later}), Screen()
    show(made.compose(), screen.console)
    assert "db-backup failed" not in screen.err.getvalue()


@pytest.mark.parametrize("state", ["running", "exited"])
def test_backups_are_well_only_while_more_will_be_made(tmp_path: Path, state: str) -> None:
    made, screen = scene(tmp_path, {**LISTED, "ok": True}), Screen(as_json=True)
    made.runner.on(
        "config", "json", stdout=json.dumps({"name": "wepppy", "services": {"postgres-backup": service("b")}})
    )
    made.containers_are([container("postgres-backup", status=state)])
    well = state == "running"
    assert show(made.compose(), screen.console) is well
    answer = json.loads(screen.out.getvalue())
    assert answer["ok"] is well
    assert bool(answer["problems"]) is not well


def test_ages_are_told_in_units_that_people_use() -> None:
    now = datetime(2026, 11, 24, tzinfo=UTC)
    assert [age(now, f"{now - timedelta(seconds=each)}") for each in (-5, 3, 75, 7200, 3 * 86400)] == [
        "in the future", "3 s", "1 min 15 s", "2 h", "3 d",
    ]  # fmt: skip
