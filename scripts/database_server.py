"""The stack's own database server: start it, start it again when it was killed, tell when a full disk stopped it."""

from __future__ import annotations

import re

from scripts import cluster
from scripts.compose import Compose
from scripts.console import Console
from scripts.container import Container
from scripts.errors import ExitCode, StackError

DATABASE = cluster.SERVICE
# What the system says of a full disk, or the server itself where a file took only a part of a page (md.c).
STOPPED_BY_FULL_DISK = re.compile(
    r"(?:PANIC|FATAL): +(.*(?:No space left on device|quota exceeded|wrote only \d+ of \d+ bytes).*)"
)


def is_external(compose: Compose) -> bool:
    """Return True when the database is at a server that is not the stack's."""
    return compose.setting("POSTGRES_HOST", DATABASE) != DATABASE


def container(compose: Compose) -> Container | None:
    """Return the server's container, running or not; None where there is none or the server is external."""
    return None if is_external(compose) else compose.engine.service(compose.project, DATABASE)


def is_running(compose: Compose) -> bool:
    """Return True when the stack's own server runs."""
    found = container(compose)
    return bool(found and found.state == "running")


def require_running(compose: Compose, console: Console) -> None:
    """Start the server when it does not run; an external one is left to others. Raise StackError."""
    if is_external(compose) or is_running(compose):
        return
    console.say("the database does not run: starting it")
    if not compose.stream("up", "--detach", "--wait", "--no-deps", DATABASE).ok:
        cluster.require_same_major(compose)
        raise StackError(
            "the database does not start",
            f"see `invoke compose-logs --services {DATABASE}` and `invoke doctor`",
            ExitCode.NOT_READY,
        )


def restart_if_killed(compose: Compose) -> None:
    """Start the server's container again when a person killed it: the engine does not do that."""
    found = container(compose)
    if found and found.state != "running":
        compose.engine.start([found.name])


def full_disk(compose: Compose, seconds: int) -> str:
    """Return what the server said when a full disk stopped it within the last `seconds`; empty when none did.

    It cannot start again before there is room, and its clients only hear that it is gone.
    """
    found = container(compose)
    lines = STOPPED_BY_FULL_DISK.findall(compose.engine.log_since(found.id, seconds)) if found else []
    return lines[-1].strip() if lines else ""
