"""A task under way: what it says line by line, when it said it, and how it ended."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable

from tests.engine.stack import ROOT, Stack

LINE_SECONDS = 120.0
END_SECONDS = 240.0
# A killed task's helpers may hold its pipe a little longer.
TAIL_SECONDS = 5.0
LOOK_SECONDS = 0.2


class Running:
    """A task that runs, and the lines it has written, with the time of each. variables: more for its environment."""

    def __init__(self, stack: Stack, *arguments: str, **variables: str) -> None:
        self.arguments = arguments
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            ["invoke", *arguments], cwd=ROOT,
            env={**stack.task_environment, "PYTHONUNBUFFERED": "1", **variables},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        self.lines: list[str] = []
        self.times: list[float] = []
        self._over = False
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            with self._more:
                self.lines.append(line.rstrip("\n"))
                self.times.append(time.monotonic() - self.began)
                self._more.notify_all()
        with self._more:
            self._over = True
            self._more.notify_all()

    @property
    def alive(self) -> bool:
        """True until it has ended."""
        return self.process.poll() is None

    def wait_for_lines(self, count: int) -> None:
        """Returns when so many lines are there, or there will be no more."""
        self._wait_until(lambda: len(self.lines) >= count)

    def wait_for(self, words: str) -> str:
        """The first line that holds the words; fails when the task ends without one."""
        self._wait_until(lambda: any(words in line for line in self.lines))
        found = [line for line in self.lines if words in line]
        assert found, self.output
        return found[0]

    def _wait_until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LINE_SECONDS
        with self._more:
            while not true() and self.alive and not self._over and time.monotonic() < deadline:
                self._more.wait(LOOK_SECONDS)
        if not self.alive:
            self._reader.join(TAIL_SECONDS)

    def wait(self) -> int:
        """Its exit status; fails when it does not end."""
        status = self.process.wait(END_SECONDS)
        self._reader.join(TAIL_SECONDS)
        return status

    @property
    def output(self) -> str:
        """All it said so far."""
        return "\n".join(self.lines)
