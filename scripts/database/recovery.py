"""What a task that changes the database begins with: the lock, what a killed task left, a server that runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from scripts.base.console import Console
from scripts.database import credentials, switchover
from scripts.engine import database_server
from scripts.engine.compose import Compose
from scripts.prepare import lock


@contextmanager
def sole_task(compose: Compose, console: Console, *, start_server: bool = True) -> Iterator[None]:
    """Hold the project's lock with nothing left half done and the database's server running. Raise StackError."""
    _ = compose.rendering  # begun beside the questions to the engine
    with lock.sole(compose):
        finish(compose, console)
        if start_server:
            database_server.require_running(compose, console)
        yield


def finish(compose: Compose, console: Console) -> None:
    """Start writers that were stopped, and finish a change of the password. To be called with the project's lock held.

    Raise StackError.
    """
    switchover.start_writers(compose, console)
    credentials.finish(compose, console)
