"""Restore and rollback on the host: nothing without a question, the right words, every way back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from scripts import journal
from scripts.compose import Compose
from scripts.console import Console
from scripts.errors import ExitCode, StackError
from scripts.quiesce import Keeper
from scripts.restore import Options, restore
from scripts.rollback import rollback
from tests.unit.fakes import Checkout, FakeConversation, Screen

PLAN = {
    "dump": "/backups/a.dump", "kind": "custom", "bytes": 1000, "checksummed": True, "server_version": "17.2",
    "rows": 5, "database": "wepppy", "live_bytes": 9000, "free_bytes": 10**9, "needed_bytes": 10**6, "seconds": 2.0,
    "verify_seconds": 0.1,
}  # fmt: skip
PREPARED = {"rows": 5, "bytes": 9000, "revision": "abc", "live_revision": "abc", "live_id": 7, "seconds": 1.5}
SWAPPED = {"database": "wepppy", "kept": "wepppy_before_20261124_000000"}
# What a rollback would bring back.
KEPT = {
    "name": SWAPPED["kept"],
    "since": "2026-11-24T00:00:00Z",
    "bytes": 1,
    "about": "replaced",
    "live_id": 7,
}


def event(kind: str, **fields: object) -> str:
    return json.dumps({"kind": kind, **fields})


def script(**changes: object) -> list[str]:
    return [
        event("ready", prepared=PLAN),
        event("ready", prepared={**PREPARED, **changes}),
        event("ready", prepared=SWAPPED),
        event("result", answer=SWAPPED),
    ]


@dataclass
class Pause:
    seconds: float = 2.5


@dataclass
class FakeKeeper:
    """Notes when writers are stopped and started; `broken`: how many times they do not come back."""

    compose: Compose
    console: Console
    talk: FakeConversation
    broken: int = 0
    moments: list[list[str]] = field(default_factory=list)
    entry: journal.Entry = field(default_factory=lambda: journal.Entry("a task", 7, 0.0))

    def note(self, entry: journal.Entry) -> None:
        self.entry = entry

    @contextmanager
    def quiesced(self) -> Iterator[Pause]:
        before = list(self.talk.heard)
        yield Pause()
        self.moments.append(self.talk.heard[len(before) :])
        if self.broken:
            self.broken -= 1
            raise StackError("not back: weppcloud", "see its log", ExitCode.FAILED)


class Scene:
    """A checkout whose database runs, and a program at it that says `lines`."""

    def __init__(self, folder: Path, lines: list[str], *, broken: int = 0, as_json: bool = False) -> None:
        self.made = Checkout(folder)
        self.made.with_env()
        self.talk = FakeConversation(lines)
        self.made.runner.conversations.append(self.talk)
        self.screen = Screen(as_json=as_json)
        self.compose = self.made.compose()
        self.keeper = FakeKeeper(self.compose, self.screen.console, self.talk, broken)

    @contextmanager
    def keeping(self, compose: Compose, console: Console, task: str) -> Iterator[Keeper]:
        del compose, console, task
        yield cast(Keeper, self.keeper)

    def restore(self, **options: Any) -> None:
        restore(self.compose, self.screen.console, Options("a.dump", **options), keeping=self.keeping)

    def rollback(self, **options: Any) -> None:
        rollback(self.compose, self.screen.console, keeping=self.keeping, **options)


def test_writers_are_stopped_for_the_swap_alone_and_the_old_database_is_kept(tmp_path: Path) -> None:
    scene = Scene(tmp_path, script(), as_json=True)
    scene.restore(yes=True)
    assert scene.talk.heard == ["go", "swap", "keep"]
    assert scene.keeper.moments == [["swap"]]
    answer = json.loads(scene.screen.out.getvalue())
    assert (answer["ok"], answer["kept"], answer["rows"]) == (True, SWAPPED["kept"], 5)
    assert answer["seconds"]["downtime"] == 2.5


def test_nothing_is_begun_when_nobody_is_there_to_say_yes(tmp_path: Path) -> None:
    scene = Scene(tmp_path, script())
    with pytest.raises(StackError) as caught:
        scene.restore()
    assert caught.value.exit_code == ExitCode.REFUSED
    assert (scene.talk.heard, scene.keeper.moments, scene.talk.ended) == ([], [], True)


def test_a_dry_run_tells_the_plan_and_ends_the_conversation(tmp_path: Path) -> None:
    scene = Scene(tmp_path, script())
    scene.restore(dry_run=True)
    assert (scene.talk.heard, scene.keeper.moments, scene.talk.ended) == ([], [], True)
    assert "9.0 kB" in scene.screen.err.getvalue()
    assert "nothing was changed" in scene.screen.out.getvalue()


def test_without_keeping_the_old_database_is_dropped_only_after_the_services_are_back(tmp_path: Path) -> None:
    scene = Scene(tmp_path, script())
    scene.restore(yes=True, keep=False)
    assert scene.talk.heard == ["go", "swap", "drop"]
    assert scene.keeper.moments == [["swap"]]


def test_services_that_do_not_come_back_bring_the_old_database_back(tmp_path: Path) -> None:
    scene = Scene(tmp_path, script(), broken=1)
    with pytest.raises(StackError) as caught:
        scene.restore(yes=True)
    assert scene.talk.heard == ["go", "swap", "back"]
    assert scene.keeper.moments == [["swap"], ["back"]]
    assert caught.value.exit_code == ExitCode.FAILED
    assert "live again" in caught.value.what


def test_a_refused_swap_is_told_as_it_is(tmp_path: Path) -> None:
    lines = [*script()[:2], event("problem", what="a stranger", mend="stop it", exit=4)]
    scene = Scene(tmp_path, lines)
    with pytest.raises(StackError) as caught:
        scene.restore(yes=True)
    assert (caught.value.what, caught.value.exit_code) == ("a stranger", ExitCode.REFUSED)
    assert scene.talk.heard == ["go", "swap"]


def test_an_older_schema_is_brought_up_to_date_before_the_services_start(tmp_path: Path) -> None:
    scene = Scene(tmp_path, script(revision="old"))
    scene.made.runner.on("run", "db-upgrade")
    scene.restore(yes=True)
    assert any("db-upgrade" in argv for argv in scene.made.runner.commands())


def test_a_schema_that_cannot_be_upgraded_is_swapped_back(tmp_path: Path) -> None:
    scene = Scene(tmp_path, script(revision="old"))
    scene.made.runner.on("run", "db-upgrade", returncode=1)
    with pytest.raises(StackError):
        scene.restore(yes=True)
    assert scene.talk.heard == ["go", "swap", "back"]


def test_a_dump_without_a_checksum_is_warned_about(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [event("ready", prepared={**PLAN, "checksummed": False})])
    scene.restore(dry_run=True)
    assert "no checksum" in scene.screen.err.getvalue()


def test_a_database_that_does_not_run_is_started_first(tmp_path: Path) -> None:
    scene = Scene(tmp_path, script())
    scene.made.containers_are([])
    scene.restore(dry_run=True)
    assert [argv for argv in scene.made.runner.commands() if "up" in argv and argv[-1] == "postgres"]


def test_a_rollback_swaps_what_was_kept_and_keeps_what_was_live(tmp_path: Path) -> None:
    lines = [event("ready", prepared=KEPT), *script()[2:]]
    scene = Scene(tmp_path, lines, as_json=True)
    scene.rollback(yes=True)
    assert scene.talk.heard == ["swap", "keep"]
    assert json.loads(scene.screen.out.getvalue())["restored"] == KEPT["name"]


def test_a_rollback_asks_before_it_swaps(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [event("ready", prepared=KEPT)])
    with pytest.raises(StackError) as caught:
        scene.rollback()
    assert caught.value.exit_code == ExitCode.REFUSED
    assert scene.talk.heard == []
