"""Sidecars of a test's own beside the stack's, and what they leave in their folders."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.database.stack import LightStack

SIDECAR = "postgres-backup"


def until(wanted: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """The first true answer of `wanted`; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := wanted()):
        assert time.monotonic() < deadline, f"{what} did not come in {seconds:g} s"
        time.sleep(0.1)
    return answer


def dumps(folder: Path) -> list[str]:
    """Names of the dumps in a folder, the oldest first."""
    return sorted(each.name for each in folder.glob("*.dump"))


def companions_of(folder: Path, *beginnings: str) -> list[str]:
    """Names of what lies in a folder and begins with one of these."""
    return [each.name for each in folder.iterdir() if each.name.startswith(beginnings)]


@contextmanager
def sidecar(
    stack: LightStack, name: str, backups: Path | str, *command: str, **variables: object
) -> Iterator[str]:
    """Another sidecar beside the stack's own, with a folder or volume of its own; gone afterwards.

    It makes no restore tests unless the variables say so: they would get in each other's way.
    """
    container = f"{stack.name}-{name}"
    variables = {"BACKUP_DRILL_INTERVAL_SECONDS": 0, **variables}
    options = [f"--env={key}={value}" for key, value in variables.items()]
    stack.compose(
        "run", "--detach", "--no-deps", "--name", container, "--volume", f"{backups}:/backups", *options,
        SIDECAR, *(command or ("wepp-backup", "keep")),
    )  # fmt: skip
    try:
        yield container
    finally:
        stack.docker("rm", "--force", "--volumes", container)


def health(container: str) -> tuple[int, str]:
    """Exit status and words of the sidecar's health check."""
    done = subprocess.run(
        ["docker", "exec", container, "wepp-backup", "health"], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def saying(container: str, word: str) -> tuple[int, str]:
    """The health check's answer once it holds a word."""

    def answer() -> tuple[int, str] | None:
        status, words = health(container)
        return (status, words) if word in words else None

    said: tuple[int, str] = until(answer, f"{word!r} in the health check")
    return said
