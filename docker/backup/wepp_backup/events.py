"""What the program says: JSON lines for the tasks on the host, plain lines for people and logs.

A line is an object with a `kind`: `progress` (phase, done and total in bytes or pieces), `message` (text), `left` (what
stays behind for the caller to see to), `lost` (the server went away and is waited for), `ready`
(what was prepared; a word on standard input is awaited), `result` (the answer, the last line of a run that went well)
or `problem` (what, fix, exit: the status that the program ends with).
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

# Exit codes, the same as those of the tasks.
BUG, USAGE, UNKNOWN, REFUSED, FAILED = 1, 2, 3, 4, 5
# A fast phase must not write more lines than anybody reads.
PROGRESS_PAUSE = 0.2  # s
LOST_PAUSE = 2.0  # s


class Problem(Exception):  # noqa: N818 - an event of that name tells it
    """Something that a person can fix: what happened and how to fix it, one line each, and the exit code."""

    def __init__(self, what: str, fix: str, exit_code: int) -> None:
        super().__init__(what)
        self.what = " ".join(what.split())
        self.fix = " ".join(fix.split())
        self.exit_code = exit_code

    def midway(self) -> Problem:
        """Return the problem as one of work that had begun: a refusal is a failure then."""
        return Problem(self.what, self.fix, FAILED if self.exit_code == REFUSED else self.exit_code)


def refuse(what: str, fix: str) -> Problem:
    """Return the problem of something that is not done; nothing was changed."""
    return Problem(what, fix, REFUSED)


def fail(what: str, fix: str) -> Problem:
    """Return the problem of something that went wrong on the way; everything is as it was before."""
    return Problem(what, fix, FAILED)


def usage(what: str, fix: str) -> Problem:
    """Return the problem of a flag, word or setting that makes no sense."""
    return Problem(what, fix, USAGE)


def unknown(what: str, fix: str) -> Problem:
    """Return the problem of something that may or may not have been done: only a server that is away knows."""
    return Problem(what, fix, UNKNOWN)


class Reporter:
    """Writes events to `out`, as JSON lines or as lines for people. Threads may share it."""

    def __init__(self, out: TextIO | None = None, *, as_json: bool) -> None:
        self.out = out or sys.stdout
        self.as_json = as_json
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def progress(self, phase: str, done: int, total: int) -> None:
        """Say how far a phase has come, in bytes or pieces; total 0 when nobody knows."""
        ended = total > 0 and done >= total
        if self.as_json and (ended or self._is_due(phase, PROGRESS_PAUSE)):
            self._write({"kind": "progress", "phase": phase, "done": done, "total": total}, "")

    def message(self, text: str) -> None:
        """Say something that a person may want to know."""
        self._write({"kind": "message", "text": text}, text)

    def left(self, text: str) -> None:
        """Say what stays behind because it could not be undone now."""
        self._write({"kind": "left", "text": text}, text)

    def lost(self) -> None:
        """Say that the server went away and is waited for; to be called as often as it is missed."""
        # Repeated, for the engine may notice the end of the server's container later than this program does.
        if self._is_due("lost", LOST_PAUSE):
            text = "the database server went away; waiting for it"
            self._write({"kind": "lost", "text": text}, text)

    def ready(self, prepared: Any) -> None:
        """Say that all is prepared and a word is awaited."""
        self._write({"kind": "ready", "prepared": prepared}, "ready")

    def result(self, answer: Any, text: str) -> None:
        """Say the answer of the command."""
        self._write({"kind": "result", "answer": answer}, text)

    def problem(self, problem: Problem) -> None:
        """Say why the command did not do what it was asked."""
        self._write(
            {"kind": "problem", "what": problem.what, "fix": problem.fix, "exit": problem.exit_code},
            f"error: {problem.what}\n  fix: {problem.fix}",
        )

    def _is_due(self, what: str, pause: float) -> bool:
        with self._lock:
            now = time.monotonic()
            due = now - self._last.get(what, float("-inf")) >= pause
            if due:
                self._last[what] = now
            return due

    def _write(self, fields: Mapping[str, Any], text: str) -> None:
        line = json.dumps(fields) if self.as_json else f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}"
        with self._lock:
            try:
                print(line, file=self.out, flush=True)
            except (OSError, ValueError):
                # Whoever listened has left; the work ends by its own rules, which standard input decides.
                self.out = open("/dev/null", "w")  # noqa: SIM115, PTH123 - stays open for the rest of the run
