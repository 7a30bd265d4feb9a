"""What a user is told when something is killed around the switchover: what is live is asked for, not guessed."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from scripts.base.errors import ExitCode, StackError
from scripts.database.sidecar_client import ProgramRun
from scripts.database.switchover import Application, Options, jobs_in_progress, switch_over
from tests.unit.fakes import Checkout, FakeLineProcess, container
from tests.unit.memory_stack import MemoryStack
from tests.unit.test_restore import SWITCHED, FakeApplication, Scene, event, script

KEPT = SWITCHED["kept"]
# Number 7 was live before the switchover, see PREPARED.
OLD = {"database": "wepppy", "id": 7, "kept": ""}
NEW = {"database": "wepppy", "id": 8, "kept": KEPT}


def scene(folder: Path, lines: list[str], *looks: object, ill: str = "") -> Scene:
    """A restore whose program says the lines; each look is the server's answer to which database is live."""
    made = Scene(folder, lines, ill=ill)
    for look in looks:
        answer = event("result", answer=look) if look else event("problem", what="no server", fix="m", exit=4)
        made.made.runner.line_processes.append(FakeLineProcess([answer]))
    return made


def failed(made: Scene, **options: Any) -> StackError:
    with pytest.raises(StackError) as caught:
        made.restore(yes=True, **options)
    return caught.value


def unknown() -> str:
    return event("problem", what="whether it was switched over is not known", fix="m", exit=3)


def test_a_program_that_dies_while_it_loads_is_a_failure_that_changed_nothing(tmp_path: Path) -> None:
    made = scene(tmp_path, script()[:1])
    assert "without an answer" in failed(made).what
    assert made.talk.heard == ["go"]


def test_a_program_that_dies_before_the_commit_has_switched_nothing(tmp_path: Path) -> None:
    error = failed(scene(tmp_path, script()[:2], OLD))
    assert "without an answer" in error.what
    assert "live now" not in error.what
    assert error.exit_code == ExitCode.FAILED


def test_a_program_that_dies_after_the_commit_has_switched_over(tmp_path: Path) -> None:
    error = failed(scene(tmp_path, script()[:2], NEW))
    assert "the new wepppy is live now" in error.what
    assert str(KEPT) in error.what
    assert "db-rollback" in error.fix


def test_a_program_that_dies_once_it_has_told_of_the_switchover_makes_no_good_restore_go_back(
    tmp_path: Path,
) -> None:
    made = scene(tmp_path, script()[:3], NEW)
    made.restore(yes=True)
    assert "wepppy is restored" in made.screen.out.getvalue()
    assert made.talk.heard == ["go", "switch ", "keep"]
    assert "without an answer" in made.screen.err.getvalue()


def test_a_switchover_that_nobody_could_tell_of_is_told_once_the_server_is_back(tmp_path: Path) -> None:
    error = failed(scene(tmp_path, [*script()[:2], unknown()], NEW))
    assert "the new wepppy is live now" in error.what


def test_a_switchover_that_did_not_take_place_is_told_once_the_server_is_back(tmp_path: Path) -> None:
    error = failed(scene(tmp_path, [*script()[:2], unknown()], OLD))
    assert "did not take place" in error.what
    assert error.exit_code == ExitCode.FAILED


def test_while_the_server_stays_away_nothing_is_claimed(tmp_path: Path) -> None:
    error = failed(scene(tmp_path, [*script()[:2], unknown()], None))
    assert "not known" in error.what
    assert "db-prune --dry-run" in error.fix
    assert error.exit_code == ExitCode.NOT_READY


def test_switching_back_that_fails_says_that_the_new_database_is_live(tmp_path: Path) -> None:
    lines = [*script()[:3], event("problem", what="the server went away", fix="m", exit=5)]
    error = failed(scene(tmp_path, lines, NEW, NEW, ill="weppcloud is ill"))
    assert "the new wepppy is live now" in error.what
    assert "live again" not in error.what


def test_switching_back_whose_program_dies_after_it_is_one(tmp_path: Path) -> None:
    error = failed(scene(tmp_path, script()[:3], OLD, ill="weppcloud is ill"))
    assert "the database from before is live again" in error.what


class Interrupted(FakeLineProcess):
    """A program during whose last answer the user presses Ctrl-C."""

    def lines(self) -> Iterator[str]:
        yield from super().lines()
        raise KeyboardInterrupt


def test_ctrl_c_in_the_switchover_says_so_when_it_came_too_late(tmp_path: Path) -> None:
    made = scene(tmp_path, [])
    talk = Interrupted(script()[:2])
    made.made.runner.line_processes[:] = [talk, FakeLineProcess([event("result", answer=NEW)])]
    error = failed(made)
    assert talk.ended
    assert error.exit_code == ExitCode.INTERRUPTED
    assert "the new wepppy is live now" in error.what


class InterruptedAgain(FakeLineProcess):
    """A program during whose answer the user presses Ctrl-C once more."""

    def lines(self) -> Iterator[str]:
        signal.raise_signal(signal.SIGINT)
        yield from super().lines()


