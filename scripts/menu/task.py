"""Make a function a task: its place on the menu, help for its flags, problems as two lines and a status."""

from __future__ import annotations

import functools
import inspect
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import Task

from scripts.base.errors import ExitCode, StackError, report, report_interrupt

if TYPE_CHECKING:
    from scripts.base.console import Console
    from scripts.engine.compose import Compose

ROOT = Path(__file__).resolve().parents[2]
Parameters = ParamSpec("Parameters")

namespace = Collection()
# The command of the task that runs: one a process.
_given: list[str] = []

# Help for flags that mean the same in every task that does not say otherwise.
HELP = {
    "dry_run": "Print the plan, with sizes and estimated seconds; change nothing.",
    "json": "Print one JSON document on stdout and nothing else there.",
    "profile": "Profile to switch on instead of COMPOSE_PROFILES in .env (geo, push, legacy; core: none). Repeatable.",
    "quiesce": "Stop the services that write to the database before the switchover, start them after it.",
    "services": "Only these services, separated by commas or repeated. Default: all.",
    "yes": "Do it without asking; needed where nobody is there to answer.",
}
# What Ctrl-C leaves behind, shared by several tasks.
LOOKED = "it only looks, so nothing was changed"


def task(
    *,
    interrupted: str,
    help: dict[str, str] | None = None,  # noqa: A002 - as in Invoke's own decorator
) -> Callable[[Callable[Parameters, None]], Callable[Parameters, None]]:
    """Put a function on the menu, with help for its flags. interrupted: what is true after Ctrl-C.

    Its problems end in two lines and an exit status, never in a traceback.
    """

    def decorate(body: Callable[Parameters, None]) -> Callable[Parameters, None]:
        name = body.__name__.replace("_", "-")
        flags = inspect.signature(body).parameters

        @functools.wraps(body)
        def reported(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
            _given[:] = ["invoke", name, *given_flags(body, *args, **kwargs)]
            try:
                body(*args, **kwargs)
            except StackError as error:
                if kwargs.get("json"):
                    console_for(as_json=True).document({"ok": False, "error": error.document()})
                raise SystemExit(report(error)) from None
            except KeyboardInterrupt:
                raise SystemExit(report_interrupt(name, interrupted, shlex.join(_given))) from None
            except BrokenPipeError:
                # Whoever read our output (`head`, a pager) has had enough; what was said after that is lost.
                os._exit(ExitCode.BROKEN_PIPE)

        entry: Task[Callable[Parameters, None]] = Task(
            reported,
            help={flag: text for flag, text in {**HELP, **(help or {})}.items() if flag in flags},
            iterable=[flag for flag in flags if flags[flag].annotation == "list[str]"],
            # Automatic ones take the first letter that is free: -d would be another flag in each task.
            auto_shortflags=False,
        )
        namespace.add_task(entry, name=name)
        return reported

    return decorate


def stack_for(c: Context, *, json: bool = False, profile: Sequence[str] = ()) -> tuple[Compose, Console]:
    """Return the stack of this checkout, with the profiles that were asked for, and the console."""
    from scripts.engine.compose import Compose
    from scripts.engine.runner import Runner
    from scripts.prepare import overlays

    runner = Runner(ROOT, verbose=bool(c.config.run.echo), dry=bool(c.config.run.dry))
    compose = Compose(ROOT, runner, profiles=split_names(profile))
    overlays.follow(compose)
    return compose, console_for(as_json=json)


def split_names(values: Sequence[str]) -> list[str]:
    """`--services=a,b --services=c` as [a, b, c]."""
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


def console_for(*, as_json: bool) -> Console:
    """Return the console, for people or for programs."""
    from scripts.base.console import Console

    return Console(as_json=as_json, command=_given)


def given_flags(body: Callable[..., None], *args: object, **kwargs: object) -> list[str]:
    """Return the flags of a task's call that are not as they are by default, as they are typed."""
    signature = inspect.signature(body)
    bound = signature.bind(*args, **kwargs)
    flags: list[str] = []
    for name, value in list(bound.arguments.items())[1:]:
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            flags.append(flag)
        elif isinstance(value, list):
            flags += [f"{flag}={each}" for each in value]
        elif value is not False and value != signature.parameters[name].default:
            flags.append(f"{flag}={value}")
    return flags


def require_well(well: bool) -> None:
    """End the task with the exit status for "not ready" when what it has told is not as it should be."""
    if not well:
        raise Exit(code=ExitCode.NOT_READY)


def finish(status: int) -> None:
    """End the task with the exit status of the program it handed the terminal to."""
    if status:
        raise Exit(code=status)
