"""Restore and rollback on the host: nothing without a question, nothing stopped, the right words."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from scripts.base.clock import Clock
from scripts.base.errors import ExitCode, StackError
from scripts.database.kept import rollback
from scripts.database.restore import restore
from scripts.database.switchover import Application, Options
from scripts.engine.catalogue import Service
from scripts.engine.compose import Compose
from tests.unit.fakes import Checkout, FakeClock, FakeLineProcess, Screen

PLAN = {
    "dump": "/backups/a.dump", "kind": "custom", "bytes": 1000, "checksummed": True, "server_version": "17.2",
    "rows": 5, "database": "wepppy", "live_bytes": 9000, "free_bytes": 10**9, "needed_bytes": 10**6, "seconds": 2.0,
    "verify_seconds": 0.1,
}  # fmt: skip
PREPARED = {
    "rows": 5, "bytes": 9000, "revision": "abc", "live_revision": "abc", "live_id": 7, "seconds": 1.5,
    "staging": "wepppy_incoming_1",
}  # fmt: skip
SWITCHED = {"database": "wepppy", "kept": "wepppy_before_20261124_000000", "seconds": 0.125}
# What a rollback would bring back.
KEPT = {
    "name": SWITCHED["kept"],
    "since": "2026-11-24T00:00:00+00:00",
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
        event("ready", prepared=SWITCHED),
        event("result", answer=SWITCHED),
    ]


@dataclass
class FakeApplication:
    """Well until it is asked again after the switchover; `ill`: what it lacks then. on_check: is called then."""

    ill: StackError | None = None
    on_check: Callable[[], object] = lambda: None
    asked: list[str] = field(default_factory=list)
    clock: Clock = field(default_factory=FakeClock)

    def well(self) -> list[Service]:
        self.asked.append("before")
        return []

    def check(self, services: list[Service]) -> None:
        assert services == []
        self.asked.append("after")
        self.on_check()
        if self.ill:
            raise self.ill


class Scene:
    """A checkout whose database runs, and a program at it that says `lines`."""

    def __init__(self, folder: Path, lines: list[str], *, ill: str = "", as_json: bool = False) -> None:
        self.made = Checkout(folder)
        self.made.with_env()
        self.talk = FakeLineProcess(lines)
        self.made.runner.line_processes.append(self.talk)
        self.made.runner.on("docker", "start")
        self.screen = Screen(as_json=as_json)
        self.application = FakeApplication(StackError(ill, "see its log", ExitCode.FAILED) if ill else None)

    def _application(self, compose: Compose) -> Application:
        del compose
        return cast(Application, self.application)

    def restore(self, **options: Any) -> None:
        compose, console = self.made.compose(), self.screen.console
        restore(compose, console, "a.dump", Options(**options), application=self._application)

    def rollback(self, **options: Any) -> None:
        compose, console = self.made.compose(), self.screen.console
        rollback(compose, console, Options(**options), application=self._application)

    def stopped_or_started(self) -> list[list[str]]:
        """Commands that stop or start containers."""
        return [
            argv for argv in self.made.runner.commands() if {"stop", "start", "kill", "restart"} & set(argv)
        ]


def test_nothing_is_stopped_and_the_old_database_is_kept(tmp_path: Path) -> None:
    scene = Scene(tmp_path, script(missing_runs={"count": 0, "newest": []}), as_json=True)
    scene.restore(yes=True)
    assert scene.talk.heard == ["go", "switch ", "keep"]
    assert scene.stopped_or_started() == []
    assert scene.application.asked == ["before", "after"]
    answer = json.loads(scene.screen.out.getvalue())
    assert (answer["ok"], answer["kept"], answer["rows"]) == (True, SWITCHED["kept"], 5)
    assert answer["seconds"]["downtime"] == 0.125


def test_runs_whose_rows_only_the_old_database_has_are_told(tmp_path: Path) -> None:
    missing = {"count": 12, "newest": ["gentle-creek", "steep-hill"]}
    lines = [*script()[:3], event("result", answer={**SWITCHED, "missing_runs": missing})]
    scene = Scene(tmp_path, lines)
    scene.restore(yes=True)
    assert "12 runs are in the database from before" in scene.screen.err.getvalue()
    assert "gentle-creek, steep-hill" in scene.screen.err.getvalue()


def test_the_addresses_of_the_stacks_containers_are_told_with_the_word(tmp_path: Path) -> None:
    scene = Scene(tmp_path, script())
    ours = {"a": {"IPAddress": "172.18.0.3", "GlobalIPv6Address": ""}, "b": {"IPAddress": "172.19.0.2"}}
    answer = {
        "Id": "id-postgres",
        "Name": "/wepppy-postgres",
        "State": {"Status": "running"},
        "Config": {"Labels": {"com.docker.compose.service": "postgres"}},
        "NetworkSettings": {"Networks": ours},
    }
    scene.made.containers_are([answer])
    scene.restore(yes=True)
    assert scene.talk.heard[1] == "switch 172.18.0.3,172.19.0.2"


def test_of_a_server_that_others_run_no_address_is_told(tmp_path: Path) -> None:
    scene = Scene(tmp_path, script())
    scene.made.with_env(POSTGRES_HOST="db.example.org")
    scene.restore(yes=True)
    assert scene.talk.heard[1] == "switch"


def test_nothing_is_begun_when_nobody_is_there_to_say_yes(tmp_path: Path) -> None:
    scene = Scene(tmp_path, script())
    with pytest.raises(StackError) as caught:
        scene.restore()
    assert caught.value.exit_code == ExitCode.REFUSED
    assert (scene.talk.heard, scene.talk.ended) == ([], True)


def test_a_dry_run_tells_the_plan_and_ends_the_program(tmp_path: Path) -> None:
    scene = Scene(tmp_path, script())
    scene.restore(dry_run=True)
    assert (scene.talk.heard, scene.talk.ended) == ([], True)
    assert "9.0 kB" in scene.screen.err.getvalue()
    assert "nothing was changed" in scene.screen.out.getvalue()


def test_without_keeping_the_old_database_is_dropped_once_the_application_works(tmp_path: Path) -> None:
    scene = Scene(tmp_path, script())
    scene.application.on_check = lambda: scene.talk.heard.append("asked")
    scene.restore(yes=True, keep=False)
    assert scene.talk.heard == ["go", "switch ", "asked", "drop"]


def test_an_application_that_does_not_work_with_it_brings_the_old_database_back(tmp_path: Path) -> None:
    lines = [
        *script()[:3],
        event("result", answer={**SWITCHED, "kept": "wepppy_before_2", "rows_written": 3}),
    ]
    scene = Scene(tmp_path, lines, ill="weppcloud: GET / answered 500")
    with pytest.raises(StackError) as caught:
        scene.restore(yes=True)
    assert scene.talk.heard == ["go", "switch ", "back"]
    assert caught.value.exit_code == ExitCode.FAILED
    assert "answered 500" in caught.value.what
    assert "live again" in caught.value.what
    assert "3 rows were written to it meanwhile" in caught.value.fix
    assert caught.value.facts == {"tried": "wepppy_before_2", "rows_written": 3}


def test_a_refused_switchover_is_told_as_it_is(tmp_path: Path) -> None:
    lines = [*script()[:2], event("problem", what="a foreign session", fix="stop it", exit=4)]
    scene = Scene(tmp_path, lines)
    with pytest.raises(StackError) as caught:
        scene.restore(yes=True)
    assert (caught.value.what, caught.value.exit_code) == ("a foreign session", ExitCode.REFUSED)


def test_an_older_schema_is_brought_up_to_date_before_the_switchover(tmp_path: Path) -> None:
    scene = Scene(tmp_path, script(revision="old"))
    scene.made.runner.on("run", "db-upgrade")
    scene.restore(yes=True)
    (argv,) = [argv for argv in scene.made.runner.commands() if "db-upgrade" in argv]
    assert "POSTGRES_DB=wepppy_incoming_1" in argv
    # An address of the tree's own would be the live one's.
    assert {"SQLALCHEMY_DATABASE_URI=", "DATABASE_URL="} <= set(argv)


def test_a_schema_that_cannot_be_upgraded_is_never_live(tmp_path: Path) -> None:
    scene = Scene(tmp_path, script(revision="old"))
    scene.made.runner.on("run", "db-upgrade", returncode=1)
    with pytest.raises(StackError, match="nothing was switched over"):
        scene.restore(yes=True)
    assert scene.talk.heard == ["go"]
    assert scene.talk.ended


def test_a_dump_without_a_checksum_is_warned_about(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [event("ready", prepared={**PLAN, "checksummed": False})])
    scene.restore(dry_run=True)
    assert "no checksum" in scene.screen.err.getvalue()


def test_a_database_that_does_not_run_is_started_first(tmp_path: Path) -> None:
    scene = Scene(tmp_path, script())
    scene.made.containers_are([])
    scene.made.with_seen_volumes()
    scene.restore(dry_run=True)
    assert [argv for argv in scene.made.runner.commands() if "up" in argv and argv[-1] == "postgres"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), BrokenPipeError()])
def test_a_report_that_cannot_be_written_says_what_is_live(tmp_path: Path, error: OSError) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            del text
            raise error

    scene = Scene(tmp_path, script())
    scene.screen.out = Full()
    with pytest.raises(StackError) as caught:
        scene.restore(yes=True)
    assert caught.value.exit_code == ExitCode.FAILED
    assert "the new wepppy is live now" in caught.value.what


def test_a_rollback_switches_to_what_was_kept_and_keeps_what_was_live(tmp_path: Path) -> None:
    lines = [event("ready", prepared=KEPT), *script()[2:]]
    scene = Scene(tmp_path, lines, as_json=True)
    scene.rollback(yes=True)
    assert scene.talk.heard == ["switch ", "keep"]
    assert scene.stopped_or_started() == []
    assert json.loads(scene.screen.out.getvalue())["restored"] == KEPT["name"]


def test_a_rollback_asks_before_it_switches_over(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [event("ready", prepared=KEPT)])
    with pytest.raises(StackError) as caught:
        scene.rollback()
    assert caught.value.exit_code == ExitCode.REFUSED
    assert scene.talk.heard == []
