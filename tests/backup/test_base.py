"""Events, the caller, sessions and child processes: what every command stands on."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from wepp_backup import programs
from wepp_backup.events import FAILED, Problem, Reporter, fail, refuse
from wepp_backup.programs import ProgramError, first_error, full
from wepp_backup.server import Server, Session, literal, quote, shortened, value

WAITING = """
import sys
from wepp_backup.caller import CalledOff, Caller
caller = Caller(sys.stdin)
try:
    print("listening", flush=True)
    while True:
        print("word", caller.word(), flush=True)
except CalledOff:
    print("called off", caller.problem().what, flush=True)
"""


def waiting() -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", WAITING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout
    assert child.stdout.readline() == "listening\n"
    return child


def test_words_are_taken_one_by_one_and_the_end_of_input_calls_the_work_off() -> None:
    child = waiting()
    assert child.stdin
    assert child.stdout
    for word in ("go", "switch"):
        child.stdin.write(f"{word}\n")
        child.stdin.flush()
        assert child.stdout.readline() == f"word {word}\n"
    said, _ = child.communicate()
    assert said == "called off whoever asked for this is gone; it was called off\n"


def test_a_caller_that_leaves_after_the_answer_does_not_keep_the_cleanup_from_its_end() -> None:
    script = (
        "import sys, time; from wepp_backup import cli, health\n"
        "def run(app, flags):\n"
        "    app.cleanup.callback(lambda: (print('begun', flush=True), time.sleep(0.5), print('cleaned up')))\n"
        "    app.report.result({}, '')\n"
        "health.run_health = run\n"
        "sys.exit(cli.main(['--json', 'health']))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, stderr=-1, text=True)
    assert child.stdout
    child.stdout.readline()
    assert child.stdout.readline() == "begun\n"
    assert child.communicate() == ("cleaned up\n", "")
    assert child.returncode == 0


def held() -> subprocess.Popen[str]:
    """Start a command that waits for a word before it begins."""
    script = (
        "import sys; from wepp_backup import cli, health\n"
        "health.run_health = lambda app, flags: print('begun', flush=True)\n"
        "sys.exit(cli.main(['--json', '--held', 'health']))\n"
    )
    return subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, text=True)


def test_a_held_command_begins_once_a_word_has_come() -> None:
    child = held()
    assert child.stdin
    assert child.stdout
    child.stdin.write("begin\n")
    child.stdin.flush()
    assert child.stdout.readline() == "begun\n"
    assert child.wait() == 0
    child.communicate()


def test_a_held_command_that_no_word_comes_to_never_begins() -> None:
    child = held()
    said, _ = child.communicate()
    assert "begun" not in said
    assert child.returncode == FAILED


def test_a_signal_calls_the_work_off() -> None:
    child = waiting()
    child.send_signal(signal.SIGTERM)
    assert child.stdout
    assert child.stdout.readline() == "called off it was called off\n"
    child.communicate()


def test_a_child_that_is_made_while_the_work_is_called_off_is_ended() -> None:
    script = """
import os, signal, subprocess, sys
from wepp_backup import programs
from wepp_backup.caller import CalledOff, Caller
Caller(None)
made, popen = [], subprocess.Popen
def calling_off(*arguments, **options):
    made.append(popen(*arguments, **options))
    os.kill(os.getpid(), signal.SIGTERM)
    return made[0]
subprocess.Popen = calling_off
try:
    programs.start(["sleep", "60"])
except CalledOff:
    print("called off", made[0].returncode)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout == f"called off {-signal.SIGTERM}\n"


def test_a_refusal_midway_is_a_failure() -> None:
    assert refuse("a\nb", "c").midway().exit_code == fail("", "").exit_code
    assert refuse("a\nb", "c").what == "a b"


def test_events_are_json_lines_and_progress_is_told_seldom_but_to_its_end() -> None:
    out = io.StringIO()
    report = Reporter(out, as_json=True)
    for done in (1, 2, 3):
        report.progress("load", done, 3)
    report.problem(fail("no", "yes"))
    kinds = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [each.get("done") for each in kinds] == [1, 3, None]
    assert kinds[-1] == {"kind": "problem", "what": "no", "fix": "yes", "exit": 5}


