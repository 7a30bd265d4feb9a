"""`compose-down` keeps data unless its project is named."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from scripts.base.errors import StackError
from scripts.prepare import lock
from scripts.stack.down import down
from tests.unit.fakes import Checkout, Screen


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path)
    made.with_env()
    return made


def removed_volumes(checkout: Checkout) -> list[list[str]]:
    return [argv for argv in checkout.runner.commands() if argv[1:3] == ["volume", "rm"]]


def test_down_removes_containers_of_all_profiles_and_keeps_the_volumes(checkout: Checkout) -> None:
    screen = Screen()
    down(checkout.compose(), screen.console)
    (command,) = checkout.runner.commands()
    assert command[-4:] == ["--profile", "*", "down", "--remove-orphans"]
    assert "data is kept in 2 volumes" in screen.err.getvalue()


def test_a_network_of_an_overlay_that_is_listed_no_more_goes_too(checkout: Checkout) -> None:
    checkout.runner.on("docker", "network", "ls", stdout="wepppy_outward\n")
    checkout.runner.on("docker", "network", "rm")
    down(checkout.compose(), Screen().console)
    assert checkout.runner.commands()[-1] == ["docker", "network", "rm", "wepppy_outward"]


def test_volumes_go_when_the_project_is_named(checkout: Checkout) -> None:
    down(checkout.compose(), Screen().console, volumes=True, yes="wepppy")
    assert removed_volumes(checkout) == [["docker", "volume", "rm", "wepppy_pgdata", "wepppy_wc1"]]
    assert not any("--volumes" in argv or "-v" in argv for argv in checkout.runner.commands())


@pytest.mark.parametrize("yes", ["", "wepp", "yes", "WEPPPY"])
def test_without_the_name_nothing_at_all_is_done(checkout: Checkout, yes: str) -> None:
    screen = Screen()
    with pytest.raises(StackError) as caught:
        down(checkout.compose(), screen.console, volumes=True, yes=yes)
    assert caught.value.exit_code == 4
    assert "--yes=wepppy" in caught.value.fix
    assert "wepppy_pgdata" in screen.err.getvalue()
    assert checkout.runner.commands() == []


def test_the_name_of_another_project_is_refused_where_this_one_has_no_volumes_too(checkout: Checkout) -> None:
    checkout.runner.on("docker", "volume", "ls", stdout="")
    with pytest.raises(StackError, match="not the name of this project") as caught:
        down(checkout.compose(), Screen().console, volumes=True, yes="other")
    assert caught.value.exit_code == 4
    assert checkout.runner.commands() == []
    down(checkout.compose(), Screen().console, volumes=True, yes="wepppy")


@pytest.mark.parametrize(("typed", "goes"), [("wepppy", True), ("y", False), ("", False)])
def test_somebody_at_a_terminal_is_asked(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, typed: str, goes: bool
) -> None:
    console = Screen().console
    monkeypatch.setattr(type(console), "can_ask", True)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{typed}\n"))
    if goes:
        down(checkout.compose(), console, volumes=True)
    else:
        with pytest.raises(StackError):
            down(checkout.compose(), console, volumes=True)
    assert bool(removed_volumes(checkout)) == goes


def test_consent_without_something_to_consent_to_is_a_usage_error(checkout: Checkout) -> None:
    with pytest.raises(StackError) as caught:
        down(checkout.compose(), Screen().console, yes="wepppy")
    assert caught.value.exit_code == 2


def test_volumes_stay_when_the_containers_could_not_be_removed(checkout: Checkout) -> None:
    checkout.runner.on("down", returncode=1)
    with pytest.raises(StackError) as caught:
        down(checkout.compose(), Screen().console, volumes=True, yes="wepppy")
    assert caught.value.exit_code == 5
    assert removed_volumes(checkout) == []


def test_two_tasks_do_not_start_and_stop_one_project_at_once(checkout: Checkout) -> None:
    with lock.sole(checkout.compose()), pytest.raises(StackError, match="another task") as caught:
        down(checkout.compose(), Screen().console)
    assert caught.value.exit_code == 4
    assert checkout.runner.commands() == []
    down(checkout.compose(), Screen().console)


def test_another_project_is_not_kept_waiting(checkout: Checkout) -> None:
    with lock.sole(checkout.compose()):
        checkout.environment["COMPOSE_PROJECT_NAME"] = "other"
        down(checkout.compose(), Screen().console)
