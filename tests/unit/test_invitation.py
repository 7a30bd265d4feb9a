"""The invitation's file: who opens it, and that nobody changes it on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.base.errors import ExitCode, StackError
from scripts.stack.worker_hosts import invitation
from scripts.stack.worker_hosts.invitation import Folder, Invitation

MADE = Invitation(
    id="0123",
    host="wepp2",
    until=1000.0,
    project="wepppy",
    gateway="10.0.0.1:7380",
    image="wepppy-python:prod",
    revision="abc",
    queues=("default", "batch"),
    uid=1002,
    gid=130,
    folders={"WC1_DIR": Folder("/wc1", 1002, 130, ".wepp-stack-0123", "00")},
    settings={"TZ": "UTC"},
    secrets={"redis_password": "a very secret word"},
)


def test_what_was_written_is_read_with_the_passphrase_alone(tmp_path: Path) -> None:
    path, phrase = tmp_path / "wepp2.invitation", invitation.passphrase()
    invitation.write(path, MADE, phrase)
    assert invitation.read(path, phrase) == MADE
    assert path.stat().st_mode & 0o777 == 0o600
    assert "secret word" not in path.read_text()
    with pytest.raises(StackError, match="passphrase is another") as refused:
        invitation.read(path, invitation.passphrase())
    assert refused.value.exit_code == ExitCode.REFUSED


def test_a_file_that_was_changed_or_cut_is_refused(tmp_path: Path) -> None:
    path, phrase = tmp_path / "wepp2.invitation", invitation.passphrase()
    invitation.write(path, MADE, phrase)
    lines = path.read_text().splitlines()
    middle = len(lines) - 3
    changed = lines[middle].swapcase()
    for text in ([*lines[:middle], changed, *lines[middle + 1 :]], lines[:-4], ["nothing"]):
        path.write_text("\n".join(text) + "\n")
        with pytest.raises(StackError, match="changed on the way"):
            invitation.read(path, phrase)


def test_a_file_that_is_not_there_is_told_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"wepp2\.invitation cannot be read"):
        invitation.read(tmp_path / "wepp2.invitation", "phrase")


def test_no_passphrase_is_like_another_and_each_has_a_hundred_bits_and_more() -> None:
    made = {invitation.passphrase() for _ in range(1000)}
    assert len(made) == 1000
    assert len(invitation.ALPHABET) ** (invitation.GROUPS * invitation.GROUP) > 2**100
