"""Commands, shells and logs of single services."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import sessions
from scripts.errors import StackError
from tests.unit.fakes import Checkout, Screen, container


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path)
    made.with_env()
    made.runner.on("exec")
    return made


def attached(checkout: Checkout) -> list[str]:
    (command,) = checkout.runner.commands("attach")
    return command[command.index("exec") :]


def test_arguments_reach_the_container_one_by_one(checkout: Checkout) -> None:
    sessions.run_in(checkout.compose(), "status", ["sh", "-c", "echo 'a  b'; id"])
    assert attached(checkout) == ["exec", "-T", "status", "sh", "-c", "echo 'a  b'; id"]


def test_the_commands_own_exit_status_is_passed_on(checkout: Checkout) -> None:
    checkout.runner.on("exec", returncode=42)
    assert sessions.run_in(checkout.compose(), "status", ["false"]) == 42


def test_a_service_that_does_not_run_is_told_with_the_way_to_start_it(checkout: Checkout) -> None:
    checkout.containers_are([container("status", status="exited", health="")])
    with pytest.raises(StackError, match="status does not run") as caught:
        sessions.run_in(checkout.compose(), "status", ["id"])
    assert "compose-up --services=status" in caught.value.mend


def test_no_command_is_a_usage_error(checkout: Checkout) -> None:
    with pytest.raises(StackError, match="no command") as caught:
        sessions.run_in(checkout.compose(), "status", [])
    assert caught.value.exit_code == 2


def test_the_best_shell_that_is_there_is_opened(checkout: Checkout) -> None:
    checkout.runner.on("exec", "bash", returncode=127)
    sessions.shell(checkout.compose(), "status")
    assert attached(checkout)[-1] == "sh"


def test_an_image_without_a_shell_says_so(checkout: Checkout) -> None:
    checkout.runner.on("exec", returncode=127)
    with pytest.raises(StackError, match="holds no shell"):
        sessions.shell(checkout.compose(), "status")


def test_sql_from_a_pipe_stops_at_its_first_error(checkout: Checkout) -> None:
    checkout.with_env(POSTGRES_USER="someone", POSTGRES_DB="runs")
    sessions.database_shell(checkout.compose())
    assert attached(checkout) == [
        "exec", "-T", "postgres", "psql", "--username", "someone", "--dbname", "runs", "--set", "ON_ERROR_STOP=1",
    ]  # fmt: skip


def test_a_migration_runs_in_the_web_container_or_in_one_of_its_own(checkout: Checkout) -> None:
    checkout.runner.on("run")
    sessions.database_upgrade(checkout.compose(), Screen().console)
    assert checkout.runner.commands()[-1][-7:] == ["run", "--rm", "-T", "weppcloud", "flask", "db", "upgrade"]
    checkout.containers_are([container("weppcloud")])
    sessions.database_upgrade(checkout.compose(), Screen().console)
    assert checkout.runner.commands()[-1][-6:] == ["exec", "-T", "weppcloud", "flask", "db", "upgrade"]


def test_a_migration_that_fails_is_told(checkout: Checkout) -> None:
    checkout.runner.on("run", returncode=1)
    with pytest.raises(StackError, match="not upgraded") as caught:
        sessions.database_upgrade(checkout.compose(), Screen().console)
    assert caught.value.exit_code == 5


def test_logs_in_a_pipe_are_text_alone(checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    checkout.runner.on("logs", stdout="\x1b[2Kstatus-1  | \x1b[31mred\x1b[0m\n")
    assert sessions.logs(checkout.compose(), ["status"], follow=False, tail="5", since="1h") == 0
    assert capsys.readouterr().out == "status-1  | red\n"
    command = checkout.runner.commands()[0]
    assert command[command.index("logs") :] == [
        "logs", "--tail", "5", "--since", "1h", "--no-color", "status",
    ]  # fmt: skip


def test_a_restart_waits_for_health_and_leaves_one_shots_alone(checkout: Checkout) -> None:
    checkout.runner.on("restart")
    sessions.restart(checkout.compose(), Screen().console, [], 60)
    restart, wait = checkout.runner.commands()
    assert restart[restart.index("restart") + 1 :] == ["caddy", "status", "metquery", "postgres"]
    assert "--no-recreate" in wait
    assert "--wait" in wait


def test_a_restart_of_what_does_not_run_is_refused(checkout: Checkout) -> None:
    checkout.containers_are([])
    with pytest.raises(StackError, match="not running: status"):
        sessions.restart(checkout.compose(), Screen().console, ["status"], 60)


def test_names_may_be_repeated_or_separated_by_commas() -> None:
    assert sessions.split_names(["a,b", " c ", ""]) == ["a", "b", "c"]
