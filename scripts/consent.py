"""Owns the question before data is deleted: the project's name, typed or given with --yes; silence is a no."""

from __future__ import annotations

from scripts.console import Console
from scripts.errors import ExitCode, StackError


def demand(console: Console, project: str, yes: str, *, question: str, mend: str) -> None:
    """Returns when `yes`, or what somebody at the terminal types, is the project's name.

    question: ends the sentence "type the project's name to ...". mend: the command that says yes in a script.
    Raises StackError (refused, nothing changed) for another name, and where nobody is there to answer.
    """
    if yes:
        if yes != project:
            raise StackError(
                f"--yes={yes} is not the name of this project ({project}); nothing was changed",
                mend,
                ExitCode.REFUSED,
            )
        return
    if not console.can_ask:
        raise StackError("nobody is here to confirm that; nothing was changed", mend, ExitCode.REFUSED)
    if console.ask(f"type the project's name to {question}: ") != project:
        raise StackError("that is not the project's name; nothing was changed", mend, ExitCode.REFUSED)
