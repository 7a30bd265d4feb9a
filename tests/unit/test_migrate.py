"""bare-metal-migrate on the host: plan, question, one switchover, a report, and every way back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from scripts.base.console import Console
from scripts.base.errors import ExitCode, StackError
from scripts.database.migrate import Options, migrate, mover, require_database, source_server
from scripts.database.switchover import Application
from scripts.database.systemd import Unit
from scripts.engine.compose import Compose
from scripts.engine.runner import Runner
from tests.unit.fakes import Checkout, FakeHost, FakeLineProcess, Screen, container, model, service
from tests.unit.test_restore import FakeApplication, event

SECRET = 'a password: of "the source" '
PLAN = {
    "source": {"server_version": "16.14", "bytes": 5 * 10**9, "tables": 7, "large_objects": 0, "extensions": []},
    "target": {"database": "wepppy", "server_version": "17.2", "bytes": 8000}, "live": False, "jobs": 2,
    "roles_to_make": ["reader"], "estimated_seconds": {"dump": 30, "load": 80, "compare": 30, "downtime": 1},
    "estimated_dump_bytes": 10**9, "free_for_dump": 10**11, "free_for_server": -1, "notes": ["text sorts otherwise"],
}  # fmt: skip
MOVED = {
    "tables": {"public.a": {"rows": 5, "sum": "77"}}, "rows": 5, "large_objects": 0, "equal": "everything",
    "phases": {"dump": 1.0, "load": 2.0, "compare": 1.0, "downtime": 0.1}, "notes": ["a note"],
}  # fmt: skip
PREPARED = {
    "rows": 5, "tables": 1, "revision": "abc", "live_revision": "abc", "live_id": 7, "upgrade": False,
    "staging": "wepppy_incoming_1", "answer": MOVED,
}  # fmt: skip
SWITCHED = {"database": "wepppy", "kept": "wepppy_before_20261124_000000", "seconds": 0.125}
ANSWER = {**SWITCHED, **MOVED}


def lines(**changes: object) -> list[str]:
    ready = [event("ready", prepared=each) for each in (PLAN, {**PREPARED, **changes}, SWITCHED)]
    return [*ready, event("result", answer=ANSWER)]


class Scene:
    """A checkout whose database runs, and a mover that says what it is told to."""

    def __init__(
        self, folder: Path, *, said: list[str] | None = None, ill: str = "", as_json: bool = False
    ) -> None:
        self.made = Checkout(folder)
        self.made.with_env()
        rendered = model(folder)
        rendered["services"]["postgres-backup"] = service("wepppy-backup:dev", build={})
        rendered["services"]["postgres"]["ports"] = [
            {"host_ip": "127.0.0.1", "published": "5432", "target": 5432}
        ]
        self.made.runner.on("config", "json", stdout=json.dumps(rendered))
        self.made.runner.on("docker", "start")
        self.made.images_are("wepppy-backup:dev", "postgres:17-trixie")
        self.talk = FakeLineProcess(said or lines())
        self.made.runner.line_processes.append(self.talk)
        self.screen = Screen(as_json=as_json)
        self.compose = self.made.compose()
        self.application = FakeApplication(StackError(ill, "see its log", ExitCode.FAILED) if ill else None)
        self.stops: list[str] = []
        self.needed = False
        password = folder / "password"
        password.write_text(f"{SECRET}\n")
        password.chmod(0o600)
        self.source = source_server("localhost", 5432, "old", "roger", password_file=str(password))

    @contextmanager
    def units(self, name: str, runner: Runner, console: Console, *, needed: bool) -> Iterator[Unit]:
        self.needed = needed
        stops = self.stops

        class Stoppable(Unit):
            def stop(self) -> bool:
                stops.append(self.name)
                return True

        yield Stoppable(name, runner, console)

    def _application(self, compose: Compose) -> Application:
        del compose
        return cast(Application, self.application)

    def migrate(self, **options: Any) -> None:
        migrate(
            self.compose, self.screen.console, self.source, Options(**options), application=self._application,
            units=self.units, host=FakeHost(),
        )  # fmt: skip

    @property
    def words(self) -> list[str]:
        """What the program heard after the password."""
        return self.talk.heard[1:]

    @property
    def reports(self) -> list[Path]:
        return list((self.compose.data_dir / "moves").glob("*.json"))


def test_a_move_asks_for_one_switchover_stops_nothing_and_writes_a_report(tmp_path: Path) -> None:
    scene = Scene(tmp_path, as_json=True)
    scene.migrate(yes=True, stop_source=True)
    assert scene.words == ["go", "switch ", "keep"]
    assert scene.application.asked == ["before", "after"]
    answer = json.loads(scene.screen.out.getvalue())
    assert (answer["ok"], answer["rows"], answer["source_stopped"]) == (True, 5, True)
    written = json.loads(Path(answer["report"]).read_text())
    assert (written["tables"]["public.a"]["sum"], written["switched_over"]) == ("77", True)
    assert Path(answer["report"]).stat().st_mode & 0o777 == 0o600
    assert scene.stops == ["postgresql.service"]


def test_the_report_is_written_before_the_word_to_switch_over(tmp_path: Path) -> None:
    found: list[dict[str, Any]] = []

    class Looking(FakeLineProcess):
        def send(self, word: str) -> None:
            if "switch" in word:
                found.extend(json.loads(each.read_text()) for each in scene.reports)
            super().send(word)

    scene = Scene(tmp_path)
    scene.made.runner.line_processes[:] = [Looking(lines())]
    scene.migrate(yes=True)
    (before,) = found
    assert (before["switched_over"], before["rows"], before["ok"]) == (False, 5, False)


def test_where_no_report_can_be_written_nothing_is_switched_over(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.compose.data_dir.mkdir(exist_ok=True)
    (scene.compose.data_dir / "moves").write_text("in the way")
    with pytest.raises(StackError, match="cannot be written"):
        scene.migrate(yes=True)
    assert scene.words == ["go"]


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


def test_the_sources_password_goes_over_the_programs_input_and_nowhere_else(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.migrate(yes=True)
    assert json.loads(scene.talk.heard[0]) == SECRET
    told = [scene.screen.out.getvalue(), scene.screen.err.getvalue(), *scene.words]
    told += [json.dumps([call.argv, call.env, call.stdin]) for call in scene.made.runner.calls]
    told += [each.read_text() for each in scene.reports]
    assert all('of \\"the source' not in text and SECRET not in text for text in told)


def test_a_dry_run_ends_the_conversation_after_the_plan(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.migrate(dry_run=True, stop_source=True)
    assert (scene.words, scene.talk.ended, scene.stops, scene.reports) == ([], True, [], [])
    assert "5.0 GB" in scene.screen.err.getvalue()
    assert "text sorts otherwise" in scene.screen.err.getvalue()


def test_nothing_is_begun_when_nobody_is_there_to_say_yes(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with pytest.raises(StackError) as caught:
        scene.migrate()
    assert caught.value.exit_code == ExitCode.REFUSED
    assert (scene.words, scene.application.asked) == ([], [])


def test_a_source_that_lets_nobody_in_is_told_before_anything_is_begun(tmp_path: Path) -> None:
    scene = Scene(tmp_path, said=[event("problem", what="the server refuses", fix="correct --user", exit=4)])
    with pytest.raises(StackError, match="the server refuses") as caught:
        scene.migrate(yes=True)
    assert caught.value.exit_code == ExitCode.REFUSED
    assert len(scene.made.runner.commands("line_process")) == 1


def test_an_application_that_does_not_work_with_it_leads_back_to_the_database_from_before(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path, ill="weppcloud is ill")
    with pytest.raises(StackError, match="live again") as caught:
        scene.migrate(yes=True, stop_source=True)
    assert scene.words == ["go", "switch ", "back"]
    assert (caught.value.exit_code, scene.stops) == (ExitCode.FAILED, [])


def test_after_a_live_migration_nothing_goes_back_by_itself(tmp_path: Path) -> None:
    scene = Scene(tmp_path, ill="weppcloud is ill")
    live = {"database": "wepppy", "id": 8, "kept": SWITCHED["kept"]}
    scene.made.runner.line_processes.append(FakeLineProcess([event("result", answer=live)]))
    with pytest.raises(StackError, match="weppcloud is ill; the new wepppy is live now"):
        scene.migrate(yes=True, live=True)
    assert scene.words == ["go", "switch "]


@pytest.mark.parametrize(
    ("live", "words"),
    [(False, ["go", "switch ", "keep"]), (True, ["go", "lock", "switch ", "keep"])],
)
def test_an_older_schema_is_brought_up_to_date_in_the_staging_database(
    tmp_path: Path, live: bool, words: list[str]
) -> None:
    said = lines(revision="old", upgrade=True)
    if live:
        said.insert(2, event("ready", prepared={}))
    scene = Scene(tmp_path, said=said)
    scene.made.runner.on("run", "db-upgrade")
    scene.migrate(yes=True, live=live)
    assert scene.words == words
    (upgrade,) = [each for each in scene.made.runner.commands() if each[-1] == "db-upgrade"]
    assert "POSTGRES_DB=wepppy_incoming_1" in upgrade


@pytest.mark.parametrize(
    ("said", "told"),
    [(1, "without an answer"), (2, "is not known"), (3, "the new wepppy is live now")],
    ids=["while it loads", "while it switches over", "after that"],
)
def test_what_a_killed_mover_left_at_the_source_is_removed_whatever_is_live(
    tmp_path: Path, said: int, told: str
) -> None:
    scene = Scene(tmp_path, said=lines()[:said], ill="weppcloud is ill" if said == 3 else "")
    cleaning = FakeLineProcess([event("result", answer={})])
    live = {"database": "wepppy", "id": 8, "kept": SWITCHED["kept"]}
    silent, answers = event("problem", what="no server", fix="m", exit=4), event("result", answer=live)
    looks = [FakeLineProcess([answer]) for answer in {2: [silent], 3: [answers, answers]}.get(said, [])]
    scene.made.runner.line_processes.extend([*looks, cleaning])
    with pytest.raises(StackError, match=told):
        scene.migrate(yes=True)
    assert json.loads(cleaning.heard[0]) == SECRET.strip("\n")
    assert scene.made.runner.commands("line_process")[-1][-1] == "--clean"


def test_a_refusal_leaves_no_report(tmp_path: Path) -> None:
    said = [*lines()[:2], event("problem", what="the source was written", fix="stop it", exit=4)]
    scene = Scene(tmp_path, said=said)
    with pytest.raises(StackError, match="was written"):
        scene.migrate(yes=True)
    assert scene.reports == []


def test_an_engine_elsewhere_is_refused(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.compose.environment = {**scene.compose.environment, "DOCKER_HOST": "ssh://other"}
    with pytest.raises(StackError) as caught:
        scene.migrate(yes=True)
    assert caught.value.exit_code == ExitCode.REFUSED


def test_a_server_that_others_run_is_moved_into_and_none_is_started(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.compose.environment = {**scene.compose.environment, "POSTGRES_HOST": "db.example"}
    scene.migrate(yes=True)
    assert scene.words == ["go", "switch", "keep"]
    assert not [each for each in scene.made.runner.commands() if "up" in each]


def test_a_port_that_the_source_holds_is_not_asked_for_by_the_stacks_database(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.made.containers_are([container("caddy")])
    require_database(
        scene.compose, scene.screen.console, FakeHost(taken={5432: 98}, who="postgres (process 7)")
    )
    (start,) = [call for call in scene.made.runner.calls if "up" in call.argv]
    assert start.env["PORT_POSTGRES"].isdigit()
    assert start.env["PORT_POSTGRES"] != "5432"
    assert "port 5432 is taken by postgres (process 7)" in scene.screen.err.getvalue()


def test_the_mover_sees_the_socket_folder_alone_and_runs_as_the_account_that_the_server_knows(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path)
    (tmp_path / ".s.PGSQL.5432").touch()
    scene.source = replace(scene.source, socket_dir=tmp_path, uid=115, gid=120)
    scene.migrate(yes=True, jobs=3)
    (command,) = scene.made.runner.commands("line_process")
    assert command[command.index("--user") + 1] == "115:120"
    assert f"{tmp_path}:/source:ro" in command
    assert command.count("--volume") == 1
    assert command[command.index("mover") + 1 :] == [
        "wepp-backup", "--json", "migrate", "--host", "/source", "--port", "5432", "--user", "roger", "--dbname", "old",
        "--jobs", "3",
    ]  # fmt: skip
    flags = mover(scene.source, Options(live=True, force=True), starting=True)[0]
    assert flags[-4:] == ["--patience", "60", "--live", "--force"]


def test_a_folder_of_a_socket_that_is_not_there_is_refused_and_not_made(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.source = replace(scene.source, socket_dir=tmp_path / "none")
    with pytest.raises(StackError, match="there is no folder") as caught:
        scene.migrate(yes=True)
    assert caught.value.exit_code == ExitCode.REFUSED
    assert scene.made.runner.commands("line_process") == []
