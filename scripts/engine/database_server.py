"""The stack's own database server: start it, restart it when it was killed, tell a full disk, require its files' major.

The server itself refuses files of another major and touches none; but a container that replaces a running one to find
that out has taken the application down.
"""

from __future__ import annotations

import re

from scripts.base.console import Console
from scripts.base.errors import StackError
from scripts.engine.compose import Compose
from scripts.engine.container import Container

DATABASE, VOLUME = "postgres", "postgres-data"
ANSWER_SECONDS = 60.0
# Prints the image's major, where it says it, and that of the files.
BOTH_MAJORS = "echo $PG_MAJOR $(cat /files/PG_VERSION)"
# What the system says of a full disk, or the server itself where a file took only a part of a page (md.c).
STOPPED_BY_FULL_DISK = re.compile(
    r"(?:PANIC|FATAL): +(.*(?:No space left on device|quota exceeded|wrote only \d+ of \d+ bytes).*)"
)


def is_external(compose: Compose) -> bool:
    """Return True when the database is at a server that is not the stack's."""
    return compose.setting("POSTGRES_HOST", DATABASE) != DATABASE


def container(compose: Compose) -> Container | None:
    """Return the server's container, running or not; None where there is none or the server is external."""
    return None if is_external(compose) else next(iter(compose.containers([DATABASE])), None)


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
        require_same_major(compose)
        raise StackError(
            "the database does not start",
            f"see `invoke compose-logs --services {DATABASE}` and `invoke doctor`",
        )


def restart_if_killed(compose: Compose) -> None:
    """Start the server's container again when a person killed it: the engine does not do that."""
    found = container(compose)
    if found and found.state != "running":
        compose.engine.change("start", found.name)


def full_disk(compose: Compose, seconds: int) -> str:
    """Return what the server said when a full disk stopped it within the last `seconds`; empty when none did.

    It cannot start again before there is room, and its clients only hear that it is gone.
    """
    found = container(compose)
    log = compose.engine.log(found.id, "--since", f"{seconds}s") if found else []
    lines = STOPPED_BY_FULL_DISK.findall("\n".join(line for _, line in log))
    return lines[-1].strip() if lines else ""


def require_not_replaced(compose: Compose) -> None:
    """Raise StackError when the next start would replace the running server by one of another major."""
    running = compose.containers([DATABASE], running=True)
    if not running:
        return
    now = _ask(compose, "docker", "inspect", "--format", "{{.Image}}", running[0].id)
    if now and now != _ask(compose, "docker", "image", "inspect", "--format", "{{.Id}}", image(compose)):
        require_same_major(compose)


def require_same_major(compose: Compose) -> None:
    """Raise StackError when files and image are of two majors; silent where there are no files or none can tell."""
    service = compose.model["services"].get(DATABASE) or {}
    volume = ((compose.model.get("volumes") or {}).get(VOLUME) or {}).get("name", "")
    if not service or volume not in compose.engine.volumes(compose.project):
        return
    told = _ask(
        compose, "docker", "run", "--rm", "--network", "none", "--volume", f"{volume}:/files:ro", "--entrypoint", "sh",
        image(compose), "-c", BOTH_MAJORS,
    ).split()  # fmt: skip
    if len(set(told)) == 2:
        of_image, of_files = told
        raise StackError(
            f"the database's files (volume {volume}) are PostgreSQL {of_files}'s and the image is {of_image}",
            f"set POSTGRES_IMAGE in .env back to one of major {of_files}, then `invoke compose-up --build`; another "
            "major needs a new volume: `invoke db-backup` now, then db-restore in a second stack (README)",
        )


def image(compose: Compose) -> str:
    """Return the image that the database is started from."""
    return str(compose.model["services"][DATABASE].get("image") or f"{compose.project}-{DATABASE}")


def _ask(compose: Compose, *command: str) -> str:
    result = compose.runner.capture(command, timeout=ANSWER_SECONDS)
    return result.stdout.strip() if result.ok else ""
