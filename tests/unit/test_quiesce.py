"""Writers stop while a store is swapped, and whatever ran before runs again, on every way out."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts import journal, recovery, revive
from scripts.errors import ExitCode, StackError
from scripts.runner import Result
from tests.unit.memory_stack import MemoryStack


@pytest.fixture
def stack(tmp_path: Path) -> MemoryStack:
    return MemoryStack(tmp_path)


def test_workers_stop_before_the_web_application_which_comes_back_first(stack: MemoryStack) -> None:
    with stack.kept() as keeper, keeper.quiesced() as pause:
        assert {name for name, state in stack.states.items() if state == "exited"} == {
            "web",
            "worker",
            "idle-worker",
        }
        assert pause.services == ("web", "worker")
    assert stack.events == ["stop worker", "stop web", "start web", "start worker"]
    assert stack.all_back()


def test_the_pause_is_counted_from_the_stop_of_the_web_application_until_it_serves(
    stack: MemoryStack,
) -> None:
    with stack.kept() as keeper, keeper.quiesced() as pause:
        stack.clock.sleep(5)
    assert pause.seconds == 7  # its stop, what was done meanwhile, its start; the workers' are not in it


def test_what_the_journal_says_grows_before_each_stop(stack: MemoryStack) -> None:
    seen: list[tuple[str, ...]] = []

    def look(argv: Sequence[str]) -> Result:
        entry = journal.read(stack.compose)
        assert entry
        seen.append(entry.stopping)
        return stack.stop(argv)

    stack.made.runner.do("docker", "stop", action=look)
    with stack.kept() as keeper, keeper.quiesced():
        pass
    assert seen == [("id-worker",), ("id-worker", "id-web")]


def test_no_question_is_asked_where_no_stop_may_be_under_way(stack: MemoryStack) -> None:
    asked = len(stack.made.runner.calls)
    revive.settle(stack.compose, (), 10)
    assert len(stack.made.runner.calls) == asked


@pytest.mark.parametrize("problem", [StackError("no", "yes"), KeyboardInterrupt(), ZeroDivisionError()])
def test_after_any_problem_all_runs_again_and_the_problem_is_told(
    stack: MemoryStack, problem: BaseException
) -> None:
    with pytest.raises(type(problem)), stack.kept() as keeper, keeper.quiesced():
        raise problem
    assert stack.all_back()
    assert stack.watched == ["began", "told"]


def test_a_stop_that_ctrl_c_left_under_way_is_waited_for_before_the_start(stack: MemoryStack) -> None:
    stack.on_stop["web"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt), stack.kept() as keeper, keeper.quiesced():
        pass
    assert stack.events == ["stop worker", "stop web", "stop web", "start web", "start worker"]
    assert stack.all_back()


def test_a_store_that_was_killed_meanwhile_is_started_too_and_first(stack: MemoryStack) -> None:
    with stack.kept() as keeper, keeper.quiesced():
        stack.states["postgres"] = "exited"
    assert stack.events[2:] == ["start postgres", "start web", "start worker"]
    assert stack.all_back()


def test_a_container_killed_outside_the_pause_is_started_at_the_end(stack: MemoryStack) -> None:
    with stack.kept():
        stack.states["backup"] = "exited"
    assert stack.events == ["start backup"]


def test_a_database_killed_while_the_web_application_starts_is_started_again(stack: MemoryStack) -> None:
    def start(argv: Sequence[str]) -> Result:
        if "wepppy-web-1" in argv:
            stack.states["postgres"] = "exited"
            stack.sick.add("web")
        else:
            stack.sick.clear()
        return stack.start(argv)

    stack.made.runner.do("docker", "start", action=start)
    with stack.kept() as keeper, keeper.quiesced():
        pass
    assert stack.all_back()


def test_a_database_that_was_killed_just_before_is_started_at_the_end(stack: MemoryStack) -> None:
    stack.states["postgres"] = "exited"
    with stack.kept():
        pass
    assert stack.events == ["start postgres"]


def test_a_container_that_was_removed_meanwhile_is_not_missed(stack: MemoryStack) -> None:
    with stack.kept():
        del stack.states["backup"]
    assert stack.events == []
    assert journal.read(stack.compose) is None


def test_a_service_that_does_not_become_well_is_an_error_and_the_rest_runs(stack: MemoryStack) -> None:
    with pytest.raises(StackError) as caught, stack.kept() as keeper, keeper.quiesced():
        stack.sick.add("worker")
    assert caught.value.exit_code == ExitCode.FAILED
    assert "worker is not healthy: not well" in caught.value.what
    assert stack.all_back()


def test_a_container_that_cannot_be_started_stays_in_the_journal_for_the_next_task(
    stack: MemoryStack,
) -> None:
    stack.made.runner.on("docker", "start", returncode=1, stdout="port is taken\n")
    with pytest.raises(StackError) as caught, stack.kept() as keeper, keeper.quiesced():
        pass
    assert "port is taken" in caught.value.what
    assert journal.read(stack.compose) is not None


def test_the_first_problem_is_told_when_services_do_not_come_back_either(stack: MemoryStack) -> None:
    def spoil() -> None:
        stack.states["backup"] = "exited"
        raise ZeroDivisionError

    stack.sick.add("backup")
    with pytest.raises(ZeroDivisionError), stack.kept():
        spoil()
    assert "backup is not healthy" in stack.screen.err.getvalue()


def test_ctrl_c_while_services_come_back_does_not_leave_them_down(stack: MemoryStack) -> None:
    def interrupted(argv: Sequence[str]) -> Result:
        signal.raise_signal(signal.SIGINT)
        return stack.start(argv)

    stack.made.runner.do("docker", "start", action=interrupted)
    with stack.kept() as keeper, keeper.quiesced():
        pass
    assert stack.all_back()
    assert "one moment" in stack.screen.err.getvalue()


def test_a_dry_run_tells_what_it_would_stop_and_start_and_touches_nothing(tmp_path: Path) -> None:
    stack = MemoryStack(tmp_path, dry=True)
    with stack.kept() as keeper, keeper.quiesced():
        pass
    told = [call.argv[1] for call in stack.made.runner.calls if call.way == "dry"]
    assert told == ["stop", "stop", "start"]
    assert stack.events == []
    assert stack.watched == []
    assert not journal.path_of(stack.compose).exists()


def test_a_killed_tasks_stops_are_waited_for_and_all_is_started(stack: MemoryStack) -> None:
    running = tuple(
        journal.Kept(f"id-{name}", f"wepppy-{name}-1", name)
        for name in ("caddy", "web", "worker", "postgres")
    )
    journal.write(stack.compose, journal.Entry("db-restore", 7, 0.0, running, ("id-worker", "id-web")))
    stack.states["worker"] = "exited"  # its stop has ended, that of the web application has not
    assert recovery.recover(stack.compose, stack.screen.console, clock=stack.clock, asking=stack.ask)
    assert stack.events == ["stop web", "start web", "start worker"]
    assert stack.all_back()
    assert "db-restore" in stack.screen.err.getvalue()


def test_a_service_that_stays_ill_does_not_bar_the_next_task(stack: MemoryStack) -> None:
    running = (journal.Kept("id-worker", "wepppy-worker-1", "worker"),)
    journal.write(stack.compose, journal.Entry("db-restore", 7, 0.0, running, ("id-worker",)))
    stack.sick.add("worker")
    assert recovery.recover(stack.compose, stack.screen.console, clock=stack.clock, asking=stack.ask)
    assert "worker is not healthy" in stack.screen.err.getvalue()
    assert not recovery.recover(stack.compose, stack.screen.console, clock=stack.clock, asking=stack.ask)


def test_who_was_ill_just_before_its_stop_is_not_waited_for_though_the_engine_did_not_know(
    stack: MemoryStack,
) -> None:
    stack.sick.add("worker")
    with stack.kept() as keeper, keeper.quiesced():
        pass
    assert stack.all_back()
    assert stack.clock.monotonic() < 60
