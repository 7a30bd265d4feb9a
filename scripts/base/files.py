"""Files that are written whole or not at all, and are on the disk when the call returns."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from scripts.base.errors import fail

FOLDER_MODE, STATE_MODE = 0o700, 0o644


def replace(path: Path, text: str, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Write the file whole or not at all, with this mode; raise OSError when that fails.

    owner: uid and gid it gets; only root can give files away, for others it is ignored.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            if owner is not None and os.getuid() == 0:
                os.fchown(file.fileno(), *owner)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    sync_folder(path.parent)


def write(path: Path, text: str, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Write the file as `replace` does, in a folder that is made where it is missing. Raise StackError (failed)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, text, mode, owner)
    except OSError as error:
        fail(
            f"{path} cannot be written: {error.strerror}",
            f"make the folder your own and see that the disk has room: {path.parent}",
        )


def replace_if_changed(path: Path, text: str, mode: int) -> bool:
    """Write the file only when text or mode differ; return whether they did."""
    with contextlib.suppress(FileNotFoundError, UnicodeDecodeError):
        if path.read_text(encoding="utf-8") == text and path.stat().st_mode & 0o777 == mode:
            return False
    replace(path, text, mode)
    return True


def write_state(path: Path, state: object) -> None:
    """Write what a task remembers for the next one, in a folder that is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_if_changed(path, json.dumps(state, sort_keys=True) + "\n", STATE_MODE)


def read_state(path: Path) -> dict[str, Any]:
    """Return what `write_state` wrote; empty when there is nothing that can be read."""
    with contextlib.suppress(OSError, ValueError):
        state = json.loads(path.read_text(encoding="utf-8"))
        return state if isinstance(state, dict) else {}
    return {}


def private_folder(path: Path, owner: tuple[int, int] | None = None) -> None:
    """Make the folder, for its owner only; owner as in `replace`."""
    path.mkdir(parents=True, exist_ok=True)
    if path.stat().st_mode & 0o777 != FOLDER_MODE:
        path.chmod(FOLDER_MODE)
    if owner is not None and os.getuid() == 0:
        os.chown(path, *owner)
    sync_folder(path.parent)


def allows(path: Path, uid: int, groups: Collection[int], wanted: int) -> bool:
    """Return whether owner, group and mode of a path give a user these rights (as in a mode). Raise OSError."""
    status = path.stat()
    shift = 6 if status.st_uid == uid else 3 if status.st_gid in groups else 0
    return status.st_mode >> shift & wanted == wanted


def sync_folder(path: Path) -> None:
    """Have the names in the folder written to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
