"""The program that ends another one when its caller is gone."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "docker" / "python" / "stack" / "attended.py"


def attended(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def is_gone(process: int) -> bool:
    """True when no such process runs; one that waits for its parent's question does not run."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until_gone(process: int) -> None:
    deadline = time.monotonic() + 60
    while not is_gone(process):
        assert time.monotonic() < deadline
        time.sleep(0.02)


# Starts a child of its own and tells both numbers; `{}`: what it does about Ctrl-C.
FAMILY = """
import os, signal, subprocess, sys, time
{}
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize("about_ctrl_c", ["", "signal.signal(signal.SIGINT, signal.SIG_IGN)"])
@pytest.mark.parametrize("end", ["input", signal.SIGTERM])
def test_a_program_ends_with_all_its_children_when_its_caller_is_gone(end: object, about_ctrl_c: str) -> None:
    with attended(*python(FAMILY.format(about_ctrl_c))) as process:
        assert process.stdin
        assert process.stdout
        family = [int(number) for number in process.stdout.readline().split()]
        if end == "input":
            process.stdin.close()
        else:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
        for each in family:
            wait_until_gone(each)


def test_a_signal_that_comes_while_the_program_is_being_started_ends_it() -> None:
    """Its parent is signalled by the program itself, before the parent can have looked at it."""
    code = "import os, signal, time; os.kill(os.getppid(), signal.SIGTERM); time.sleep(300)"
    for _ in range(10):
        with attended("/bin/sh", "-c", 'kill "$PPID"; exec sleep 300') as process:
            assert process.wait(60) == 143
    with attended(*python(code)) as process:
        assert process.wait(60) == 143


def test_a_program_ends_when_its_caller_is_killed() -> None:
    caller = (
        "import subprocess, sys, os\n"
        f"subprocess.Popen({[sys.executable, str(PROGRAM), *python(FAMILY.format(''))]!r}, stdin=subprocess.PIPE)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        python(caller), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        family = [int(number) for number in process.stdout.readline().split()]
        process.kill()
        for each in family:
            wait_until_gone(each)


def test_the_status_is_the_programs_and_its_input_is_empty() -> None:
    with attended(*python("import sys; print(repr(sys.stdin.read())); sys.exit(7)")) as process:
        assert process.stdout
        assert process.stdout.read() == "''\n"
        assert process.wait(60) == 7
    with attended(*python("import os; os.kill(os.getpid(), 9)")) as process:
        assert process.wait(60) == 137
