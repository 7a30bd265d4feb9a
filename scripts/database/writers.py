"""The services that write to the database, stopped for a switchover where --quiesce asks for that.

What is stopped is written down first, so that whatever kills the task, the next one or `compose-up` starts it again.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from scripts.base import files
from scripts.base.console import Console
from scripts.base.errors import ExitCode, StackError
from scripts.engine.catalogue import Catalogue
from scripts.engine.compose import Compose
from scripts.engine.database_server import DATABASE

# Lists the containers that were stopped, in the stack's data folder.
STOPPED = "stopped-writers"
# What a worker gets to finish its job; what takes longer is queued again.
STOP_SECONDS = 10


@contextlib.contextmanager
def stopped(compose: Compose, console: Console) -> Iterator[None]:
    """Stop the running services that write to the database; start them again when the block is left, however it is.

    Raise StackError when they cannot be stopped or started. To be entered with the project's lock held.
    """
    services = Catalogue.of(compose.model).services.values()
    writers = {each.name for each in services if each.writes == DATABASE and not each.one_shot}
    names = [each.name for each in compose.containers(writers, running=True)]
    if not names or compose.runner.dry:
        yield
        return
    files.write(compose.data_dir / STOPPED, "\n".join(names), 0o600)
    try:
        console.say(f"stopping {', '.join(names)}")
        if problem := compose.engine.stop(names, STOP_SECONDS):
            raise StackError(
                f"not stopped: {', '.join(names)} ({problem})",
                "see `invoke compose-status`; nothing was changed in the database",
                ExitCode.FAILED,
            )
        yield
    finally:
        with uninterrupted(console):
            start_again(compose, console)


def start_again(compose: Compose, console: Console) -> None:
    """Start what a task stopped and did not start again; nothing where none is written down. Raise StackError."""
    file = compose.data_dir / STOPPED
    if compose.runner.dry or not file.exists():
        return
    there = [each.name for each in compose.engine.containers(compose.project)]
    names = [name for name in file.read_text(encoding="utf-8").splitlines() if name in there]
    if names:
        console.say(f"starting {', '.join(names)}")
        # One that runs still may be under a stop that the engine goes on with though its caller was killed: a restart
        # waits for that.
        if problem := compose.engine.restart(names, STOP_SECONDS):
            raise StackError(
                f"not started again: {', '.join(names)} ({problem})",
                "see `invoke compose-logs`, then `invoke compose-up`",
                ExitCode.FAILED,
            )
    file.unlink()


@contextlib.contextmanager
def uninterrupted(console: Console) -> Iterator[None]:
    """Answer Ctrl-C with a remark while the block runs: what it does must not stay half done."""
    earlier = signal.signal(signal.SIGINT, lambda *_: console.say("one moment: this has to be finished"))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, earlier)
