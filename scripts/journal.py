"""Owns the note of what a database task has under way, so that a task that dies can be finished by another process.

One file a project in the data folder, mode 0600, written before the first container is touched and removed when
all is back. It is replaced whole and synced: a reader finds the old note, the new one or none.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scripts import envfile
from scripts.compose import Compose
from scripts.container import Container
from scripts.errors import StackError

FORMAT = 1


@dataclass(frozen=True)
class Kept:
    """One container that ran when the task began and shall run when it has ended.

    ill: it was not healthy then; nobody waits for it to become better than it was.
    """

    id: str
    name: str
    service: str
    ill: bool = False

    @classmethod
    def of(cls, container: Container) -> Kept:
        """What is remembered of a container."""
        return cls(container.id, container.name, container.service, container.health == "unhealthy")


@dataclass(frozen=True)
class Rotation:
    """A change of the database's password: whose, from what, to what. settled: the new one holds, nothing to undo."""

    role: str
    old: str
    new: str
    settled: bool = False

    def __repr__(self) -> str:
        # Tracebacks and failing tests show representations.
        return f"Rotation({self.role!r}, settled={self.settled})"


@dataclass(frozen=True)
class Move:
    """A move under way: where its source is and as whom to log in there, as the flags said.

    A password stays in its file. live: something of the move may be on the source. before: number of the stack's
    database (0: there is none) once a swap is near.
    """

    host: str
    port: int
    database: str
    user: str
    password_file: str
    socket_dir: str
    live: bool
    before: int | None = None


@dataclass(frozen=True)
class Entry:
    """What is under way.

    task: name on the menu. process: its id. began: seconds since the epoch. running: what ran before.
    stopping: ids of containers that were asked to stop, so that one may still be about to.
    """

    task: str
    process: int
    began: float
    running: tuple[Kept, ...] = ()
    stopping: tuple[str, ...] = ()
    rotation: Rotation | None = None
    move: Move | None = None


def path_of(compose: Compose) -> Path:
    """Where the note lies."""
    return compose.data_dir / f".{compose.project}.journal"


def write(compose: Compose, entry: Entry) -> None:
    """Replaces the note; it is on the disk when this returns. Raises StackError."""
    path = path_of(compose)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        envfile.write_private(path, json.dumps({"format": FORMAT, **asdict(entry)}) + "\n")
        _sync_folder(path.parent)
    except OSError as error:
        raise StackError(
            f"{path} cannot be written: {error.strerror}",
            f"make the folder your own and see that the disk has room: {path.parent}",
        ) from error


def read(compose: Compose) -> Entry | None:
    """The note; None when nothing is under way. Raises StackError for one that says nothing."""
    path = path_of(compose)
    try:
        return _entry(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StackError(
            f"{path} cannot be read: {error.strerror}", f"make it your own: sudo chown {os.getuid()} {path}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise StackError(
            f"{path} is not a note of this version's",
            f"see with `invoke compose-status` that all runs, then delete it: rm {path}",
        ) from error


def remove(compose: Compose) -> None:
    """Nothing is under way any more."""
    path = path_of(compose)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        _sync_folder(path.parent)


def _entry(document: Mapping[str, Any]) -> Entry:
    if document["format"] != FORMAT:
        raise ValueError(document["format"])
    rotation, move = document["rotation"], document.get("move")
    return Entry(
        task=document["task"],
        process=document["process"],
        began=document["began"],
        running=tuple(Kept(**each) for each in document["running"]),
        stopping=tuple(document["stopping"]),
        rotation=Rotation(**rotation) if rotation else None,
        move=Move(**move) if move else None,
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
