"""Commands, shells and logs of single services."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.base.errors import StackError
from scripts.engine.compose import ATTENDED
from scripts.menu import task
from scripts.prepare import lock
from scripts.stack import service_commands
from tests.unit.fakes import Checkout, Screen, container, model, service


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path)
    made.with_env()
    made.runner.on("exec")
    return made


def attached(checkout: Checkout) -> list[str]:
    """What was attached to last, without the mark by which it would be found again."""
    argv = checkout.runner.commands("attach")[-1]
    words = argv[argv.index("exec") :] if "exec" in argv else argv
    return [word for word in words if word != "--env" and not word.startswith("WEPP_TASK=")]


def test_arguments_reach_the_container_one_by_one(checkout: Checkout) -> None:
    service_commands.run_in(checkout.compose(), "status", ["sh", "-c", "echo 'a  b'; id"])
    assert attached(checkout) == ["exec", "-T", "status", "sh", "-c", "echo 'a  b'; id"]


def test_the_commands_own_exit_status_is_passed_on(checkout: Checkout) -> None:
    checkout.runner.on("exec", returncode=42)
    assert service_commands.run_in(checkout.compose(), "status", ["false"]) == 42


def test_a_service_that_does_not_run_is_told_with_the_way_to_start_it(checkout: Checkout) -> None:
    checkout.containers_are([container("status", status="exited", health="")])
    with pytest.raises(StackError, match="status does not run") as caught:
        service_commands.run_in(checkout.compose(), "status", ["id"])
    assert "compose-up --services=status" in caught.value.fix


def test_no_command_is_a_usage_error(checkout: Checkout) -> None:
    with pytest.raises(StackError, match="no command") as caught:
        service_commands.run_in(checkout.compose(), "status", [])
    assert caught.value.exit_code == 2


def test_the_best_shell_that_is_there_is_opened(checkout: Checkout) -> None:
    checkout.runner.on("exec", "bash", returncode=127)
    service_commands.shell(checkout.compose(), "status")
    assert attached(checkout)[-1] == "sh"


def test_an_image_without_a_shell_says_so(checkout: Checkout) -> None:
    checkout.runner.on("exec", returncode=127)
    with pytest.raises(StackError, match="holds no shell"):
        service_commands.shell(checkout.compose(), "status")


@pytest.mark.parametrize("status", [130, -2, -15])
def test_a_command_in_a_pipe_whose_client_was_stopped_is_ended_in_its_container(
    checkout: Checkout, status: int
) -> None:
    checkout.runner.on("exec", returncode=status)
    assert service_commands.run_in(checkout.compose(), "status", ["sleep", "1000"]) == status
    mark = next(word for word in checkout.runner.commands("attach")[-1] if word.startswith("WEPP_TASK="))
    assert checkout.runner.commands("capture")[-1][-1] == mark


def test_a_command_in_a_pipe_that_ends_by_itself_is_left_alone(checkout: Checkout) -> None:
    checkout.runner.on("exec", returncode=1)
    assert service_commands.run_in(checkout.compose(), "status", ["false"]) == 1
    assert not [argv for argv in checkout.runner.commands("capture") if "exec" in argv]


def test_sql_from_a_pipe_stops_at_its_first_error(checkout: Checkout) -> None:
    checkout.with_env(POSTGRES_USER="someone", POSTGRES_DB="runs")
    service_commands.database_shell(checkout.compose())
    assert attached(checkout) == [
        "exec", "-T", "postgres", "psql", "--username", "someone", "--dbname", "runs", "--set", "ON_ERROR_STOP=1",
    ]  # fmt: skip


def test_sql_goes_to_an_external_database_by_way_of_the_backup_service(checkout: Checkout) -> None:
    checkout.with_env(POSTGRES_HOST="db.example.org")
    changed = model(checkout.root)
    changed["services"]["postgres-backup"] = service("wepppy-backup:dev")
    checkout.runner.on("config", "json", stdout=json.dumps(changed))
    checkout.containers_are([container("postgres-backup")])
    service_commands.database_shell(checkout.compose())
    assert attached(checkout) == ["exec", "-T", "postgres-backup", "psql", "--set", "ON_ERROR_STOP=1"]


def test_a_migration_runs_in_the_web_container_or_in_one_of_its_own(checkout: Checkout) -> None:
    checkout.runner.on("run")
    service_commands.database_upgrade(checkout.compose(), Screen().console)
    assert checkout.runner.commands()[-1][-9:] == [
        "run", "--rm", "-T", "weppcloud", *ATTENDED, "flask", "db", "upgrade"
    ]  # fmt: skip
    checkout.containers_are([container("weppcloud")])
    service_commands.database_upgrade(checkout.compose(), Screen().console)
    assert checkout.runner.commands()[-1][-8:] == [
        "exec", "-T", "weppcloud", *ATTENDED, "flask", "db", "upgrade"
    ]  # fmt: skip
    assert all(call.attended for call in checkout.runner.calls if call.way == "stream")


def test_a_migration_that_fails_is_told_also_where_its_container_did_not_start(checkout: Checkout) -> None:
    checkout.runner.on("run", stderr="no such image", returncode=1)
    with pytest.raises(StackError, match="not upgraded") as caught:
        service_commands.database_upgrade(checkout.compose(), Screen().console)
    assert caught.value.exit_code == 5
    assert "a container that did not start changed nothing" in caught.value.fix


def test_logs_in_a_pipe_are_text_alone(checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    checkout.runner.on("logs", stdout="\x1b[2Kstatus-1  | \x1b[31mred\x1b[0m\n")
    assert service_commands.logs(checkout.compose(), ["status"], follow=False, tail="5", since="1h") == 0
    assert capsys.readouterr().out == "status-1  | red\n"
    command = checkout.runner.commands()[0]
    assert command[command.index("logs") :] == [
        "logs", "--tail", "5", "--since", "1h", "--no-color", "status",
    ]  # fmt: skip


def test_a_restart_waits_for_health_and_leaves_one_shots_alone(checkout: Checkout) -> None:
    checkout.runner.on("restart")
    service_commands.restart(checkout.compose(), Screen().console, [], 60)
    restart, wait = checkout.runner.commands()
    assert restart[restart.index("restart") + 1 :] == ["caddy", "status", "metquery", "postgres"]
    assert "--no-recreate" in wait
    assert "--wait" in wait


def test_a_restart_of_what_does_not_run_is_refused(checkout: Checkout) -> None:
    checkout.containers_are([])
    checkout.with_seen_volumes()
    with pytest.raises(StackError, match="not there to be restarted") as caught:
        service_commands.restart(checkout.compose(), Screen().console, [], 60)
    assert caught.value.exit_code == 3
    assert checkout.runner.commands() == []


def test_a_restart_starts_what_is_stopped_or_missing_too(checkout: Checkout) -> None:
    checkout.containers_are([container("caddy"), container("status", status="exited", health="")])
    checkout.runner.on("restart")
    service_commands.restart(checkout.compose(), Screen().console, [], 60)
    restart, up = checkout.runner.commands()
    assert restart[restart.index("restart") + 1 :] == ["caddy", "status"]
    assert up[-4:] == ["caddy", "status", "metquery", "postgres"]


def test_a_restart_starts_a_named_service_that_was_stopped(checkout: Checkout) -> None:
    checkout.containers_are([container("caddy"), container("status", status="exited", health="")])
    checkout.runner.on("restart")
    service_commands.restart(checkout.compose(), Screen().console, ["status"], 60)
    assert [argv[-1] for argv in checkout.runner.commands()] == ["status", "status"]


def test_a_paused_container_goes_on_before_it_is_restarted(checkout: Checkout) -> None:
    checkout.containers_are([container("status", status="paused")])
    checkout.runner.on("docker", "unpause")
    checkout.runner.on("restart")
    service_commands.restart(checkout.compose(), Screen().console, ["status"], 60)
    assert checkout.runner.commands()[0] == ["docker", "unpause", "wepppy-status-1"]


@pytest.mark.parametrize("task", ["restart", "upgrade"])
def test_a_task_that_changes_the_stack_waits_for_no_other(checkout: Checkout, task: str) -> None:
    compose = checkout.compose()
    tasks = {
        "restart": lambda: service_commands.restart(compose, Screen().console, [], 60),
        "upgrade": lambda: service_commands.database_upgrade(compose, Screen().console),
    }
    with lock.sole(compose), pytest.raises(StackError, match="another task is changing wepppy"):
        tasks[task]()
    assert checkout.runner.commands() == []


def test_names_may_be_repeated_or_separated_by_commas() -> None:
    assert task.split_names(["a,b", " c ", ""]) == ["a", "b", "c"]
