"""What the flags of bare-metal-migrate say: checked before anything is begun, and the password shown nowhere."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from scripts.base.errors import ExitCode, StackError
from scripts.database.migrate import SourceServer, source_server


def made(**changes: Any) -> SourceServer:
    named: dict[str, Any] = {"host": "localhost", "port": 5432, "database": "old", "user": "roger", **changes}
    return source_server(**named)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has an account `roger`."""

    def named(name: str) -> pwd.struct_passwd:
        if name != "roger":
            raise KeyError(name)
        return pwd.struct_passwd((name, "x", 115, 120, "", "/", "/bin/sh"))

    monkeypatch.setattr(pwd, "getpwnam", named)


def password_file(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "password"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_the_password_is_the_files_first_line_and_is_in_no_representation(tmp_path: Path) -> None:
    found = made(password_file=password_file(tmp_path, "se cret\nsecond\n"))
    assert found.password == "se cret"
    assert "se cret" not in f"{found!r} {found} {found.description}"


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("secret\n", 0o640, r"others may read .* \(mode 0640\)"),
        ("secret\n", 0o604, "others may read"),
        ("\nsecret\n", 0o600, "empty line"),
    ],
)
def test_a_password_file_that_others_read_or_that_says_nothing_is_refused(
    tmp_path: Path, text: str, mode: int, words: str
) -> None:
    with pytest.raises(StackError, match=words) as caught:
        made(password_file=password_file(tmp_path, text, mode))
    assert caught.value.exit_code == ExitCode.REFUSED


@pytest.mark.usefixtures("account")
def test_over_a_socket_the_account_of_the_database_users_name_comes(tmp_path: Path) -> None:
    (tmp_path / ".s.PGSQL.5433").touch()
    found = made(socket_dir=str(tmp_path), port=5433)
    assert (found.uid, found.gid, found.local, found.socket_dir) == (115, 120, True, tmp_path)


@pytest.mark.usefixtures("account")
def test_without_such_an_account_or_over_the_network_the_caller_comes(tmp_path: Path) -> None:
    (tmp_path / ".s.PGSQL.5432").touch()
    assert made(socket_dir=str(tmp_path), user="nobody-here").uid == os.getuid()
    assert made().uid == os.getuid()


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"port": 0}, ExitCode.USAGE),
        ({"port": 65536}, ExitCode.USAGE),
        ({"user": ""}, ExitCode.USAGE),
        ({"database": ""}, ExitCode.USAGE),
        ({"socket_dir": "/tmp", "host": "db.example"}, ExitCode.USAGE),
    ],
)
def test_flags_that_make_no_sense_are_told(changes: dict[str, Any], status: ExitCode) -> None:
    with pytest.raises(StackError) as caught:
        made(**changes)
    assert caught.value.exit_code == status


@pytest.mark.parametrize(
    ("host", "local"), [("localhost", True), ("127.0.0.1", True), ("::1", True), ("db.example", False)]
)
def test_only_this_machines_server_is_local(host: str, local: bool) -> None:
    assert made(host=host).local is local
