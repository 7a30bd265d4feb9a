"""A backup now, and the list of backups, as the tasks tell them."""

from __future__ import annotations

import json
from pathlib import Path

from scripts.backup import age, back_up, show
from scripts.dump import backups_folder
from tests.unit.fakes import Checkout, FakeConversation, Screen, service

MADE = {"path": "/backups/wepppy-20261124-000000.dump", "bytes": 2_000_000, "rows": 7, "seconds": 1.25}
LISTED = {
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
    made.runner.conversations.append(FakeConversation([json.dumps({"kind": "result", "answer": answer})]))
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
    show(made.compose(), screen.console)
    lines = screen.out.getvalue().splitlines()
    assert lines[1].split() == [
        "wepppy-20261124-000000.dump", "12.0", "h", "2.0", "MB", "7", "yes", "30", "min", "ago", "17.2",
    ]  # fmt: skip
    assert lines[2].split() == ["wepppy-manual-20261101-000000.dump", "23.5", "d", "5", "B", "no"]
    assert "warning: the last try failed" in screen.err.getvalue()


def test_ages_are_told_in_units_that_people_use() -> None:
    assert [age(each) for each in (-5, 3, 75, 7200, 3 * 86400)] == [
        "in the future", "3 s", "1 min", "2.0 h", "3.0 d",
    ]  # fmt: skip
