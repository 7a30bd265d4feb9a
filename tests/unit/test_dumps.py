"""Where a dump lies: a name among the backups, a path of the host, `latest`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scripts.base.errors import ExitCode, StackError
from scripts.database.backup import locate
from scripts.engine.sidecar import backups_folder
from tests.unit.fakes import Checkout


def checkout(folder: Path) -> Checkout:
    made = Checkout(folder)
    made.with_env()
    return made


def test_latest_and_bare_names_are_looked_up_among_the_backups(tmp_path: Path) -> None:
    compose = checkout(tmp_path).compose()
    for name in ("latest", "wepppy-20261124-000000.dump"):
        assert locate(compose, name, here=tmp_path) == (name, [])


def test_a_path_into_the_backups_folder_is_a_name_there(tmp_path: Path) -> None:
    compose = checkout(tmp_path).compose()
    folder = backups_folder(compose)
    folder.mkdir(parents=True)
    (folder / "a.dump").write_text("x")
    assert locate(compose, str(folder / "a.dump")) == ("a.dump", [])


def test_a_file_from_elsewhere_is_shown_read_only_with_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "else where's"
    folder.mkdir()
    dump = folder / 'my "old" dump.sql'
    dump.write_text("x")
    (tmp_path / "root").mkdir()
    compose = checkout(tmp_path / "root").compose()
    argument, options = locate(compose, 'my "old" dump.sql', here=folder, uid=lambda: 1234)
    assert argument == f"/host-folders{dump}"
    assert options[:2] == ["--volume", f"{folder}:/host-folders{folder}:ro"]
    assert options[2] == "--user"
    assert options[3].startswith("1234:")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(
    ("folder", "dump", "user"),
    [
        # (owner, group, mode) of the folder and of the dump
        ((0, 0, 0o755), (1234, 1235, 0o600), "1234:1235"),
        ((4321, 4322, 0o700), (1234, 1235, 0o644), "4321:1235"),
        ((4321, 4322, 0o700), (0, 0, 0o644), "4321:0"),
        ((0, 0, 0o700), (1234, 1235, 0o644), "0:1235"),
        ((4321, 4322, 0o700), (1234, 1235, 0o640), "4321:1235"),
        ((4321, 4322, 0o700), (1234, 1235, 0o600), "1234:1235"),  # nobody may; the program says so
    ],
)
def test_root_reads_a_file_as_somebody_who_may_enter_its_folder_and_read_it(
    tmp_path: Path, folder: tuple[int, int, int], dump: tuple[int, int, int], user: str
) -> None:
    place = tmp_path / "private"
    place.mkdir()
    path = place / "x.sql"
    path.write_text("x")
    for each, (uid, gid, mode) in ((path, dump), (place, folder)):
        each.chmod(mode)
        os.chown(each, uid, gid)
    _, options = locate(checkout(tmp_path).compose(), str(path), uid=lambda: 0)
    assert options[-2:] == ["--user", user]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_a_reader_may_read_by_a_group_is_read_with_that_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.sql"
    path.write_text("x")
    path.chmod(0o640)
    os.chown(path, 0, 77)
    tmp_path.chmod(0o755)
    (tmp_path / "root").mkdir()
    monkeypatch.setattr(os, "getgroups", lambda: [55, 77])
    _, options = locate(checkout(tmp_path / "root").compose(), str(path), uid=lambda: 1234)
    assert options[-1] == "1234:77"


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
