"""Make this kit's own files readable for the users that containers run as, whatever umask the clone was made with."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from scripts.base.errors import StackError
from scripts.engine.compose import Compose

READ, SEARCH = 0o444, 0o111
# Folders that the user names: what lies in there, and who may read it, is the user's business.
USERS_FOLDERS = (
    "WEPPPY_SRC",
    "WEPPPY_SIBLINGS_DIR",
    "WC1_DIR",
    "GEODATA_DIR",
    "DOCKER_DATA_DIR",
    "SECRETS_DIR",
    "STACK_ENV_FILE",
)


def own_sources(compose: Compose) -> list[Path]:
    """Return what containers get of docker/, by mount or by build, without what the user names."""
    folder = compose.root / "docker"
    named = [compose.setting(key) for key in USERS_FOLDERS]
    theirs = [Path(os.path.normpath(folder / name)) for name in named if name]
    found: set[str] = set()
    for service in (compose.model.get("services") or {}).values():
        build = service.get("build") or {}
        found |= {each["source"] for each in service.get("volumes") or () if each.get("type") == "bind"}
        found |= {build.get("context", ""), *(build.get("additional_contexts") or {}).values()}
    paths = sorted({Path(os.path.normpath(folder / name)) for name in found if name and "://" not in name})
    return [
        path
        for path in paths
        if path.is_relative_to(folder) and not any(path.is_relative_to(each) for each in theirs)
    ]


def make_readable(compose: Compose) -> None:
    """Let everybody read what containers get of this kit's own files (`chmod a+rX`).

    Raise StackError for a file that cannot be read by all and belongs to somebody else.
    """
    for source in own_sources(compose):
        for path, mode in _closed(source):
            try:
                path.chmod(mode)
            except OSError as error:
                raise StackError(
                    f"{path} cannot be read by the users that containers run as: {error.strerror}",
                    f"ask its owner, or as root: chmod -R a+rX {source}",
                ) from error


def _closed(source: Path) -> Iterator[tuple[Path, int]]:
    """Yield what is not readable for all, with the mode that would make it so; links are left alone."""
    for path in (source, *(source.rglob("*") if source.is_dir() else ())):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        wanted = mode | READ | (SEARCH if path.is_dir() or mode & SEARCH else 0)
        if wanted != mode:
            yield path, wanted
