"""A new password is everywhere or nowhere, and nobody but the private files ever sees it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts.base.errors import ExitCode, StackError
from scripts.database.credentials import CHANGE_LOCK
from scripts.database.rotate_password import read_password
from scripts.engine.runner import Result
from scripts.menu.task import ROOT
from tests.unit.fakes import FakeLineProcess
from tests.unit.rotating import NEW, OLD, Rotating


def test_jobs_are_waited_for_then_role_and_file_change_then_those_who_log_in_are_restarted(
    rotating: Rotating,
) -> None:
    rotating.rotate()
    assert rotating.holds(NEW)
    assert rotating.stack.events == ["drain", "alter", "restart web worker", "resume"]
    assert rotating.stack.all_back()


def test_at_once_jobs_are_queued_again(rotating: Rotating) -> None:
    rotating.rotate(now=True)
    assert rotating.holds(NEW)
    assert rotating.stack.events == ["alter", "restart web worker"]


def test_jobs_that_cannot_be_waited_for_change_nothing(rotating: Rotating) -> None:
    rotating.drains = False
    with pytest.raises(StackError, match="nothing was changed") as caught:
        rotating.rotate()
    assert caught.value.exit_code == ExitCode.REFUSED
    assert "--now" in caught.value.fix
    assert rotating.holds(OLD)
    assert rotating.stack.events == ["drain"]


def test_without_a_file_a_random_password_is_made(rotating: Rotating) -> None:
    rotating.rotate(password_file="")
    made = rotating.secret.read_text()
    assert len(made) >= 43  # 256 bits in base64
    assert rotating.holds(made)


def test_env_is_left_alone_and_the_file_is_readable_for_containers_only_through_its_folder(
    rotating: Rotating,
) -> None:
    path = rotating.folder / ".env"
    before = path.read_text()
    rotating.rotate()
    assert path.read_text() == before
    assert rotating.secret.stat().st_mode & 0o777 == 0o444


def test_neither_password_is_in_arguments_variables_or_what_is_printed(rotating: Rotating) -> None:
    rotating.rotate()
    seen = rotating.stack.screen.err.getvalue() + rotating.stack.screen.out.getvalue()
    for call in rotating.stack.made.runner.calls:
        seen += f"{call.argv}{call.env}{call.stdin}"
    assert OLD not in seen
    assert NEW not in seen


def test_the_server_is_asked_again_while_it_does_not_let_anybody_in(rotating: Rotating) -> None:
    rotating.complaints = [Result((), 2, "", "starting up")] * 2
    rotating.rotate()
    assert rotating.holds(NEW)


def test_a_server_that_is_killed_on_the_way_is_started_again(rotating: Rotating) -> None:
    states = rotating.stack.states

    def kill_once(argv: Sequence[str]) -> Result:
        if "start postgres" not in rotating.stack.events:
            states["postgres"] = "exited"
            return Result(tuple(argv), 1, "", "Error response from daemon: container is not running")
        return rotating._psql(argv)

    rotating.stack.made.runner.do("docker", "exec", "psql", action=kill_once)
    rotating.rotate()
    assert rotating.holds(NEW)
    assert rotating.stack.all_back()


def test_when_the_server_refuses_the_old_password_holds_and_nothing_is_restarted(rotating: Rotating) -> None:
    rotating.complaints = [Result((), 3, "", "ERROR: out of disk")]
    with pytest.raises(StackError, match="the old password holds") as caught:
        rotating.rotate()
    assert caught.value.exit_code == ExitCode.FAILED
    assert rotating.holds(OLD)
    assert rotating.stack.events == ["drain", "alter", "alter", "resume"]


def test_a_client_that_is_killed_once_the_role_is_changed_has_it_changed_back(rotating: Rotating) -> None:
    killed = [True]

    def killed_at_the_end(argv: Sequence[str]) -> Result:
        done = rotating._psql(argv)
        return Result(tuple(argv), 137, "", "Killed") if killed and killed.pop() else done

    rotating.stack.made.runner.do("docker", "exec", "psql", action=killed_at_the_end)
    with pytest.raises(StackError, match="the old password holds"):
        rotating.rotate()
    assert rotating.holds(OLD)


def test_when_nobody_can_log_in_with_the_new_one_the_old_password_holds_and_nothing_is_restarted(
    rotating: Rotating,
) -> None:
    rotating.say_login(own=False)
    with pytest.raises(StackError, match="no login with the new password: refused; the old password holds"):
        rotating.rotate()
    assert rotating.holds(OLD)
    assert rotating.stack.events == ["drain", "alter", "alter", "resume"]


def test_a_service_that_is_not_well_with_the_new_password_is_told_and_the_new_one_holds(
    rotating: Rotating,
) -> None:
    rotating.stack.sick = {"worker"}
    with pytest.raises(StackError, match="not healthy after the restart: web, worker") as caught:
        rotating.rotate()
    assert caught.value.exit_code == ExitCode.FAILED
    assert "the new password holds" in rotating.stack.screen.err.getvalue()
    assert rotating.role_has(NEW)
    assert rotating.secret.read_text() == NEW
    rotating.stack.sick = set()
    rotating.finish()
    assert rotating.holds(NEW)


def test_a_server_that_lets_the_old_password_in_as_well_is_warned_of(rotating: Rotating) -> None:
    rotating.say_login(own=True, old=True)
    rotating.rotate()
    assert "lets the old password in as well" in rotating.stack.screen.err.getvalue()


def test_an_external_server_is_asked_through_the_sidecar_with_a_verifier_only(rotating: Rotating) -> None:
    rotating.stack.made.with_env(POSTGRES_HOST="db.example.org")
    talk = FakeLineProcess(
        [
            json.dumps({"kind": "ready", "prepared": "wepppy"}),
            json.dumps({"kind": "result", "answer": "wepppy"}),
        ]
    )
    rotating.stack.made.runner.line_processes.insert(0, talk)
    rotating.rotate()
    word = json.loads(talk.heard[0])
    assert word["passwords"] == [OLD]
    assert word["verifier"].startswith("SCRAM-SHA-256$4096:")
    assert NEW not in talk.heard[0]
    assert "alter" not in rotating.stack.events


def test_the_superuser_of_an_external_server_is_not_ours(rotating: Rotating) -> None:
    rotating.stack.made.with_env(POSTGRES_HOST="db.example.org")
    with pytest.raises(StackError, match="external server"):
        rotating.rotate(superuser=True)


def test_the_superuser_has_a_secret_of_its_own(rotating: Rotating) -> None:
    model = rotating.stack.compose.model
    rotating.secret = rotating.secret.with_name("postgres_superuser_password")
    rotating.secret.write_text(OLD)
    rotating.pending = rotating.secret.with_name(".postgres_superuser_password.pending")
    secret = {"postgres_superuser_password": {"file": str(rotating.secret)}}
    changed = {**model, "secrets": {**model["secrets"], **secret}}
    changed["services"]["backup"]["secrets"] = [{"source": "postgres_superuser_password"}]
    rotating.stack.made.runner.on("config", "json", stdout=json.dumps(changed))
    rotating.rotate(superuser=True)
    assert rotating.holds(NEW)
    (psql,) = [call.argv for call in rotating.stack.made.runner.calls if "psql" in call.argv]
    assert psql[psql.index("--username") + 1] == "postgres"
    assert rotating.stack.events == ["alter", "restart backup"]


def test_a_dry_run_and_a_missing_yes_change_nothing(rotating: Rotating) -> None:
    rotating.rotate(dry_run=True)
    with pytest.raises(StackError) as caught:
        rotating.rotate(yes=False)
    assert caught.value.exit_code == ExitCode.REFUSED
    assert rotating.holds(OLD)
    assert rotating.stack.events == []


def test_the_password_that_holds_already_is_refused(rotating: Rotating) -> None:
    rotating.password_file.write_text(OLD)
    with pytest.raises(StackError) as caught:
        rotating.rotate()
    assert caught.value.exit_code == ExitCode.REFUSED


def test_both_ways_to_change_a_password_wait_for_the_same_lock() -> None:
    program = ROOT / "docker" / "backup" / "wepp_backup" / "password.py"
    assert f'CHANGE_LOCK = "{CHANGE_LOCK}"' in program.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "text",
    ["", "short", "two\nlines-of-text", "with'quote-inside", "with space inside", "dollar$dollar$dollar"],
)
def test_a_file_that_holds_no_password_for_every_reader_is_refused_without_showing_it(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(StackError) as caught:
        read_password(path)
    assert caught.value.exit_code == ExitCode.USAGE
    assert not text or text not in f"{caught.value.what}{caught.value.fix}"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StackError) as caught:
        read_password(tmp_path / "missing")
    assert "missing" in caught.value.what
