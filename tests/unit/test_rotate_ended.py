"""A rotation that is ended at any step, or cannot be completed: the next task completes it, no password is lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scripts.base.errors import StackError
from scripts.database import credentials
from scripts.engine.runner import Result
from scripts.settings import scram
from tests.unit.rotating import NEW, OLD, Rotating


@pytest.mark.parametrize("change", ["begun", "role", "role and file", "back"])
def test_the_next_task_completes_what_a_killed_one_began(rotating: Rotating, change: str) -> None:
    rotating.pending.write_text(NEW)
    if change in ("role", "role and file"):
        rotating.kept_by_server = scram.verifier(NEW)
    if change in ("role and file", "back"):
        rotating.secret.write_text(NEW)
    rotating.finish()
    assert rotating.holds(NEW)
    assert rotating.stack.events == ["alter", "restart web worker"]


class KilledError(BaseException):
    """What ends a task from outside: it does nothing more, not even what it does on its way out."""


class Killer:
    """Ends a task at one of its steps: each program that it runs, each file that it writes or removes.

    error: KilledError, or KeyboardInterrupt, upon which the task does what it does on its way out. late: once the step
    is done, not before it.
    """

    def __init__(self, step: int, error: type[BaseException], *, late: bool) -> None:
        self.left = step
        self.error = error
        self.late = late

    def watch(self, action: Callable[..., Any]) -> Callable[..., Any]:
        """Return the action as a step of the task."""

        def step(*args: Any, **kwargs: Any) -> Any:
            if self.left <= 0 and self.error is KilledError:
                raise self.error
            self.left -= 1
            if self.left == 0 and not self.late:
                raise self.error
            result = action(*args, **kwargs)
            if self.left == 0:
                raise self.error
            return result

        return step

    @contextmanager
    def at_work(self, rotating: Rotating) -> Iterator[None]:
        """Have it watch what the block does."""
        with pytest.MonkeyPatch.context() as patch:
            runner = rotating.stack.made.runner
            for owner, name in (
                (runner, "_answer"),
                (runner, "line_process"),
                (credentials, "write"),
                (credentials, "sync_folder"),
                (Path, "unlink"),
            ):
                patch.setattr(owner, name, self.watch(getattr(owner, name)))
            yield


def each_step(
    folder: Path, error: type[BaseException], late: bool, task: Callable[[Rotating], object]
) -> Iterator[Rotating]:
    """Yield a stack whose task was ended at its first step, then one whose was at its second, and so on."""
    for step in range(1, 200):
        (folder / f"{step}").mkdir()
        rotating = Rotating(folder / f"{step}")
        try:
            with Killer(step, error, late=late).at_work(rotating):
                task(rotating)
        except error:
            yield rotating
        else:
            # None is left to be ended at: those that end a change are among them.
            assert step > 5
            return
    raise AssertionError("the task has no end")


ENDS = pytest.mark.parametrize(
    ("error", "late"),
    [(KilledError, False), (KilledError, True), (KeyboardInterrupt, False), (KeyboardInterrupt, True)],
)


def known_to_the_next_task(rotating: Rotating) -> set[str]:
    """Return the passwords that the files hold."""
    files = [each for each in (rotating.secret, rotating.pending) if each.exists()]
    return {each.read_text() for each in files}


@ENDS
def test_a_rotation_that_is_ended_at_any_step_is_completed_by_the_next_task(
    tmp_path: Path, error: type[BaseException], late: bool
) -> None:
    begun, ends = 0, set()
    for rotating in each_step(tmp_path, error, late, Rotating.rotate):
        assert any(rotating.role_has(each) for each in known_to_the_next_task(rotating))
        begun += rotating.pending.exists()
        wanted = NEW if rotating.pending.exists() else rotating.secret.read_text()
        rotating.finish()
        assert rotating.holds(wanted)
        ends.add(wanted)
    assert begun > 5
    assert ends == {OLD, NEW}


@ENDS
@pytest.mark.parametrize("change", ["begun", "role", "file"])
def test_a_completion_that_is_ended_at_any_step_is_completed_by_the_next_task(
    tmp_path: Path, error: type[BaseException], late: bool, change: str
) -> None:
    def complete(rotating: Rotating) -> None:
        rotating.kept_by_server = scram.verifier(OLD if change == "begun" else NEW, salt=b"salt")
        rotating.secret.write_text(NEW if change == "file" else OLD)
        rotating.pending.write_text(NEW)
        rotating.finish()

    for rotating in each_step(tmp_path, error, late, complete):
        assert any(rotating.role_has(each) for each in known_to_the_next_task(rotating))
        rotating.finish()
        assert rotating.holds(NEW)


def test_services_that_were_restarted_since_are_left_alone(rotating: Rotating) -> None:
    rotating.secret.write_text(NEW)
    # Older than the containers' start.
    os.utime(rotating.secret, (-1, -1))
    rotating.pending.write_text(NEW)
    rotating.finish()
    assert rotating.stack.events == ["alter"]
    assert rotating.holds(NEW)


def test_a_task_killed_before_the_new_password_was_whole_has_changed_nothing(rotating: Rotating) -> None:
    rotating.pending.write_text("")
    rotating.finish()
    assert rotating.holds(OLD)
    assert rotating.stack.events == []


def test_what_cannot_be_completed_is_told_bars_no_task_and_is_tried_again(rotating: Rotating) -> None:
    rotating.complaints = [Result((), 3, "", "ERROR: out of disk")]
    rotating.pending.write_text(NEW)
    rotating.finish()
    assert "not completed yet" in rotating.stack.screen.err.getvalue()
    assert rotating.pending.exists()
    rotating.finish()
    assert rotating.holds(NEW)


def test_what_can_be_neither_changed_nor_taken_back_now_is_left_to_the_next_task(rotating: Rotating) -> None:
    rotating.complaints = [Result((), 3, "", "ERROR: out of disk")] * 2
    with pytest.raises(StackError, match="the next task completes the change"):
        rotating.rotate()
    assert rotating.pending.exists()
    rotating.finish()
    assert rotating.holds(NEW)
