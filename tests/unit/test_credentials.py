"""A password in `.env` that nobody logs in with is told before anything is begun."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.credentials import CHANGE_LOCK, demand_login
from scripts.errors import ExitCode, StackError
from scripts.menu import ROOT
from tests.unit.memory_stack import MemoryStack

IN_ENV = "a-very-secret-word"


def given(folder: Path, password: str) -> MemoryStack:
    """A stack whose services have that password; empty for none yet."""
    stack = MemoryStack(folder)
    (folder / "secrets").mkdir()
    if password:
        (folder / "secrets" / "postgres_password").write_text(password)
    return stack


@pytest.mark.parametrize("password", [IN_ENV, ""])
def test_where_env_and_services_agree_the_database_may_be_used(tmp_path: Path, password: str) -> None:
    stack = given(tmp_path, password)
    demand_login(stack.compose, stack.screen.console)


def test_an_edited_env_is_refused_with_the_file_that_holds_the_right_one_and_neither_is_shown(
    tmp_path: Path,
) -> None:
    stack = given(tmp_path, "the-one-that-works")
    with pytest.raises(StackError, match="POSTGRES_PASSWORD") as caught:
        demand_login(stack.compose, stack.screen.console)
    assert caught.value.exit_code == ExitCode.REFUSED
    assert "secrets/postgres_password" in caught.value.mend
    assert "db-rotate-password" in caught.value.mend
    assert all(
        word not in f"{caught.value.what} {caught.value.mend}" for word in (IN_ENV, "the-one-that-works")
    )


def test_both_ways_to_change_a_password_wait_for_the_same_lock() -> None:
    program = ROOT / "docker" / "backup" / "password_command.go"
    assert f"pg_advisory_xact_lock({CHANGE_LOCK})" in program.read_text(encoding="utf-8")
