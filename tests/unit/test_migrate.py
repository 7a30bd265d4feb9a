"""bare-metal-migrate on the host: plan, question, one swap, a report, and every way back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from scripts.bare_metal import origin
from scripts.compose import Compose
from scripts.console import Console
from scripts.errors import ExitCode, StackError
from scripts.migrate import Options, demand_database, migrate
from scripts.quiesce import Keeper
from scripts.relay import argv
from scripts.runner import Runner
from scripts.systemd import Unit
from tests.unit.fakes import Checkout, FakeConversation, FakeHost, Screen, container, model, service
from tests.unit.test_restore import FakeKeeper, event

SECRET = "a password of the source"
PLAN = {
    "source": {"server_version": "16.14", "bytes": 5 * 10**9, "tables": 7, "large_objects": 0, "extensions": None},
    "target": {"database": "wepppy", "server_version": "17.2", "bytes": 8000}, "live": False, "jobs": 2,
    "roles_to_make": ["reader"], "estimated_seconds": {"dump": 30, "load": 80, "compare": 30, "downtime": 5},
    "estimated_dump_bytes": 10**9, "free_for_dump": 10**11, "free_for_server": -1, "notes": ["text sorts otherwise"],
}  # fmt: skip
PREPARED = {"rows": 5, "tables": 1, "revision": "abc", "live_revision": "abc", "live_id": 7}
SWAPPED = {"database": "wepppy", "kept": "wepppy_before_20261124_000000"}
ANSWER = {
    **SWAPPED, "tables": {"public.a": {"rows": 5, "sum": "77"}}, "rows": 5, "large_objects": 0, "equal": "everything",
    "seconds": {"dump": 1.0, "load": 2.0, "compare": 1.0, "downtime": 0.1}, "notes": ["a note"],
}  # fmt: skip


class Scene:
    """A checkout whose database runs; a relay and a program at the database that say what they are told to."""

    def __init__(self, folder: Path, *, lines: list[str] | None = None, as_json: bool = False) -> None:
        self.made = Checkout(folder)
        self.made.with_env()
        rendered = model(folder)
        rendered["volumes"] = {"postgres-tmp": {"name": "wepppy_postgres-tmp"}}
        rendered["services"]["postgres-backup"] = service("wepppy-backup:dev", build={})
        rendered["services"]["postgres"]["ports"] = [
            {"host_ip": "127.0.0.1", "published": "5432", "target": 5432}
        ]
        self.made.runner.on("config", "json", stdout=json.dumps(rendered))
        self.made.images_are("wepppy-backup:dev", "postgres:17-trixie")
        self.relay = FakeConversation([event("ready", prepared={"folder": "/relay/x"})])
        self.talk = FakeConversation(
            lines
            or [event("ready", prepared=each) for each in (PLAN, PREPARED, SWAPPED)]
            + [event("result", answer=ANSWER)]
        )
        self.made.runner.conversations += [self.relay, self.talk]
        self.screen = Screen(as_json=as_json)
        self.compose = self.made.compose()
        self.keeper = FakeKeeper(self.compose, self.screen.console, self.talk)
        self.stops: list[str] = []
        self.needed = False
        password = folder / "password"
        password.write_text(f"{SECRET}\n")
        password.chmod(0o600)
        self.origin = origin(
            host="localhost",
            port=5432,
            database="old",
            user="roger",
            password_file=str(password),
            socket_dir="",
        )

    @contextmanager
    def keeping(self, compose: Compose, console: Console, task: str) -> Iterator[Keeper]:
        del compose, console, task
        yield cast(Keeper, self.keeper)

    @contextmanager
    def units(self, name: str, runner: Runner, console: Console, *, needed: bool) -> Iterator[Unit]:
        self.needed = needed
        stops = self.stops

        class Stoppable(Unit):
            def stop(self) -> bool:
                stops.append(self.name)
                return True

        yield Stoppable(name, runner, console)

    def migrate(self, **options: Any) -> None:
        migrate(
            self.compose, self.screen.console, self.origin, Options(**options), keeping=self.keeping, units=self.units,
            host=FakeHost(),
        )  # fmt: skip


def test_a_move_asks_for_one_swap_with_the_writers_stopped_and_writes_a_report(tmp_path: Path) -> None:
    scene = Scene(tmp_path, as_json=True)
    scene.migrate(yes=True, stop_source=True)
    assert scene.talk.heard == ["go", "swap", "keep"]
    assert scene.keeper.moments == [["swap"]]
    answer = json.loads(scene.screen.out.getvalue())
    assert (answer["ok"], answer["rows"], answer["source_stopped"]) == (True, 5, True)
    assert json.loads(Path(answer["report"]).read_text())["tables"]["public.a"]["sum"] == "77"
    assert Path(answer["report"]).stat().st_mode & 0o777 == 0o600
    assert scene.stops == ["postgresql.service"]


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ({}, False),
        ({"service": "own.service"}, True),
        ({"service": ""}, False),
        ({"stop_source": True}, True),
    ],
)
def test_a_unit_has_to_be_there_when_one_was_named_or_the_source_shall_be_stopped(
    tmp_path: Path, options: dict[str, Any], needed: bool
) -> None:
    scene = Scene(tmp_path)
    scene.migrate(yes=True, **options)
    assert scene.needed == needed


def test_the_sources_password_goes_over_the_relays_input_and_nowhere_else(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.migrate(yes=True)
    assert scene.relay.heard == [SECRET, "stop"]
    told = [scene.screen.out.getvalue(), scene.screen.err.getvalue(), *scene.talk.heard]
    told += [json.dumps([call.argv, call.env, call.stdin]) for call in scene.made.runner.calls]
    assert all(SECRET not in text for text in told)


def test_a_dry_run_ends_the_conversation_after_the_plan(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.migrate(dry_run=True, stop_source=True)
    assert (scene.talk.heard, scene.talk.ended, scene.relay.heard[-1], scene.stops) == ([], True, "stop", [])
    assert "5.0 GB" in scene.screen.err.getvalue()
    assert "text sorts otherwise" in scene.screen.err.getvalue()


def test_nothing_is_begun_when_nobody_is_there_to_say_yes(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with pytest.raises(StackError) as caught:
        scene.migrate()
    assert caught.value.exit_code == ExitCode.REFUSED
    assert (scene.talk.heard, scene.keeper.moments) == ([], [])


def test_a_source_that_lets_nobody_in_is_told_before_anything_is_begun(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.relay.script[:] = [event("problem", what="the server refuses", mend="correct --user", exit=4)]
    with pytest.raises(StackError, match="the server refuses") as caught:
        scene.migrate(yes=True)
    assert caught.value.exit_code == ExitCode.REFUSED
    assert len(scene.made.runner.commands("converse")) == 1


def test_services_that_do_not_come_up_lead_back_to_the_database_from_before(tmp_path: Path) -> None:
    back = event("problem", what="the one before is live again", mend="see why", exit=5)
    scene = Scene(
        tmp_path, lines=[*(event("ready", prepared=each) for each in (PLAN, PREPARED, SWAPPED)), back]
    )
    standing = {"database": "wepppy", "id": PREPARED["live_id"], "kept": ""}
    scene.made.runner.conversations.append(FakeConversation([event("result", answer=standing)]))
    scene.keeper.broken = 1
    with pytest.raises(StackError, match="live again") as caught:
        scene.migrate(yes=True, stop_source=True)
    assert scene.talk.heard == ["go", "swap", "back"]
    assert (caught.value.exit_code, scene.stops) == (ExitCode.FAILED, [])


@pytest.mark.parametrize(("key", "value"), [("POSTGRES_HOST", "db.example"), ("DOCKER_HOST", "ssh://other")])
def test_an_external_database_and_an_engine_elsewhere_are_refused(
    tmp_path: Path, key: str, value: str
) -> None:
    scene = Scene(tmp_path)
    scene.compose.environment = {**scene.compose.environment, key: value}
    with pytest.raises(StackError) as caught:
        scene.migrate(yes=True)
    assert caught.value.exit_code == ExitCode.REFUSED


def test_a_port_that_the_source_holds_is_not_asked_for_by_the_stacks_database(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.made.containers_are([container("caddy")])
    demand_database(
        scene.compose, scene.screen.console, FakeHost(taken={5432: 98}, who="postgres (process 7)")
    )
    (start,) = [call for call in scene.made.runner.calls if "up" in call.argv]
    assert start.env["PORT_POSTGRES"].isdigit()
    assert start.env["PORT_POSTGRES"] != "5432"
    assert "port 5432 is taken by postgres (process 7)" in scene.screen.err.getvalue()


def test_a_relay_sees_the_socket_folder_alone_and_runs_as_the_account_that_the_server_knows(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path)
    command = argv(
        scene.compose, replace(scene.origin, socket_dir=tmp_path, uid=115, gid=120), "wepp-relay-1"
    )
    assert command[command.index("--user") + 1] == "115:120"
    assert f"{tmp_path}:/source:ro" in command
    assert command[command.index("--host") + 1] == "/source"
    assert command.count("--volume") == 2
    assert "--read-only" in command
