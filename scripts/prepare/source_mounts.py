"""The compose file that depends on what a checkout holds: what containers must not see of it, and its siblings.

Written at every `compose-up` of a real tree in development, beside the stack's data. Compose itself cannot mount only
what is there, and a mount over nothing would make a file or folder in somebody's checkout.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.base.files import replace_if_changed
from scripts.engine.compose import Compose

NAME = "source-mounts.yml"
MODE = 0o644
TREE, WORKDIR = "/workdir/wepppy", "/workdir"
# Services that mount the tree; tests compare them with the compose files.
SERVICES = (
    "weppcloud", "browse", "elevationquery", "wmesque2", "metquery", "wmesque", "rq-worker", "db-upgrade",
    "sample-data", "rq-engine", "download", "query-engine", "dtale", "shape-converter", "fcgiwrap", "rq-dashboard",
    "profile-playback", "rq-worker-batch", "rq-worker-fork-archive", "scheduler", "assets",
)  # fmt: skip
# Repositories beside the tree that its code looks for.
SIBLINGS = ("wepppyo3", "weppcloud-wbt", "weppcloud2", "rosetta", "peridot", "f-esri")
# A secret is mounted here; into a folder that is mounted read-only no file can be put.
BOT_TOKEN = Path("weppcloud2") / "weppcloud2" / "discord_bot" / ".bot_token"
# What holds secrets or is worth nothing to a container. Other folders of these names deeper down are not the tree's.
HIDDEN = (".git", ".env", "docker/.env", "docker/secrets")
NOT_ENTERED = {".git", "node_modules", ".docker-data", "__pycache__"}
HEADER = """\
# Written by `compose-up`, anew each time: what is hidden of {tree} in containers, and the repositories beside it.
"""


def write(compose: Compose, tree: Path) -> None:
    """Write the file for a checkout; the model is read anew when that changes it. Raise OSError."""
    path = compose.data_dir / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    named = compose.setting("WEPPPY_SIBLINGS_DIR")
    if replace_if_changed(path, text(tree, Path(named) if named else None), MODE):
        compose.forget()


def text(tree: Path, siblings: Path | None) -> str:
    """Return the compose file; JSON is YAML, and quotes every path."""
    shared = [*masks(tree, TREE), *sibling_mounts(siblings)]
    services: dict[str, Any] = {name: {"volumes": shared} for name in SERVICES}
    services["caddy"] = {"volumes": list(_static(tree))}
    services["assets-vendor"] = {"volumes": list(_front_end(tree))}
    document = json.dumps({"services": services}, indent=1).replace("$", "$$")
    return HEADER.format(tree=tree) + document + "\n"


def masks(tree: Path, target: str) -> Iterator[dict[str, Any]]:
    """Cover what must not be seen and is there: a folder by an empty one, a file by an empty one."""
    for name in HIDDEN:
        path = tree / name
        if path.is_dir() and not path.is_symlink():
            yield _empty_folder(f"{target}/{name}")
        elif path.exists() and not path.is_symlink():
            yield _bind(Path("/dev/null"), f"{target}/{name}")
    for folder, names, _ in os.walk(tree):
        for name in sorted(names):
            path = Path(folder) / name
            if name == "node_modules" and not path.is_symlink():
                yield _empty_folder(f"{target}/{path.relative_to(tree)}")
        names[:] = sorted(set(names) - NOT_ENTERED)


def sibling_mounts(folder: Path | None) -> Iterator[dict[str, Any]]:
    """Mount each known repository that is in the folder where the tree's code looks for it."""
    for name in SIBLINGS:
        if folder is not None and (folder / name).is_dir():
            yield from _around(folder / name, f"{WORKDIR}/{name}", folder / BOT_TOKEN)


def _around(folder: Path, target: str, missing: Path) -> Iterator[dict[str, Any]]:
    """Mount a folder whole, its history hidden; entry by entry where a file that it lacks must be mounted into it."""
    if missing.is_relative_to(folder) and missing.parent.is_dir() and not missing.exists():
        for entry in sorted(folder.iterdir()):
            if missing.is_relative_to(entry):
                yield from _around(entry, f"{target}/{entry.name}", missing)
            elif entry.name != ".git" and entry.exists():
                yield _bind(entry, f"{target}/{entry.name}")
        return
    yield _bind(folder, target)
    if (folder / ".git").is_dir():
        yield _empty_folder(f"{target}/.git")


def _static(tree: Path) -> Iterator[dict[str, Any]]:
    web = tree / "wepppy" / "weppcloud"
    for path, name in ((web / "static", "static"), (web / "routes" / "usersum" / "static", "usersum-static")):
        if path.is_dir():
            yield _bind(path, f"/srv/tree/{name}")


def _front_end(tree: Path) -> Iterator[dict[str, Any]]:
    sources = tree / "wepppy" / "weppcloud" / "static-src"
    if sources.is_dir():
        yield _bind(sources, "/static-src")
        yield from masks(sources, "/static-src")


def _bind(source: Path, target: str) -> dict[str, Any]:
    return {
        "type": "bind",
        "source": str(source),
        "target": target,
        "read_only": True,
        "bind": {"create_host_path": False},
    }


def _empty_folder(target: str) -> dict[str, Any]:
    return {"type": "tmpfs", "target": target, "read_only": True, "tmpfs": {"size": 4096, "mode": 0o555}}
