"""Owns the one exception for problems that the user can act on, its exit codes and how it is printed."""

from __future__ import annotations

import sys
from enum import IntEnum
from typing import NoReturn, TextIO


class ExitCode(IntEnum):
    """What the exit status of a task says."""

    BUG = 1
    USAGE = 2
    NOT_READY = 3
    REFUSED = 4
    FAILED = 5
    INTERRUPTED = 130


class StackError(Exception):
    """A problem the user can mend.

    what: one line saying what is wrong. mend: one line saying what to do about it.
    exit_code: see ExitCode. details: further lines shown above those two (logs, health output).
    """

    def __init__(
        self, what: str, mend: str, exit_code: ExitCode = ExitCode.NOT_READY, *, details: str = ""
    ) -> None:
        super().__init__(what)
        self.what = one_line(what)
        self.mend = one_line(mend)
        self.exit_code = exit_code
        self.details = details

    def document(self) -> dict[str, object]:
        """The error as the `error` member of a JSON answer."""
        return {"what": self.what, "mend": self.mend, "exit_code": int(self.exit_code)}


def one_line(text: str) -> str:
    """Folds line breaks and runs of blanks, so that a message stays one line in a log or a mail from cron."""
    return " ".join(text.split())


def report(error: StackError, stream: TextIO | None = None) -> int:
    """Prints the error's details, what and mend to `stream` (stderr); returns the exit status."""
    stream = stream or sys.stderr
    if error.details:
        print(error.details.rstrip("\n"), file=stream)
    print(f"error: {error.what}\n mend: {error.mend}", file=stream)
    return int(error.exit_code)


def report_interrupt(task: str, stream: TextIO | None = None) -> int:
    """Says what Ctrl-C leaves behind; returns the exit status."""
    print(
        f"\nstopped by Ctrl-C: {task} did not finish, no data was touched\n"
        f" mend: run `invoke {task}` again, it takes up where this one stopped",
        file=stream or sys.stderr,
    )
    return int(ExitCode.INTERRUPTED)


def usage(what: str, mend: str) -> NoReturn:
    """Raises the error of a flag that makes no sense."""
    raise StackError(what, mend, ExitCode.USAGE)
