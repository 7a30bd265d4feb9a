"""A wrong password: every task that logs in refuses before anything is begun, and says where the right one belongs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from scripts import envfile
from tests.database.stack import LightStack

WRONG = "quite-another-word"
TASKS = {
    "backup": ["db-backup"],
    "test restore": ["db-verify", "--dump=good.dump", "--drill"],
    "restore": ["db-restore", "--dump=good.dump", "--yes"],
    "rollback": ["db-rollback", "--yes"],
    "pruning": ["db-prune", "--yes", "--keep-days=0"],
}


@pytest.fixture(scope="module", autouse=True)
def restored(light: LightStack) -> None:
    """A dump to restore, and a kept database to go back to."""
    light.wait_until_settled()
    light.dump("good.dump")


@pytest.fixture
def stack(stack: LightStack) -> LightStack:
    stack.must("db-restore", "--dump=good.dump", "--yes")
    return stack


@contextmanager
def edited_env(stack: LightStack, *, handed_out: bool) -> Iterator[None]:
    """`.env` holds the wrong password for a while; handed out: the services' secret file does, too."""
    text = stack.env_file.read_text()
    secret = stack.env_file.parent / "secrets" / "postgres_password"
    right = secret.read_text()
    stack.env_file.write_text(
        re.sub(r"^POSTGRES_PASSWORD=.*$", f"POSTGRES_PASSWORD={WRONG}", text, flags=re.MULTILINE)
    )
    if handed_out:
        secret.chmod(0o644)
        secret.write_text(WRONG)
    try:
        yield
    finally:
        stack.env_file.write_text(text)
        secret.write_text(right)
        secret.chmod(0o444)


def refusals(stack: LightStack) -> dict[str, str]:
    """What each task says; fails unless each refuses and leaves everything as it was."""
    content, databases, backups = stack.content(), stack.databases(), set(stack.backups.glob("*.dump"))
    told = {}
    for name, command in TASKS.items():
        done = stack.task(*command)
        assert done.returncode == 4, f"{name}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        assert WRONG not in done.stdout + done.stderr
        told[name] = done.stderr
    assert stack.content() == content
    assert stack.databases() == databases
    # The sidecar may have made its own meanwhile.
    assert backups <= set(stack.backups.glob("*.dump"))
    assert stack.left_behind() == []
    assert stack.down() == []
    return told


def test_an_edited_env_is_refused_by_every_task_that_logs_in(stack: LightStack) -> None:
    with edited_env(stack, handed_out=False):
        for name, words in refusals(stack).items():
            assert "is not the password that the services log in with" in words, name
            assert "secrets/postgres_password" in words, name


def test_a_password_that_the_server_does_not_know_is_refused_by_every_task_that_logs_in(
    stack: LightStack,
) -> None:
    with edited_env(stack, handed_out=True):
        for name, words in refusals(stack).items():
            assert "password authentication failed" in words, name
            assert "in .env" in words, name


def test_a_new_password_mends_an_edited_env(stack: LightStack) -> None:
    with edited_env(stack, handed_out=False):
        stack.must("db-rotate-password", "--yes")
        stack.must("db-backup")
        text = stack.env_file.read_text()
        made = envfile.read(stack.env_file).get("POSTGRES_PASSWORD")
    assert made != WRONG
    # And it stays.
    stack.env_file.write_text(text)
    secret = stack.env_file.parent / "secrets" / "postgres_password"
    secret.chmod(0o644)
    secret.write_text(made)
    secret.chmod(0o444)
    stack.must("db-backup")
