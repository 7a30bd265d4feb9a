"""What a user is told when something dies around the swap: the database that is live then is asked for, not guessed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.errors import ExitCode, StackError
from tests.unit.fakes import FakeConversation
from tests.unit.test_restore import SWAPPED, Scene, event, script

KEPT = SWAPPED["kept"]
# Number 7 was live before the swap, see PREPARED.
OLD = {"database": "wepppy", "id": 7, "kept": ""}
NEW = {"database": "wepppy", "id": 8, "kept": KEPT}


def scene(folder: Path, lines: list[str], *looks: object, broken: int = 0) -> Scene:
    """A restore whose program says the lines; each look is the server's answer to which database is live."""
    made = Scene(folder, lines, broken=broken)
    for look in looks:
        answer = (
            event("result", answer=look) if look else event("problem", what="no server", mend="m", exit=4)
        )
        made.made.runner.conversations.append(FakeConversation([answer]))
    return made


def failed(made: Scene) -> StackError:
    with pytest.raises(StackError) as caught:
        made.restore(yes=True)
    return caught.value


def unknown() -> str:
    return event("problem", what="whether it was swapped is not known", mend="m", exit=3)


def test_a_program_that_dies_in_the_swap_before_the_commit_has_swapped_nothing(tmp_path: Path) -> None:
    error = failed(scene(tmp_path, script()[:2], OLD))
    assert "nothing was swapped" in error.mend
    assert error.exit_code == ExitCode.FAILED


def test_a_program_that_dies_in_the_swap_after_the_commit_has_swapped(tmp_path: Path) -> None:
    error = failed(scene(tmp_path, script()[:2], NEW))
    assert "the new wepppy is live now" in error.what
    assert KEPT in error.what
    assert "db-rollback" in error.mend
    assert "nothing was swapped" not in error.mend


def test_a_program_that_dies_once_it_has_told_of_the_swap_has_swapped(tmp_path: Path) -> None:
    error = failed(scene(tmp_path, script()[:3]))
    assert "the new wepppy is live now" in error.mend
    assert KEPT in error.mend


def test_a_swap_that_nobody_could_tell_of_is_told_once_the_server_is_back(tmp_path: Path) -> None:
    error = failed(scene(tmp_path, [*script()[:2], unknown()], NEW))
    assert "the new wepppy is live now" in error.what


def test_a_swap_that_did_not_take_place_is_told_once_the_server_is_back(tmp_path: Path) -> None:
    error = failed(scene(tmp_path, [*script()[:2], unknown()], OLD))
    assert "did not take place" in error.what
    assert error.exit_code == ExitCode.FAILED


def test_while_the_server_stays_away_nothing_is_claimed(tmp_path: Path) -> None:
    error = failed(scene(tmp_path, [*script()[:2], unknown()], None))
    assert "not known" in error.what
    assert "db-prune --dry-run" in error.mend
    assert error.exit_code == ExitCode.NOT_READY


def test_a_refusal_needs_no_look(tmp_path: Path) -> None:
    error = failed(scene(tmp_path, [*script()[:2], event("problem", what="a stranger", mend="m", exit=4)]))
    assert error.exit_code == ExitCode.REFUSED


def test_a_swap_back_that_fails_says_that_the_new_database_is_live(tmp_path: Path) -> None:
    lines = [*script()[:3], event("problem", what="the server went away", mend="m", exit=5)]
    error = failed(scene(tmp_path, lines, NEW, broken=1))
    assert "the new wepppy is live now" in error.what
    assert "live again" not in error.what


def test_a_swap_back_whose_program_dies_after_it_is_one(tmp_path: Path) -> None:
    error = failed(scene(tmp_path, script()[:3], OLD, broken=1))
    assert "the database from before is live again" in error.what


class Interrupted(FakeConversation):
    """A program during whose last answer the user presses Ctrl-C."""

    def lines(self) -> Iterator[str]:
        yield from super().lines()
        raise KeyboardInterrupt


def test_ctrl_c_in_the_swap_says_so_when_it_came_too_late(tmp_path: Path) -> None:
    made = scene(tmp_path, [])
    talk = Interrupted(script()[:2])
    made.made.runner.conversations[:] = [talk, FakeConversation([event("result", answer=NEW)])]
    error = failed(made)
    assert talk.ended
    assert error.exit_code == ExitCode.INTERRUPTED
    assert "the new wepppy is live now" in error.what


def test_ctrl_c_before_the_commit_is_an_interruption(tmp_path: Path) -> None:
    made = scene(tmp_path, [])
    made.made.runner.conversations[:] = [
        Interrupted(script()[:2]),
        FakeConversation([event("result", answer=OLD)]),
    ]
    with pytest.raises(KeyboardInterrupt):
        made.restore(yes=True)
