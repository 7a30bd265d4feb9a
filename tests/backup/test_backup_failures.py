"""Backups that go wrong or are called off: why is told, nothing of them is left, and the earlier ones stay."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from wepp_backup import backup
from wepp_backup.backup import make
from wepp_backup.catalog import CHECKSUM, MANIFEST, Manifest, write_json
from wepp_backup.events import FAILED, REFUSED, Problem
from wepp_backup.programs import ProgramError
from wepp_backup.server import Server, Session, column, execute

from tests.backup.backing_up import BULK, files


def refused(app: Any, exit_code: int, *words: str) -> Problem:
    with pytest.raises(Problem) as told:
        make(app)
    assert told.value.exit_code == exit_code, told.value.what
    for each in words:
        assert each in told.value.what
    return told.value


def test_a_table_that_is_held_is_waited_for_no_longer_than_the_limit(
    app: Any, filled: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "LOCK_SECONDS", 1)
    execute(filled, "BEGIN; LOCK TABLE public.run")
    try:
        refused(app, FAILED, "a table was locked for more than 1 s")
    finally:
        execute(filled, "ROLLBACK")
    assert files(app) == []


def test_a_server_that_is_away_is_told_and_nothing_is_written(app: Any) -> None:
    app.server = Server("127.0.0.1", "1", "wepppy")
    refused(app, REFUSED, "no server answers at 127.0.0.1:1")
    assert files(app) == []


def room(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """Let the disk of the backups have so many bytes free."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


def test_a_backup_that_the_disk_has_no_room_for_is_refused_before_it_begins(
    app: Any, filled: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    room(monkeypatch, 10 * 10**6)
    refused(app, REFUSED, "10 MB free", "earlier ones are as they were")
    assert files(app) == []


def test_the_size_of_a_dump_is_expected_by_the_share_of_the_last_one(
    app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = app.catalog
    name = catalog.free_name(datetime.now(UTC))
    catalog.path(name).write_bytes(b"x" * 1000)
    catalog.path(f"{name}{CHECKSUM}").touch()
    write_json(
        catalog.path(f"{name}{MANIFEST}"),
        Manifest(datetime.now(UTC), bytes=1000, database_bytes=10000, rows=1),
    )
    room(monkeypatch, backup.RESERVE + 130)
    assert backup._expected_bytes(app, 1000) == 100
    room(monkeypatch, backup.RESERVE + 120)
    with pytest.raises(Problem, match="MB free"):
        backup._expected_bytes(app, 1000)


@pytest.fixture
def instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Put a script of that name before the program of that name, which it has as $real."""

    def put(name: str, script: str) -> None:
        real = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        (tmp_path / name).write_text(f"#!/bin/bash\nreal={real}\n{script}\n")
        (tmp_path / name).chmod(0o700)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return put


def test_a_disk_that_becomes_full_leaves_nothing_of_the_backup_and_the_earlier_ones(
    app: Any, filled: Session, instead: Callable[[str, str], None]
) -> None:
    make(app)
    before = files(app)
    execute(filled, BULK)
    instead(
        "pg_dump", '[[ $* == *--version* ]] && exec $real "$@"; exec $real "${@/--file=*/--file=/dev/full}"'
    )
    refused(app, FAILED, "the disk of the backups", "is full", "earlier ones are as they were")
    assert files(app) == before


def test_a_dump_with_other_rows_than_its_snapshot_is_thrown_away(
    app: Any, filled: Session, instead: Callable[[str, str], None]
) -> None:
    # A reader that misses the last row of a table stands for a dump that was written short.
    instead("pg_restore", '[[ $* == *--list* ]] && exec $real "$@"; $real "$@" | sed "/after the view/d"')
    refused(app, FAILED, "the dump holds 1000 rows of public.run and the database has 1001")
    assert files(app) == []


@pytest.mark.parametrize("program", ["pg_dump", "pg_restore", "pg_dumpall"])
def test_a_program_that_fails_in_the_middle_leaves_nothing(
    app: Any, filled: Session, instead: Callable[[str, str], None], program: str
) -> None:
    execute(filled, BULK)
    instead(
        program, f'[[ $* == *--version* ]] && exec $real "$@"; echo "{program}: error: bad luck" >&2; exit 1'
    )
    refused(app, FAILED, "no backup was made: bad luck")
    assert files(app) == []


def test_the_servers_full_disk_is_not_that_of_the_backups(app: Any) -> None:
    def told(words: str) -> str:
        return backup._explained(app, ProgramError("pg_dump", 1, f"pg_dump: error: {words}\n")).what

    full = "No space left on device"
    assert "the server's disk is full" in told(
        f'query failed: ERROR:  could not write to file "base/pgsql_tmp/1": {full}'
    )
    assert "the disk of the backups" in told(f"could not write to output file: {full}")
    assert "shared memory is full" in told(
        f'query failed: ERROR:  could not resize shared memory segment "/P.1": {full}'
    )
    read_only = OSError(30, "Read-only file system", str(app.settings.folder / "x"))
    assert "Read-only file system" in backup._explained(app, read_only).what


CALLED_OFF = """
import os, sys, threading
from wepp_backup.app import App, Settings
from wepp_backup.backup import make
from wepp_backup.caller import CalledOff, Caller
from wepp_backup.events import Reporter
app = App(Settings(os.environ), Reporter(as_json=True), Caller(None))
try:
    timer = threading.Timer(float(sys.argv[1]), lambda: os.kill(os.getpid(), 15))
    timer.start()
    make(app)
    timer.join()
except CalledOff:
    print("called off")
"""


@pytest.mark.parametrize("after", [0.0, 0.1, 0.25, 0.4, 0.6, 1.0])
def test_a_backup_that_is_called_off_leaves_nothing_or_is_whole(
    app: Any, filled: Session, server: Server, after: float
) -> None:
    execute(filled, BULK)
    environment = {
        **os.environ,
        "BACKUP_DIR": str(app.settings.folder),
        "PGHOST": server.host,
        "PGDATABASE": "wepppy",
    }
    done = subprocess.run(
        [sys.executable, "-c", CALLED_OFF, str(after)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert len(files(app)) in ((0, 4) if "called off" in done.stdout else (4,))
    assert column(filled, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_dump'") == [0]
