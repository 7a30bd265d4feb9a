"""The question before something is deleted or replaced; silence is a no."""

from __future__ import annotations

from scripts.base.console import Console
from scripts.base.errors import ExitCode, StackError


def require(console: Console, project: str, yes: str, *, question: str, fix: str) -> None:
    """Return when `yes`, or what somebody at the terminal types, is the project's name.

    question: ends the sentence "type the project's name to ...". fix: the command that says yes in a script.
    Raise StackError (refused, nothing changed) for another name, and where nobody is there to answer.
    """
    if yes:
        if yes != project:
            raise StackError(
                f"--yes={yes} is not the name of this project ({project}); nothing was changed",
                fix,
                ExitCode.REFUSED,
            )
        return
    if not console.can_ask:
        raise StackError("nobody is here to confirm that; nothing was changed", fix, ExitCode.REFUSED)
    if console.ask(f"type the project's name to {question}: ") != project:
        raise StackError("that is not the project's name; nothing was changed", fix, ExitCode.REFUSED)


def require_yes(console: Console, yes: bool, question: str, command: str) -> None:
    """Return when `yes` was said on the command line or is typed now: for what can be undone, but not by itself.

    command: the one that says yes in a script. Raise StackError (refused, nothing changed).
    """
    if yes:
        return
    fix = f"to do it: {command}"
    if not console.can_ask:
        raise StackError("nobody is here to confirm that; nothing was changed", fix, ExitCode.REFUSED)
    if console.ask(f"{question}\ntype yes to do it: ").lower() not in ("yes", "y"):
        raise StackError("not confirmed; nothing was changed", fix, ExitCode.REFUSED)
