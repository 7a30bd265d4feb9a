"""A server that a full disk stopped: known by its own words, told at once, and not waited for in vain."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from wepp_backup import programs

from scripts.base.errors import ExitCode, StackError
from scripts.database.sidecar_client import answer
from scripts.engine.database_server import STOPPED_BY_FULL_DISK, full_disk
from tests.unit.fakes import Checkout, FakeLineProcess, Screen, container

ROOT = Path(__file__).resolve().parents[2]
LOG = """2026-11-25 01:39:48 UTC [44] wepppy@wepppy ERROR:  could not extend file "base/1/2": No space left on device
2026-11-25 01:39:51 UTC [8] @ PANIC:  could not write to file "pg_wal/xlogtemp.8": No space left on device
2026-11-25 01:39:52 UTC [1] @ LOG:  database system is shut down
"""
SAID = 'could not write to file "pg_wal/xlogtemp.8": No space left on device'


def checkout(folder: Path, *, log: str, status: str = "restarting", host: str = "postgres") -> Checkout:
    made = Checkout(folder)
    made.with_env(POSTGRES_HOST=host)
    made.containers_are([container("postgres", status=status, health="")])
    made.runner.on("docker", "logs", "--since", stdout=log)
    return made


def test_the_servers_own_words_are_found_in_its_log(tmp_path: Path) -> None:
    assert full_disk(checkout(tmp_path, log=LOG).compose(), 60) == SAID


def test_a_page_that_was_written_in_part_is_a_full_disk_too(tmp_path: Path) -> None:
    said = 'could not extend file "base/1/2": wrote only 4096 of 8192 bytes at block 14'
    made = checkout(tmp_path, log=f"2026-11-25 UTC [29] @ FATAL:  {said}\n")
    assert full_disk(made.compose(), 60) == said


def test_what_the_backup_program_takes_for_a_full_disk_is_one_for_the_tasks_too() -> None:
    found = programs.FULL.pattern.removeprefix("(?i)")
    for each in found.split("|"):
        said = "PANIC:  could not write: " + each.replace(r"\d+", "1")
        assert re.search(STOPPED_BY_FULL_DISK.pattern, said, re.IGNORECASE), each


@pytest.mark.parametrize("log", ["", LOG.splitlines()[0]])
def test_a_server_that_goes_on_is_not_said_to_have_been_stopped(tmp_path: Path, log: str) -> None:
    assert full_disk(checkout(tmp_path, log=log).compose(), 60) == ""


def test_another_machines_server_has_no_log_here(tmp_path: Path) -> None:
    assert full_disk(checkout(tmp_path, log=LOG, host="elsewhere").compose(), 60) == ""


def test_a_load_that_lost_the_server_to_a_full_disk_says_so_at_once_and_in_the_end(tmp_path: Path) -> None:
    made, seen = checkout(tmp_path, log=LOG), Screen()
    lost = json.dumps({"kind": "problem", "what": "the server went away", "fix": "see its log", "exit": 5})
    made.runner.line_processes.append(FakeLineProcess([lost]))
    with pytest.raises(StackError) as caught:
        answer(made.compose(), seen.console, ["restore"])
    assert caught.value.what == f"the database server's disk is full: {SAID}"
    assert caught.value.exit_code == ExitCode.FAILED
    assert SAID in seen.err.getvalue()


def test_a_refusal_is_told_as_it_is_whatever_the_log_holds(tmp_path: Path) -> None:
    made = checkout(tmp_path, log=LOG)
    refusal = json.dumps({"kind": "problem", "what": "no such dump", "fix": "another", "exit": 4})
    made.runner.line_processes.append(FakeLineProcess([refusal]))
    with pytest.raises(StackError, match="no such dump"):
        answer(made.compose(), Screen().console, ["restore"])