def test_a_session_outlives_the_limits_that_the_servers_owner_set(server: Server, live: Session) -> None:
    live.execute("ALTER DATABASE wepppy SET statement_timeout = '50ms'")
    live.execute("ALTER ROLE wepppy SET idle_session_timeout = '50ms'")
    try:
        with server.connect("wepppy") as session:
            time.sleep(0.2)
            assert value(session, "SELECT 1 FROM pg_sleep(0.2)") == 1
    finally:
        live.execute("ALTER ROLE wepppy RESET idle_session_timeout")


def test_why_nobody_gets_in_is_told_with_its_fix(server: Server) -> None:
    with pytest.raises(Problem, match='database "none" does not exist') as told:
        server.connect("none")
    assert told.value.fix == "name a database that exists there"
    with pytest.raises(Problem, match="no server answers"):
        Server("/tmp/nowhere", "5432", "wepppy").connect("postgres")


def test_names_and_literals_survive_quoting(live: Session) -> None:
    for text in ("a'b", 'a"b', "a\\b'", "%s {}"):
        assert value(live, f"SELECT {literal(text)}") == text
        assert value(live, f"SELECT {quote(text)} FROM (SELECT 1 AS {quote(text)})") == 1
    assert shortened("ö" * 40, 63) == "ö" * 31


def test_a_program_that_fails_is_told_with_its_words() -> None:
    with pytest.raises(ProgramError, match="could not open"):
        programs.run(["pg_restore", "--list", "/nowhere"])


def test_a_block_that_raises_ends_its_program() -> None:
    with pytest.raises(RuntimeError), programs.running(["sleep", "60"]) as child:
        raise RuntimeError
    assert child.returncode == -signal.SIGTERM


def is_alive(process: int) -> bool:
    """Return False for a process that is gone, whenever it goes, or waits for its parent to collect it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_program_ends_when_this_process_is_killed(tmp_path: Path) -> None:
    script = "from wepp_backup.programs import start; print(start(['sleep', '60']).pid, flush=True); input()"
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    child = int(parent.stdout.readline())
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}/comm").read_text() != "sleep\n":  # setpriv has asked for the signal then
        assert time.monotonic() < deadline
        os.sched_yield()
    parent.kill()
    parent.wait()
    while is_alive(child):
        assert time.monotonic() < deadline
        os.sched_yield()


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ('pg_restore: error: query failed: ERROR:  could not extend file "base/1/2": No space left on device\n',
         "the server's disk is full"),
        ('psql:<stdin>:7: ERROR:  could not resize shared memory segment "/P.1": No space left on device',
         "the server's shared memory is full"),
        ("ERROR:  wrote only 4096 of 8192 bytes\nCONTEXT:  COPY a, line 7\n", "the server's disk is full"),
    ],
)  # fmt: skip
def test_a_server_without_room_is_told_from_other_errors(told: str, words: str) -> None:
    found = full(ProgramError("psql", 1, told))
    assert found
    assert words in found.what


@pytest.mark.parametrize(
    "told",
    [
        'pg_restore: error: could not execute query: ERROR:  could not create unique index "one"\n',
        'psql: error: ERROR:  invalid input value for enum state: "No space left on device"\n',
        "pg_dump: error: could not write to output file: No space left on device\n",
        "pg_restore: error: could not read from input file: Input/output error\n",
    ],
)
def test_names_values_and_a_programs_own_disk_are_not_taken_for_the_servers(told: str) -> None:
    assert full(ProgramError("psql", 1, told)) is None


def test_the_first_error_of_a_program_is_told_with_the_servers_words() -> None:
    told = (
        'pg_dump: error: Dumping "a" failed: no.\npg_dump: detail: Error message from server: ERROR:  why\n'
    )
    assert first_error(told) == 'Dumping "a" failed: no: why'
    assert first_error("\n") == ""
