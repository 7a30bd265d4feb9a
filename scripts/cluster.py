"""The guard of the database's files: no server of another major is put before them, and where one was, it is told.

The server itself refuses files of another major and touches none; but a container that replaces a running one to find
that out has taken the application down.
"""

from __future__ import annotations

from scripts.compose import Compose
from scripts.errors import ExitCode, StackError

SERVICE, VOLUME = "postgres", "postgres-data"
ANSWER_SECONDS = 60.0


def require_not_replaced(compose: Compose) -> None:
    """Raise StackError when the next start would replace the running server by one of another major."""
    running = [
        each.id
        for each in compose.engine.containers(compose.project)
        if each.service == SERVICE and not each.oneoff and each.state == "running"
    ]
    if not running:
        return
    now = _ask(compose, "docker", "inspect", "--format", "{{.Image}}", running[0])
    if now and now != _ask(compose, "docker", "image", "inspect", "--format", "{{.Id}}", image(compose)):
        require_same_major(compose)


def require_same_major(compose: Compose) -> None:
    """Raise StackError when files and image are of two majors; silent where there are no files or none can tell."""
    service = compose.model["services"].get(SERVICE) or {}
    volume = ((compose.model.get("volumes") or {}).get(VOLUME) or {}).get("name", "")
    if not service or volume not in compose.engine.volumes(compose.project):
        return
    of_image = _ask(
        compose, "docker", "image", "inspect", "--format", "{{range .Config.Env}}{{println .}}{{end}}", image(compose)
    )  # fmt: skip
    majors = [line.removeprefix("PG_MAJOR=") for line in of_image.split() if line.startswith("PG_MAJOR=")]
    of_files = _ask(
        compose, "docker", "run", "--rm", "--network", "none", "--volume", f"{volume}:/files:ro", "--entrypoint", "cat",
        image(compose), "/files/PG_VERSION",
    )  # fmt: skip
    if majors and of_files and majors[0] != of_files:
        raise StackError(
            f"the database's files (volume {volume}) are PostgreSQL {of_files}'s and the image is {majors[0]}",
            f"set POSTGRES_IMAGE in .env back to one of major {of_files}, then `invoke compose-up --build`; another "
            "major needs a new volume: `invoke db-backup` now, then db-restore in a second stack (README)",
            ExitCode.NOT_READY,
        )


def image(compose: Compose) -> str:
    """The image that the database is started from."""
    return str(compose.model["services"][SERVICE].get("image") or f"{compose.project}-{SERVICE}")


def _ask(compose: Compose, *command: str) -> str:
    result = compose.runner.capture(command, timeout=ANSWER_SECONDS)
    return result.stdout.strip() if result.ok else ""
