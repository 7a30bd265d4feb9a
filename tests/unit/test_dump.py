"""Where a dump lies: a name among the backups, a path of the host, `latest`."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.dump import backups_folder, locate
from scripts.errors import ExitCode, StackError
from tests.unit.fakes import Checkout


def checkout(folder: Path) -> Checkout:
    made = Checkout(folder)
    made.with_env()
    return made


def test_latest_and_bare_names_are_looked_up_among_the_backups(tmp_path: Path) -> None:
    compose = checkout(tmp_path).compose()
    for name in ("latest", "wepppy-20261124-000000.dump"):
        found = locate(compose, name, here=tmp_path)
        assert (found.argument, found.options) == (name, ())


def test_a_path_into_the_backups_folder_is_a_name_there(tmp_path: Path) -> None:
    compose = checkout(tmp_path).compose()
    folder = backups_folder(compose)
    folder.mkdir(parents=True)
    (folder / "a.dump").write_text("x")
    assert locate(compose, str(folder / "a.dump")).argument == "a.dump"


def test_a_file_from_elsewhere_is_shown_read_only_with_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "else where's"
    folder.mkdir()
    dump = folder / 'my "old" dump.sql'
    dump.write_text("x")
    (tmp_path / "root").mkdir()
    compose = checkout(tmp_path / "root").compose()
    found = locate(compose, 'my "old" dump.sql', here=folder, uid=lambda: 1234)
    assert found.argument == '/given/my "old" dump.sql'
    assert found.options[:2] == ("--volume", f"{folder}:/given:ro")
    assert found.options[2] == "--user"
    assert found.options[3].startswith("1234:")
    assert found.translate(f"{found.argument} is empty") == f"{dump} is empty"


def test_root_reads_a_file_as_its_owner(tmp_path: Path) -> None:
    dump = tmp_path / "x.sql"
    dump.write_text("x")
    found = locate(checkout(tmp_path).compose(), str(dump), uid=lambda: 0)
    assert found.options[-1] == f"{dump.stat().st_uid}:{dump.stat().st_gid}"


def test_what_is_not_there_or_has_no_usable_name_is_refused(tmp_path: Path) -> None:
    compose = checkout(tmp_path).compose()
    folder = tmp_path / "a:b"
    folder.mkdir()
    (folder / "x.dump").write_text("x")
    for name, code in (
        ("", ExitCode.USAGE),
        ("./none.dump", ExitCode.REFUSED),
        (str(folder / "x.dump"), ExitCode.REFUSED),
    ):
        with pytest.raises(StackError) as caught:
            locate(compose, name, here=tmp_path)
        assert caught.value.exit_code == code
