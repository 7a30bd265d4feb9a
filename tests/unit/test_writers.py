"""Writers that --quiesce stops: started again on every way out, by the next task where this one was killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.base.errors import StackError
from scripts.database import switchover
from tests.unit.memory_stack import MemoryStack


def stack_in(folder: Path) -> MemoryStack:
    """A stack whose data folder is there, as it is for whoever holds the project's lock."""
    made = MemoryStack(folder)
    made.compose.data_dir.mkdir()
    return made


def state_file(stack: MemoryStack) -> Path:
    return stack.compose.data_dir / switchover.STOPPED


def test_what_writes_and_runs_is_stopped_for_the_block_alone(tmp_path: Path) -> None:
    stack = stack_in(tmp_path)
    with switchover.writers_stopped(stack.compose, stack.screen.console):
        assert {name for name, state in stack.states.items() if state == "exited"} == {
            "web", "worker", "idle-worker",
        }  # fmt: skip
        assert state_file(stack).exists()
    assert stack.states["web"] == stack.states["worker"] == "running"
    assert stack.states["idle-worker"] == "exited"
    assert not state_file(stack).exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), StackError("no", "do")])
def test_whatever_ends_the_block_they_are_started_again(tmp_path: Path, error: BaseException) -> None:
    stack = stack_in(tmp_path)
    with pytest.raises(type(error)), switchover.writers_stopped(stack.compose, stack.screen.console):
        raise error
    assert stack.states["web"] == stack.states["worker"] == "running"
    assert not state_file(stack).exists()


def test_the_next_task_starts_what_one_that_was_killed_left_stopped(tmp_path: Path) -> None:
    stack = stack_in(tmp_path)
    block = switchover.writers_stopped(stack.compose, stack.screen.console)
    block.__enter__()
    switchover.start_writers(stack.compose, stack.screen.console)
    assert stack.states["web"] == stack.states["worker"] == "running"
    assert not state_file(stack).exists()


def test_a_stop_that_is_still_under_way_is_waited_for_by_a_restart(tmp_path: Path) -> None:
    stack = stack_in(tmp_path)
    state_file(stack).write_text("wepppy-web-1\nwepppy-worker-1")
    stack.states["worker"] = "exited"
    switchover.start_writers(stack.compose, stack.screen.console)
    assert stack.events == ["restart web worker"]
    assert stack.states["web"] == stack.states["worker"] == "running"


def test_one_that_is_gone_meanwhile_is_not_missed(tmp_path: Path) -> None:
    stack = stack_in(tmp_path)
    state_file(stack).write_text("wepppy-gone-1")
    switchover.start_writers(stack.compose, stack.screen.console)
    assert stack.events == []
    assert not state_file(stack).exists()
