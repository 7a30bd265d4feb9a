"""The source's unit: started when it was down, left as it was found, stopped only on request."""

from __future__ import annotations

import pytest

from scripts.errors import ExitCode, StackError
from scripts.systemd import as_found
from tests.unit.fakes import FakeRunner, Screen

NAME = "postgresql.service"


def machine(active: str = "active", load: str = "loaded") -> FakeRunner:
    runner = FakeRunner()
    runner.on("systemctl", "show", stdout=f"LoadState={load}\nActiveState={active}\n")
    runner.on("systemctl", "start")
    runner.on("systemctl", "stop")
    return runner


def verbs(runner: FakeRunner) -> list[str]:
    return [argv[argv.index("systemctl") + 1] for argv in runner.commands("attach")]


def test_a_unit_that_runs_is_left_alone() -> None:
    runner = machine()
    with as_found(NAME, runner, Screen().console, present=lambda: True, asroot=lambda: True) as unit:
        assert unit.here
    assert verbs(runner) == []


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_a_unit_that_is_down_is_started_and_stopped_again_also_after_a_failure(state: str) -> None:
    runner = machine(state)
    found = as_found(NAME, runner, Screen().console, present=lambda: True, asroot=lambda: True)
    found.__enter__()
    assert verbs(runner) == ["start"]
    assert not found.__exit__(RuntimeError, RuntimeError(), None)
    assert verbs(runner) == ["start", "stop"]


def test_a_unit_that_was_stopped_on_request_is_not_stopped_twice_and_its_disabling_is_told() -> None:
    runner, screen = machine("inactive"), Screen()
    with as_found(NAME, runner, screen.console, present=lambda: True, asroot=lambda: True) as unit:
        assert unit.stop()
    assert verbs(runner) == ["start", "stop"]
    assert f"sudo systemctl disable {NAME}" in screen.err.getvalue()


def test_without_root_sudo_is_asked_and_never_waits_where_nobody_can_answer() -> None:
    runner = machine("inactive")
    with as_found(NAME, runner, Screen().console, present=lambda: True, asroot=lambda: False):
        pass
    assert runner.commands("attach")[0] == ["sudo", "-n", "systemctl", "start", NAME]


def test_a_unit_that_does_not_start_is_a_problem_with_its_log_named() -> None:
    runner = machine("inactive")
    runner.on("systemctl", "start", returncode=1)
    with (
        pytest.raises(StackError, match="could not be started") as caught,
        as_found(NAME, runner, Screen().console, present=lambda: True, asroot=lambda: True),
    ):
        raise AssertionError("not reached")
    assert caught.value.exit_code == ExitCode.NOT_READY
    assert "journalctl" in caught.value.mend


@pytest.mark.parametrize(
    ("present", "load", "words"), [(False, "loaded", "no systemd"), (True, "not-found", "knows no")]
)
def test_without_systemd_or_such_a_unit_the_source_is_taken_as_it_is(
    present: bool, load: str, words: str
) -> None:
    runner, screen = machine("inactive", load), Screen()
    with as_found(NAME, runner, screen.console, present=lambda: present, asroot=lambda: True) as unit:
        assert not unit.stop()
    assert verbs(runner) == []
    assert words in screen.err.getvalue()


def test_a_source_without_a_unit_asks_nothing_of_systemd() -> None:
    runner = FakeRunner()
    with as_found("", runner, Screen().console, present=lambda: True, asroot=lambda: True):
        pass
    assert runner.calls == []
