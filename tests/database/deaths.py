"""How a task, a client, the server or its container is killed at a chosen moment of a task's life.

A moment is a line of the task's output and a part of the time until the next one, both measured in one run that is
left alone; so moments fall evenly over everything the task does, on a fast machine and on a slow one.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.database.stack import LightStack
from tests.engine.stack import ROOT

OPERATIONS = ("restore", "rollback", "rotate", "backup")
VICTIMS = ("task", "client", "server", "container")
CLIENTS = ("pg_restore", "psql", "pg_dump")
# In a container there is a shell, but neither pgrep nor pkill.
KILL_CLIENTS = """
for folder in /proc/[0-9]*; do
  read -r name <"$folder/comm" || continue
  case $name in pg_restore|psql|pg_dump) kill -9 "${folder#/proc/}" && echo killed ;; esac
done 2>/dev/null
"""
LINE_SECONDS = 120.0
END_SECONDS = 240.0


@dataclass(frozen=True)
class Moment:
    """So many lines of output, then so much (0 to 1) of what the measured run took until the next line."""

    lines: int
    part: float


class Running:
    """A task that runs, and the lines it has written, with the time of each."""

    def __init__(self, stack: LightStack, arguments: Sequence[str]) -> None:
        self.arguments = tuple(arguments)
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            ["invoke", *arguments], cwd=ROOT, env={**stack.task_environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        self.lines: list[str] = []
        self.times: list[float] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            with self._more:
                self.lines.append(line.rstrip("\n"))
                self.times.append(time.monotonic() - self.began)
                self._more.notify_all()

    def wait_for_lines(self, count: int) -> None:
        """Returns when so many lines are there, or there will be no more."""
        with self._more:
            self._more.wait_for(
                lambda: len(self.lines) >= count or self.process.poll() is not None, LINE_SECONDS
            )

    def wait_for_line(self, wanted: str) -> None:
        """Returns when that line is there, or there will be no more."""
        with self._more:
            self._more.wait_for(lambda: wanted in self.lines or self.process.poll() is not None, LINE_SECONDS)

    def wait_for_words(self, words: str) -> str:
        """The first line that holds the words; fails when the task ends without one."""
        with self._more:
            self._more.wait_for(
                lambda: any(words in line for line in self.lines) or self.process.poll() is not None,
                LINE_SECONDS,
            )
            found = [line for line in self.lines if words in line]
        assert found, self.output
        return found[0]

    def wait(self) -> int:
        """Its exit status; fails when it does not end."""
        status = self.process.wait(END_SECONDS)
        # A killed task's helpers may hold the pipe a little longer.
        self._reader.join(5)
        return status

    @property
    def output(self) -> str:
        """All it said."""
        return "\n".join(self.lines)


def measure(stack: LightStack, arguments: Sequence[str]) -> list[float]:
    """Times of the lines of a run that nobody disturbs, with its beginning and its end."""
    run = Running(stack, arguments)
    status = run.wait()
    assert status == 0, run.output
    return [0.0, *run.times, time.monotonic() - run.began]


def moment(times: Sequence[float], number: int, count: int) -> Moment:
    """The moment number `number` of `count`: somewhere, but always the same, in its share of the measured time."""
    at = times[-1] * (number + random.Random(number).random()) / count
    line = max(index for index, when in enumerate(times[:-1]) if when <= at)
    gap = times[line + 1] - times[line]
    return Moment(line, (at - times[line]) / gap if gap else 0.0)


def kill_at(stack: LightStack, run: Running, victim: str, moment: Moment, times: Sequence[float]) -> bool:
    """Waits for the moment, then kills; False when there was nothing left to kill."""
    run.wait_for_lines(moment.lines)
    gap = times[moment.lines + 1] - times[moment.lines]
    time.sleep(moment.part * gap)
    return kill(stack, run, victim)


def kill(stack: LightStack, run: Running, victim: str) -> bool:
    """Kills now, with a signal nobody can answer; False when there was nothing to kill."""
    if victim == "task":
        alive = run.process.poll() is None
        run.process.kill()
        return alive
    if victim == "client":
        return kill_clients(stack)
    if victim == "server":
        return kill_server(stack)
    stack.docker("kill", stack.container("postgres"), check=False)
    return run.process.poll() is None


def kill_clients(stack: LightStack) -> bool:
    """Kills every client program of Postgres in sidecar and helper containers."""
    places = [*stack.one_offs(), stack.container("postgres-backup")]
    return any(
        "killed" in stack.docker("exec", place, "bash", "-c", KILL_CLIENTS, check=False) for place in places
    )


def kill_server(stack: LightStack) -> bool:
    """Kills the postmaster, which nobody inside its container may."""
    name = stack.container("postgres")
    number = int(stack.docker("inspect", "--format", "{{.State.Pid}}", name).strip() or 0)
    if not number:
        return False
    try:
        os.kill(number, signal.SIGKILL)
    except PermissionError:
        image = stack.docker("inspect", "--format", "{{.Image}}", name).strip()
        stack.docker(
            "run",
            "--rm",
            "--pid=host",
            "--user=0",
            "--entrypoint=kill",
            image,
            "-9",
            str(number),
            check=False,
        )
    except ProcessLookupError:
        return False
    return True
