"""Owns a running program that is listened to line by line and answered in between.

The program's input is a pipe that ends with this process, however this process ends: a program that reads it can
tell that whoever asked is gone, and take back what it had begun.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from typing import Protocol

# What a program may still need to take back its work once its input has ended.
END_SECONDS = 60.0
COMPLAINT_LINES = 30


class Conversation(Protocol):
    """What is said to and heard from a running program."""

    def lines(self) -> Iterator[str]:
        """The lines of its standard output, each as soon as it is there, until it closes it."""

    def say(self, word: str) -> None:
        """Sends one line; a program that has ended hears nothing."""

    def end(self) -> tuple[int, str]:
        """Ends its input, waits for it; its exit status and the last lines of its standard error."""


class SystemConversation:
    """A conversation with a child of this process. process: with all three streams as text pipes."""

    def __init__(self, process: subprocess.Popen[str], seconds: float = END_SECONDS) -> None:
        self.process = process
        self.seconds = seconds
        self._errors: deque[str] = deque(maxlen=COMPLAINT_LINES)
        self._listener = threading.Thread(target=self._collect_errors, daemon=True)
        self._listener.start()

    def lines(self) -> Iterator[str]:
        """See Conversation.lines."""
        if self.process.stdout:
            for line in self.process.stdout:
                yield line.rstrip("\n")

    def say(self, word: str) -> None:
        """See Conversation.say."""
        if self.process.stdin:
            with contextlib.suppress(OSError, ValueError):
                self.process.stdin.write(f"{word}\n")
                self.process.stdin.flush()

    def end(self) -> tuple[int, str]:
        """See Conversation.end. A program that does not leave in time is killed with its group."""
        with contextlib.suppress(OSError, ValueError):
            if self.process.stdin:
                self.process.stdin.close()
        drain = threading.Thread(target=self._drain, daemon=True)
        drain.start()
        try:
            self.process.wait(self.seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._listener.join(1)
        return self.process.returncode, "\n".join(self._errors)

    def _drain(self) -> None:
        # A program whose output nobody reads would wait for a reader for ever.
        with contextlib.suppress(OSError, ValueError):
            for _ in self.lines():
                pass

    def _collect_errors(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in self.process.stderr or ():
                self._errors.append(line.rstrip("\n"))
