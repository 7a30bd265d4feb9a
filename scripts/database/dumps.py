"""Where a dump lies and how the program at the database gets to see it."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import product
from pathlib import Path

from scripts.base.errors import refuse, usage
from scripts.engine.compose import Compose
from scripts.engine.sidecar import HOST_FOLDERS, backups_are_here, backups_folder

LATEST = "latest"


def locate(
    compose: Compose, named: str, *, here: Path | None = None, uid: Callable[[], int] = os.getuid
) -> tuple[str, list[str]]:
    """Return the program's name of the dump that `--dump=` names, and flags of `docker compose run` that show it.

    Named is `latest`, a dump among the backups, or a path from `here`. Raise StackError when it is no dump's name, is
    not there or may not be read.
    """
    if not named:
        usage("no dump is named", "say --dump=latest, or a name that `invoke db-backups` lists, or a path")
    path = (here or Path.cwd()) / Path(named).expanduser()
    if named == LATEST or ("/" not in named and not path.exists()):
        return named, []
    path = Path(os.path.normpath(path))
    if path.parent == backups_folder(compose) and backups_are_here(compose):
        return path.name, []
    if not path.exists():
        refuse(f"there is no dump {named}", "`invoke db-backups` lists the dumps there are")
    if not os.access(path, os.R_OK):
        refuse(f"{path} may not be read by you", "let its owner give you the right to: chmod, chown")
    path = path.resolve()
    if ":" in str(path.parent):
        what = f"{path.parent} has a colon in its name, which no container can be given"
        refuse(what, "move the dump to a folder without one")
    user, group = _reader(path, uid())
    volume = f"{path.parent}:{HOST_FOLDERS}{path.parent}:ro"
    return f"{HOST_FOLDERS}{path}", ["--volume", volume, "--user", f"{user}:{group}"]


def _reader(path: Path, uid: int) -> tuple[int, int]:
    """Return user and group that may read the dump in a container, where nobody has root's power over others' files."""
    users, groups = [uid], [os.getgid(), *os.getgroups()]
    if uid == 0:
        file, folder = path.stat(), path.parent.stat()
        users, groups = [file.st_uid, folder.st_uid, 0], [file.st_gid, folder.st_gid, 0]
    candidates = list(product(users, groups))
    return next((each for each in candidates if _may_read(path, *each)), candidates[0])


def _may_read(path: Path, uid: int, gid: int) -> bool:
    # The folder is shown by itself: those above it do not matter there.
    for place, wanted in ((path.parent, 0o1), (path, 0o5 if path.is_dir() else 0o4)):
        status = place.stat()
        shift = 6 if status.st_uid == uid else 3 if status.st_gid == gid else 0
        if (status.st_mode >> shift) & wanted != wanted:
            return False
    return True
