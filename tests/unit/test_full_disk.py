"""A server that a full disk stopped: known by its own words, told at once, and not waited for in vain."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from scripts import full_disk
from scripts.dialogue import answer
from scripts.errors import ExitCode, StackError
from scripts.revive import Health
from tests.unit.fakes import Checkout, FakeClock, FakeConversation, Screen, container

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
    assert full_disk.complaint(checkout(tmp_path, log=LOG).compose()) == SAID


def test_a_page_that_was_written_in_part_is_a_full_disk_too(tmp_path: Path) -> None:
    said = 'could not extend file "base/1/2": wrote only 4096 of 8192 bytes at block 14'
    assert (
        full_disk.complaint(checkout(tmp_path, log=f"2026-11-25 UTC [29] @ FATAL:  {said}\n").compose())
        == said
    )


def test_what_the_backup_program_takes_for_a_full_disk_is_one_for_the_tasks_too() -> None:
    words = (ROOT / "docker/backup/internal/postgres/words.go").read_text(encoding="utf-8")
    found = re.search(r"fullWords = regexp\.MustCompile\(`\(\?i\)(.*)`\)", words)
    assert found
    for each in found[1].split("|"):
        said = "PANIC:  could not write: " + each.replace(r"\d+", "1")
        assert re.search(full_disk.GAVE_UP.pattern, said, re.IGNORECASE), each


@pytest.mark.parametrize("log", ["", LOG.splitlines()[0]])
def test_a_server_that_goes_on_is_not_said_to_have_been_stopped(tmp_path: Path, log: str) -> None:
    assert full_disk.complaint(checkout(tmp_path, log=log).compose()) == ""


def test_another_machines_server_has_no_log_here(tmp_path: Path) -> None:
    assert full_disk.complaint(checkout(tmp_path, log=LOG, host="elsewhere").compose()) == ""


@pytest.mark.parametrize(("status", "words"), [("restarting", SAID), ("running", ""), ("exited", "")])
def test_only_a_server_that_ends_again_and_again_is_held_up(tmp_path: Path, status: str, words: str) -> None:
    assert full_disk.holds_up(checkout(tmp_path, log=LOG, status=status).compose()) == words


def test_a_load_that_lost_the_server_to_a_full_disk_says_so_at_once_and_in_the_end(tmp_path: Path) -> None:
    made, seen = checkout(tmp_path, log=LOG), Screen()
    lost = json.dumps({"kind": "problem", "what": "the server went away", "mend": "see its log", "exit": 5})
    made.runner.conversations.append(FakeConversation([lost]))
    with pytest.raises(StackError) as caught:
        answer(made.compose(), seen.console, ["restore"])
    assert caught.value.what == f"the database server's disk is full: {SAID}"
    assert caught.value.exit_code == ExitCode.FAILED
    assert SAID in seen.err.getvalue()


def test_a_refusal_is_told_as_it_is_whatever_the_log_holds(tmp_path: Path) -> None:
    made = checkout(tmp_path, log=LOG)
    refusal = json.dumps({"kind": "problem", "what": "no such dump", "mend": "another", "exit": 4})
    made.runner.conversations.append(FakeConversation([refusal]))
    with pytest.raises(StackError, match="no such dump"):
        answer(made.compose(), Screen().console, ["restore"])


def test_services_are_not_waited_for_when_there_is_a_reason_that_waiting_does_not_mend(
    tmp_path: Path,
) -> None:
    made, clock = checkout(tmp_path, log=LOG), FakeClock()
    made.runner.on("docker", "exec", returncode=1)
    compose = made.compose()
    (database,) = compose.engine.containers("wepppy")
    ill = [database.__class__(**{**vars(database), "health_test": ("pg_isready",)})]
    told = Health(compose, None).wait(ill, clock, 120.0, meanwhile=lambda: "cannot be well: the disk is full")
    assert told == ["postgres cannot be well: the disk is full"]
    assert clock.monotonic() < 10
