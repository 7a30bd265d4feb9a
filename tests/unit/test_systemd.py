"""The source's unit: started when it was down, left as it was found, stopped only on request."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from inspect import signature

import pytest

from scripts.base.errors import ExitCode, StackError
from scripts.database.systemd import USUAL, Unit, as_found
from scripts.engine.runner import Result
from scripts.menu.database import bare_metal_migrate
from tests.unit.fakes import FakeRunner, Screen


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs these tests is taken for the administrator."""
    monkeypatch.setattr(os, "getuid", lambda: 0)


HANDLE, SERVER, OTHER = "postgresql.service", "postgresql@15-main.service", "postgresql@15-other.service"
OWN = "wepp-postgres.service"


@dataclass
class Service:
    """What systemd knows of a unit. works: it comes up when it is started."""

    state: str = "inactive"
    type: str = "forking"
    parts: str = ""
    works: bool = True


class Machine:
    """One with systemd and these units."""

    def __init__(self, **units: Service) -> None:
        self.units = units
        self.runner, self.screen = FakeRunner(), Screen()
        self.runner.do("systemctl", "show", action=self.show)
        self.runner.do("systemctl", "start", action=lambda argv: self.turn(argv, "active"))
        self.runner.do("systemctl", "stop", action=lambda argv: self.turn(argv, "inactive"))

    def show(self, argv: Sequence[str]) -> Result:
        blocks = []
        for name in argv[argv.index("--") + 1 :]:
            unit = self.units.get(name)
            told = {
                "Id": name,
                "LoadState": "loaded" if unit else "not-found",
                "Type": unit.type if unit else "",
            }
            if unit:
                told |= {"ActiveState": unit.state, "ConsistsOf": unit.parts}
            blocks.append("".join(f"{key}={value}\n" for key, value in told.items()))
        return Result(tuple(argv), 0, "\n".join(blocks))

    def turn(self, argv: Sequence[str], state: str) -> Result:
        failed = False
        for name in argv[argv.index("systemctl") + 2 :]:
            works = self.units[name].works or state == "inactive"
            self.units[name].state = state if works else "failed"
            failed = failed or not works
        return Result(tuple(argv), int(failed))

    def found(self, name: str, *, needed: bool = False) -> AbstractContextManager[Unit]:
        return as_found(name, self.runner, self.screen.console, needed=needed)

    @property
    def commands(self) -> list[list[str]]:
        return [argv[argv.index("systemctl") + 1 :] for argv in self.runner.commands("attach")]

    @property
    def states(self) -> dict[str, str]:
        return {name: unit.state for name, unit in self.units.items()}

    @property
    def said(self) -> str:
        return self.screen.err.getvalue()


def debian(state: str, server: str, **more: Service) -> Machine:
    """Debian's handle and one server of its."""
    parts = " ".join([SERVER, *more])
    handle = Service(state, "oneshot", parts)
    return Machine(**{HANDLE: handle, SERVER: Service(server), **more})


def test_a_unit_that_runs_is_left_alone() -> None:
    machine = Machine(**{OWN: Service("active")})
    with machine.found(OWN) as unit:
        assert not unit.started_by_us
    assert machine.commands == []


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_a_unit_that_is_down_is_started_and_stopped_again_also_after_a_failure(state: str) -> None:
    machine = Machine(**{OWN: Service(state)})
    found = machine.found(OWN)
    found.__enter__()
    assert machine.states == {OWN: "active"}
    assert not found.__exit__(RuntimeError, RuntimeError(), None)
    assert machine.states == {OWN: "inactive"}
    assert machine.commands == [["start", OWN], ["stop", OWN]]


def test_a_handle_that_is_up_while_its_server_is_down_has_the_server_started_and_stopped_again() -> None:
    machine = debian("active", "inactive")
    with machine.found(HANDLE):
        assert machine.states == {HANDLE: "active", SERVER: "active"}
    assert machine.states == {HANDLE: "active", SERVER: "inactive"}


def test_of_several_servers_only_what_was_down_is_stopped_again() -> None:
    machine = debian("inactive", "inactive", **{OTHER: Service(works=False)})
    with machine.found(HANDLE):
        assert machine.states == {HANDLE: "active", SERVER: "active", OTHER: "failed"}
    assert set(machine.states.values()) == {"inactive"}


def test_one_server_that_runs_is_enough_for_nothing_to_be_started() -> None:
    machine = debian("active", "active", **{OTHER: Service("inactive")})
    with machine.found(HANDLE):
        pass
    assert machine.commands == []


def test_a_unit_that_was_stopped_on_request_is_not_stopped_twice() -> None:
    machine = debian("inactive", "inactive")
    with machine.found(HANDLE) as unit:
        assert unit.stop()
    assert machine.commands == [["start", HANDLE, SERVER], ["stop", HANDLE, SERVER]]
    assert f"sudo systemctl disable {HANDLE}" in machine.said


def test_without_root_sudo_is_asked_and_never_waits_where_nobody_can_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    machine = Machine(**{OWN: Service()})
    with machine.found(OWN):
        pass
    assert machine.runner.commands("attach")[0] == ["sudo", "-n", "systemctl", "start", OWN]


@pytest.mark.parametrize("status", [0, 1])
def test_a_unit_that_does_not_come_up_is_a_problem_with_its_log_named_whatever_the_start_says(
    status: int,
) -> None:
    machine = debian("active", "inactive")
    machine.units[SERVER].works = False
    machine.runner.on("systemctl", "start", returncode=status)
    with pytest.raises(StackError, match="could not be started") as caught, machine.found(HANDLE):
        raise AssertionError("not reached")
    assert caught.value.exit_code == ExitCode.NOT_READY
    assert f"journalctl -u {SERVER}" in caught.value.fix
    assert machine.states == {HANDLE: "active", SERVER: "inactive"}


def test_a_unit_that_cannot_be_stopped_is_told_with_the_command_that_does_it() -> None:
    machine = Machine(**{OWN: Service()})
    machine.runner.on("systemctl", "stop", returncode=1)
    with machine.found(OWN) as unit:
        assert not unit.stop()
    assert machine.said.count(f"sudo systemctl stop {OWN}") == 2


def test_without_such_a_unit_the_source_is_taken_as_it_is() -> None:
    machine = Machine()
    with machine.found(HANDLE) as unit:
        assert not unit.started_by_us
    assert machine.commands == []
    assert "systemd has no unit postgresql.service here" in machine.said


@pytest.mark.parametrize("name", ["other.service", ""])
def test_a_unit_that_was_asked_for_has_to_be_there(name: str) -> None:
    machine = Machine()
    with pytest.raises(StackError) as caught, machine.found(name, needed=True):
        raise AssertionError("not reached")
    assert caught.value.exit_code == ExitCode.REFUSED
    assert "--service" in caught.value.fix


def test_the_flags_default_is_the_unit_that_is_taken_for_granted() -> None:
    assert signature(bare_metal_migrate).parameters["service"].default == USUAL


def test_a_source_without_a_unit_asks_nothing_of_systemd() -> None:
    machine = Machine()
    with machine.found(""):
        pass
    assert machine.runner.calls == []