class InterruptedAtItsEnd(FakeLineProcess):
    """A program during whose end the user presses Ctrl-C."""

    def end(self) -> tuple[int, str]:
        ended, self.ended = self.ended, True
        if not ended:
            raise KeyboardInterrupt
        return super().end()


def test_ctrl_c_while_the_program_tidies_up_after_the_switchover_says_that_the_new_one_is_live(
    tmp_path: Path,
) -> None:
    made = scene(tmp_path, [])
    live = InterruptedAgain([event("result", answer=NEW)])
    made.made.runner.line_processes[:] = [InterruptedAtItsEnd(script()), live]
    error = failed(made)
    assert error.exit_code == ExitCode.INTERRUPTED
    assert "the new wepppy is live now" in error.what
    assert "this has to be finished" in made.screen.err.getvalue()


@pytest.mark.parametrize("keep", [True, False])
def test_ctrl_c_after_the_switchover_says_that_the_new_one_is_live(tmp_path: Path, keep: bool) -> None:
    made = scene(tmp_path, [])
    # It was dropped already; what is kept last is of an earlier switchover.
    look = NEW if keep else {**NEW, "kept": "wepppy_before_20261101_000000"}
    live = InterruptedAgain([event("result", answer=look)])
    made.made.runner.line_processes[:] = [Interrupted(script()[:3]), live]
    error = failed(made, keep=keep)
    assert error.exit_code == ExitCode.INTERRUPTED
    assert "the new wepppy is live now" in error.what
    assert (f"the one from before is kept as {KEPT}" in error.what) == keep
    assert ("db-rollback" in error.fix) == keep
    assert "wepppy_before_20261101" not in error.what


def test_ctrl_c_while_the_application_is_asked_leaves_the_new_one_live_and_says_so(tmp_path: Path) -> None:
    made = scene(tmp_path, script(), NEW)

    def interrupt() -> None:
        raise KeyboardInterrupt

    made.application.on_check = interrupt
    error = failed(made)
    assert error.exit_code == ExitCode.INTERRUPTED
    assert "the new wepppy is live now" in error.what
    assert made.talk.heard == ["go", "switch "]


def test_ctrl_c_before_the_commit_is_an_interruption(tmp_path: Path) -> None:
    made = scene(tmp_path, [])
    made.made.runner.line_processes[:] = [
        Interrupted(script()[:2]),
        FakeLineProcess([event("result", answer=OLD)]),
    ]
    with pytest.raises(KeyboardInterrupt):
        made.restore(yes=True)


def switch(
    stack: MemoryStack,
    talk: FakeLineProcess,
    application: FakeApplication,
    *looks: FakeLineProcess,
    quiesce: bool = False,
    goes_back: bool = True,
) -> Mapping[str, Any]:
    stack.compose.data_dir.mkdir(exist_ok=True)
    stack.made.runner.on("docker", "ps", "label=com.docker.compose.service=postgres-backup")
    stack.made.runner.line_processes.extend([talk, *looks])
    with ProgramRun(stack.compose, stack.screen.console, ["rollback"], options=["--name=x"]) as run:
        options = Options(quiesce=quiesce)
        return switch_over(run, 7, cast(Application, application), options, goes_back=goes_back)


def test_quiesce_stops_the_writers_for_the_switchover_alone(tmp_path: Path) -> None:
    stack, talk = MemoryStack(tmp_path), FakeLineProcess(script()[2:])
    talk.send = lambda word: stack.events.append(word)  # type: ignore[method-assign]
    switch(stack, talk, FakeApplication(on_check=lambda: stack.events.append("asked")), quiesce=True)
    assert stack.events == ["stop web worker", "switch ", "restart web worker", "asked", "keep"]


def test_what_must_not_be_left_behind_is_never_switched_back(tmp_path: Path) -> None:
    stack, talk = MemoryStack(tmp_path), FakeLineProcess(script()[2:])
    live = FakeLineProcess([event("result", answer=NEW)])
    ill = StackError("weppcloud is ill", "see its log", ExitCode.FAILED)
    with pytest.raises(StackError, match="weppcloud is ill; the new wepppy is live now") as caught:
        switch(stack, talk, FakeApplication(ill), live, goes_back=False)
    assert talk.heard == ["switch "]
    assert "db-rollback" in caught.value.fix


@pytest.mark.parametrize(
    ("said", "jobs"), [("3\n", 3), ("0\n", 0), ("NOAUTH Authentication required.\n", None)]
)
def test_jobs_in_progress_are_counted_where_redis_tells(tmp_path: Path, said: str, jobs: int | None) -> None:
    made = Checkout(tmp_path)
    made.with_env()
    made.containers_are([container("redis")])
    made.runner.on("docker", "exec", stdout=said)
    assert jobs_in_progress(made.compose()) == jobs


def test_without_a_redis_of_the_stacks_own_nobody_knows_the_jobs(tmp_path: Path) -> None:
    made = Checkout(tmp_path)
    made.with_env()
    assert jobs_in_progress(made.compose()) is None
    assert json.loads("[]") == made.runner.commands("exec")
