"""Owns where a dump lies and how the program at the database gets to see it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts.compose import Compose
from scripts.errors import ExitCode, StackError
from scripts.sidecar import BACKUPS, SERVICE

LATEST = "latest"
# The folder inside the container that a dump from elsewhere is shown in, read-only.
GIVEN = "/given"


@dataclass(frozen=True)
class Dump:
    """A dump that was named by the user.

    argument: its name for the program. options: flags of `docker compose run` that show it there. shown: its name
    for people.
    """

    argument: str
    options: tuple[str, ...]
    shown: str
    folder: str = ""

    def translate(self, text: str) -> str:
        """A message of the program with the user's own paths."""
        return text.replace(f"{GIVEN}/", f"{self.folder}/") if self.folder else text


def backups_folder(compose: Compose) -> Path:
    """Folder of the backups on this machine, where the stack keeps them on it (see `backups_are_here`)."""
    return compose.data_dir / "postgres-backups"


def backups_are_here(compose: Compose) -> bool:
    """False where the backups lie in a volume of the engine, as in production."""
    sidecar = compose.model["services"].get(SERVICE) or {}
    return not any(
        mount["target"] == BACKUPS and mount["type"] == "volume" for mount in sidecar.get("volumes") or ()
    )


def locate(
    compose: Compose, named: str, *, here: Path | None = None, uid: Callable[[], int] = os.getuid
) -> Dump:
    """The dump that `--dump=` names: `latest`, a name among the backups, or a path from where the caller stands.

    Raises StackError when it is no dump's name, is not there or may not be read.
    """
    if not named:
        raise StackError(
            "no dump is named",
            "say --dump=latest, or a name that `invoke db-backups` lists, or a path",
            ExitCode.USAGE,
        )
    folder = backups_folder(compose)
    path = (here or Path.cwd()) / Path(named).expanduser()
    if named == LATEST or ("/" not in named and not path.exists()):
        return Dump(named, (), named)
    path = Path(os.path.normpath(path))
    if path.parent == folder and backups_are_here(compose):
        return Dump(path.name, (), str(path))
    return _elsewhere(path.resolve() if path.exists() else path, named, uid)


def _elsewhere(path: Path, named: str, uid: Callable[[], int]) -> Dump:
    if not path.exists():
        raise StackError(
            f"there is no dump {named}", "`invoke db-backups` lists the dumps there are", ExitCode.REFUSED
        )
    if not os.access(path, os.R_OK):
        raise StackError(
            f"{path} may not be read by you",
            "let its owner give you the right to: chmod, chown",
            ExitCode.REFUSED,
        )
    if ":" in str(path.parent):
        raise StackError(
            f"{path.parent} has a colon in its name, which no container can be given",
            "move the dump to a folder without one",
            ExitCode.REFUSED,
        )
    options = ["--volume", f"{path.parent}:{GIVEN}:ro"]
    if uid() == 0:
        # Root's own files are readable by nobody else, and the container's root has no power over others' files.
        owner = path.stat()
        options += ["--user", f"{owner.st_uid}:{owner.st_gid}"]
    else:
        options += ["--user", f"{uid()}:{os.getgid()}"]
    return Dump(f"{GIVEN}/{path.name}", tuple(options), str(path), str(path.parent))
