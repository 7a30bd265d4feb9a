"""The one exception for problems that the user can act on, its exit codes and how it is printed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
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
    BROKEN_PIPE = 141


class StackError(Exception):
    """A problem the user can fix.

    what: one line saying what is wrong. fix: one line saying what to do about it.
    exit_code: see ExitCode. details: further lines shown above those two (logs, health output). facts: what a program
    wants to know besides, members of the JSON answer's error.
    """

    def __init__(
        self,
        what: str,
        fix: str,
        exit_code: ExitCode = ExitCode.NOT_READY,
        *,
        details: str = "",
        facts: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(what)
        self.what = one_line(what)
        self.fix = one_line(fix)
        self.exit_code = exit_code
        self.details = details
        self.facts = dict(facts or {})

    def document(self) -> dict[str, object]:
        """Return the error as the `error` member of a JSON answer."""
        return {"what": self.what, "fix": self.fix, "exit_code": int(self.exit_code), **self.facts}


def one_line(text: str) -> str:
    """Fold line breaks and runs of blanks, so that a message stays one line in a log or a mail from cron."""
    return " ".join(text.split())


def report(error: StackError, stream: TextIO | None = None) -> int:
    """Print the error's details, what and fix to `stream` (stderr); return the exit status."""
    stream = stream or sys.stderr
    if error.details:
        print(error.details.rstrip("\n"), file=stream)
    print(f"error: {error.what}\n  fix: {error.fix}", file=stream)
    return int(error.exit_code)


def report_interrupt(task: str, kept: str, again: str) -> int:
    """Say what Ctrl-C leaves behind (kept: as a sentence; again: the whole command); return the exit status."""
    print(
        f"\nstopped by Ctrl-C: {task} did not finish; {kept}\n  fix: run `{again}` again",
        file=sys.stderr,
    )
    return int(ExitCode.INTERRUPTED)


def usage(what: str, fix: str) -> NoReturn:
    """Raise the error of a flag that makes no sense."""
    raise StackError(what, fix, ExitCode.USAGE)


def refuse(what: str, fix: str) -> NoReturn:
    """Raise the error of what is refused before anything is changed."""
    raise StackError(what, fix, ExitCode.REFUSED)


def fail(what: str, fix: str, *, details: str = "", facts: Mapping[str, object] | None = None) -> NoReturn:
    """Raise the error of what was tried and did not succeed."""
    raise StackError(what, fix, ExitCode.FAILED, details=details, facts=facts)
