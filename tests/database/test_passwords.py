"""A wrong password: every task that logs in refuses before anything is begun, and says where the right one belongs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from scripts.base import files
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
    light.wait_until_idle()
    light.dump("good.dump")


@pytest.fixture
def stack(stack: LightStack) -> LightStack:
    stack.must("db-restore", "--dump=good.dump", "--yes")
    return stack


@contextmanager
def wrong_password(stack: LightStack) -> Iterator[None]:
    """The secret files hold passwords for a while that the server does not know."""
    secrets = [stack.secret_file(name) for name in ("postgres_password", "postgres_superuser_password")]
    right = [secret.read_text() for secret in secrets]
    for secret in secrets:
        files.replace(secret, WRONG, 0o444)
    try:
        yield
    finally:
        for secret, text in zip(secrets, right, strict=True):
            files.replace(secret, text, 0o444)


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


def test_a_password_that_the_server_does_not_know_is_refused_by_every_task_that_logs_in(
    stack: LightStack,
) -> None:
    with wrong_password(stack):
        for name, words in refusals(stack).items():
            assert "password authentication failed" in words, name
            assert "secret file postgres_password" in words, name


def test_an_edited_env_changes_nothing_is_told_and_the_named_fix_works(stack: LightStack) -> None:
    before = stack.env_file.read_text()
    stack.env_file.write_text(f"{before}POSTGRES_PASSWORD={WRONG}\n")
    try:
        stack.must("db-backup")
        told = stack.task("doctor").stdout
        assert "POSTGRES_PASSWORD" in told
        assert "db-rotate-password" in told
        assert WRONG not in told
        old = stack.secret("postgres_password")
        stack.must("db-rotate-password", "--yes")
    finally:
        stack.env_file.write_text(before)
    assert stack.secret("postgres_password") not in (old, WRONG)
    stack.must("db-backup")
