"""Kept databases: those that are old enough are dropped, after a question, and no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.base.errors import ExitCode, StackError
from scripts.database.kept import prune
from tests.unit.fakes import Checkout, FakeClock, FakeLineProcess, Screen

DAY = 86400.0
OLD, YOUNG, LATER = (
    {"name": f"wepppy_before_{name}", "since": since, "bytes": 2_000_000, "about": "replaced by a dump"}
    for name, since in (
        ("old", "1970-01-02T00:00:00+00:00"),
        ("young", "1970-01-07T12:00:00+00:00"),
        # The clock was set back since.
        ("later", "1970-02-01T00:00:00+00:00"),
    )
)


def pruned(folder: Path, *, as_json: bool = False, **options: bool) -> tuple[Screen, FakeLineProcess]:
    """Prune what is older than seven days on the tenth day; what was printed, and what drops the databases."""
    made, screen = Checkout(folder), Screen(as_json=as_json)
    made.with_env()
    kept = FakeLineProcess([json.dumps({"kind": "result", "answer": [LATER, YOUNG, OLD]})])
    drop = FakeLineProcess([json.dumps({"kind": "result", "answer": [OLD["name"]]})])
    made.runner.line_processes += [kept, drop]
    prune(made.compose(), screen.console, keep_days=7, clock=FakeClock(9 * DAY), **options)
    commands = [argv[argv.index("--json") + 1 :] for argv in made.runner.commands("line_process")]
    dropping = ["forget", f"--name={OLD['name']}"]
    assert commands == ([["kept"], dropping] if options.get("yes") else [["kept"]])
    return screen, drop


def test_only_what_is_old_enough_is_dropped(tmp_path: Path) -> None:
    screen, drop = pruned(tmp_path, yes=True)
    assert drop.ended
    told = [line.split() for line in screen.out.getvalue().splitlines()]
    assert [(line[0], line[-1]) for line in told[1:4]] == [
        (LATER["name"], "keep"),
        (YOUNG["name"], "keep"),
        (OLD["name"], "drop"),
    ]
    assert told[3][1:5] == ["8", "d", "2.0", "MB"]
    assert "1 of 3 kept databases were dropped" in screen.out.getvalue()


def test_a_dry_run_drops_nothing_and_tells_what_would_be(tmp_path: Path) -> None:
    screen, _ = pruned(tmp_path, dry_run=True, as_json=True)
    answer = json.loads(screen.out.getvalue())
    assert (answer["old"], answer["dropped"]) == ([OLD["name"]], [])


def test_nothing_is_dropped_when_nobody_is_there_to_say_yes(tmp_path: Path) -> None:
    with pytest.raises(StackError) as caught:
        pruned(tmp_path)
    assert caught.value.exit_code == ExitCode.REFUSED
