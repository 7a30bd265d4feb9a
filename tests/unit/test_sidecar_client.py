"""A run of the program at the database: what it tells, what it is told, how it ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from scripts.base.errors import ExitCode, StackError
from scripts.database.sidecar_client import ProgramRun, answer
from scripts.engine.runner import Runner
from tests.unit.fakes import Checkout, FakeLineProcess, Screen, container


def compose_with(folder: Path, talk: FakeLineProcess) -> Checkout:
    made = Checkout(folder)
    made.with_env()
    made.runner.line_processes.append(talk)
    return made


def event(**fields: object) -> str:
    return json.dumps(fields)


def test_a_command_tells_its_progress_and_gives_its_answer(tmp_path: Path) -> None:
    seen = Screen()
    talk = FakeLineProcess(
        [
            event(kind="progress", phase="verify", done=1, total=2),
            event(kind="message", text="a remark"),
            event(kind="result", answer={"rows": 3}),
        ]
    )
    made = compose_with(tmp_path, talk)
    assert answer(made.compose(), seen.console, ["list"]) == {"rows": 3}
    assert seen.err.getvalue() == "  verify\na remark\n"
    assert talk.ended
    argv = made.runner.commands("line_process")[0]
    assert argv[argv.index("run") :] == [
        "run", "--rm", "--no-deps", "-T", "postgres-backup", "wepp-backup", "--json", "list",
    ]  # fmt: skip


def test_a_word_is_said_only_when_the_program_waits_for_it(tmp_path: Path) -> None:
    talk = FakeLineProcess([event(kind="ready", prepared=1), event(kind="result", answer=2)])
    with ProgramRun(compose_with(tmp_path, talk).compose(), Screen().console, ["restore"]) as run:
        assert run.ready() == 1
        assert talk.heard == []
        run.send("switch")
        assert run.result() == 2
    assert talk.heard == ["switch"]


def test_a_problem_of_the_program_is_the_tasks_own_with_its_status(tmp_path: Path) -> None:
    made = compose_with(tmp_path, FakeLineProcess([event(kind="problem", what="no", fix="do", exit=4)]))
    with pytest.raises(StackError) as caught:
        answer(made.compose(), Screen().console, ["restore"])
    assert (caught.value.what, caught.value.fix, caught.value.exit_code) == ("no", "do", ExitCode.REFUSED)


def test_a_program_that_dies_without_an_answer_is_a_failure_that_shows_its_last_words(tmp_path: Path) -> None:
    made = compose_with(tmp_path, FakeLineProcess([], status=137, complaints="Killed"))
    with pytest.raises(StackError) as caught:
        answer(made.compose(), Screen().console, ["restore"])
    assert caught.value.exit_code == ExitCode.FAILED
    assert "137" in caught.value.what
    assert caught.value.details == "Killed"


def test_a_real_program_hears_words_and_ends_when_its_input_does() -> None:
    code = (
        "import sys\nprint('ready', flush=True)\n"
        "for line in sys.stdin: print(line.strip().upper(), flush=True)\nsys.exit(7)"
    )
    process = Runner(Path.cwd()).line_process([sys.executable, "-c", code])
    lines = process.lines()
    assert next(lines) == "ready"
    process.send("word")
    assert next(lines) == "WORD"
    assert process.end() == (7, "")
    assert process.end() == (7, "")


def test_what_a_real_program_complains_of_is_kept_and_what_nobody_reads_does_not_hold_it_up() -> None:
    code = (
        "import sys\n"
        "for number in range(40): print('complaint', number, file=sys.stderr)\n"
        "print('x' * 10**6); print('y' * 10**6, file=sys.stderr)"
    )
    status, complaints = Runner(Path.cwd()).line_process([sys.executable, "-c", code]).end()
    assert status == 0
    assert complaints.splitlines()[:2] == ["complaint 11", "complaint 12"]
    assert complaints.endswith("yyy")


def test_a_program_that_does_not_leave_is_killed() -> None:
    code = "import time; print('x', flush=True); time.sleep(60)"
    process = Runner(Path.cwd()).line_process([sys.executable, "-c", code])
    process.seconds = 0.2
    assert process.end()[0] == -9


def test_a_database_that_is_lost_in_the_middle_is_started_again_while_the_program_waits(
    tmp_path: Path,
) -> None:
    talk = FakeLineProcess([event(kind="lost", text="it went away"), event(kind="result", answer={})])
    made = compose_with(tmp_path, talk)
    made.containers_are([container("postgres", status="exited", health="")])
    assert answer(made.compose(), Screen().console, ["restore"]) == {}
    assert ["docker", "start", "wepppy-postgres-1"] in made.runner.commands()


def test_a_database_that_restarts_by_itself_is_left_to_it(tmp_path: Path) -> None:
    talk = FakeLineProcess([event(kind="lost", text="it went away"), event(kind="result", answer={})])
    made = compose_with(tmp_path, talk)
    answer(made.compose(), Screen().console, ["restore"])
    assert not any("start" in argv for argv in made.runner.commands())
