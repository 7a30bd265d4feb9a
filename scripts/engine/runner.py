"""What host code may ask of a program that it runs, and how a program answers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Protocol

# What a program may still need to undo its work once its input has ended.
END_SECONDS = 60.0
COMPLAINT_LINES = 30
# Exit statuses of a shell for "not found" and of `timeout` for "too slow"; used for programs that never ran.
NOT_FOUND, TIMED_OUT = 127, 124


@dataclass(frozen=True)
class Result:
    """What a program answered: its exit status and both outputs as text."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str = ""
    stderr: str = ""

    @property
    def ok(self) -> bool:
        """Return True when the program said that all went well."""
        return self.returncode == 0

    @property
    def complaint(self) -> str:
        """The last line that says what went wrong, or the exit status if it kept silent."""
        lines = [line.strip() for line in (self.stderr or self.stdout).splitlines() if line.strip()]
        return lines[-1] if lines else f"exit status {self.returncode}"


class LineProcess:
    """A child process whose output is read line by line and to which lines are sent in between.

    Its input is a pipe that ends with this process, however this process ends: a program that reads it can tell that
    its caller is gone, and undo what it had begun. errors: the file that its standard error goes to.
    """

    def __init__(self, process: subprocess.Popen[str], errors: IO[str], seconds: float = END_SECONDS) -> None:
        self.process = process
        self.errors = errors
        self.seconds = seconds

    def lines(self) -> Iterator[str]:
        """Yield the lines of its output, each as soon as it is there, until it closes it."""
        for line in self.process.stdout or ():
            yield line.rstrip("\n")

    def send(self, line: str) -> None:
        """Send one line; a program that has ended does not get it."""
        if self.process.stdin:
            with contextlib.suppress(OSError, ValueError):
                self.process.stdin.write(f"{line}\n")
                self.process.stdin.flush()

    def end(self) -> tuple[int, str]:
        """End its input and wait for it; return its exit status and the last lines of its standard error.

        A program that does not end in time is killed with its group.
        """
        try:
            # Its output is read to the end: a program that nobody reads would wait for a reader for ever.
            self.process.communicate(timeout=self.seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.errors.seek(0)
        return self.process.returncode, "".join(deque(self.errors, COMPLAINT_LINES)).rstrip("\n")


class Runner(Protocol):
    """The four ways in which host code runs a program. dry: what changes something is only echoed."""

    dry: bool

    def capture(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Result:
        """Ask a question: collects the output, echoes only on request, never raises on a bad status."""

    def stream(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
        attended: bool = False,
    ) -> Result:
        """Change something: echoed; both outputs go line by line to `on_line`, or to stderr as they are.

        attended: the program's input is a pipe that ends with this process, however this process ends, so that it can
        tell that its caller is gone; otherwise its input is empty.
        """

    def attach(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> int:
        """Hand the terminal over; echoed; return the exit status."""

    def line_process(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> LineProcess:
        """Start a program that is listened to and answered; echoed, and run also when dry: it asks before it acts."""
