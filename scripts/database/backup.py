"""`db-backup`, `db-backups`, `db-verify`: a verified backup now, the list of those there are, one read whole again.

And where a dump lies that a task names, and how the program at the database gets to see it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from scripts.base.clock import age
from scripts.base.console import Console
from scripts.base.errors import refuse, usage
from scripts.base.files import allows
from scripts.database.sidecar_client import answer
from scripts.engine import database_server, problems
from scripts.engine.compose import Compose
from scripts.engine.sidecar import BACKUPS, HOST_FOLDERS, SERVICE, backups_are_here, backups_folder
from scripts.prepare import ownership

LATEST = "latest"


def back_up(compose: Compose, console: Console, *, accept_collapse: bool = False) -> None:
    """Make one backup and tell its path, size, rows and seconds. Raise StackError; earlier ones are as they were.

    accept_collapse: that it holds far less than those before it is right; older ones may be pruned again.
    """
    _ = compose.rendering  # begun beside the questions to the engine
    ownership.require(compose)
    database_server.require_running(compose, console)
    made = answer(compose, console, ["dump", *(["--accept-collapse"] if accept_collapse else [])])
    if backups_are_here(compose):
        made["path"] = made["path"].replace(f"{BACKUPS}/", f"{backups_folder(compose)}/", 1)
    text = f"{made['path']}: {decimal(made['bytes'])}, {made['rows']} rows, {made['seconds']:.1f} s"
    console.answer({"ok": True, **made}, text)


def show(compose: Compose, console: Console) -> bool:
    """List the backups, the newest first; return whether they are well and more will be made. Raise StackError."""
    listed = answer(compose, console, ["list"])
    containers = compose.containers()
    found = [each for each in problems.of_services(compose, containers) if each.about == SERVICE]
    found += problems.of_password(compose, containers)
    well = bool(listed["ok"]) and not found
    if console.as_json:
        console.document({**listed, "ok": well, "problems": [asdict(each) for each in found]})
        return well
    now = datetime.fromisoformat(listed["now"])
    console.table(
        ["dump", "age", "size", "rows", "verified", "drilled", "server"],
        [_row(each, now) for each in listed["backups"]],
    )
    (console.say if listed["ok"] else console.warn)(listed["health"])
    failed = listed.get("attempt_by_hand") or {"ok": True}
    if not failed["ok"] and not any(each["created"] > failed["started"] for each in listed["backups"]):
        console.warn(f"the last db-backup failed: {failed.get('problem') or 'it was killed'}")
    problems.warn(console, found)
    return well


def _row(backup: Mapping[str, Any], now: datetime) -> list[str]:
    manifest, drill = backup.get("manifest") or {}, backup.get("drill") or {}
    verified, drilled = "yes" if backup["verified"] else "no", ""
    if backup["verified"] and manifest.get("not_restorable"):
        verified = f"yes, not restorable: {manifest['not_restorable']}"
    if drill:
        drilled = f"{age(now, drill['drilled'])} ago" if drill["ok"] else f"failed: {drill['problem']}"
    return [
        backup["name"],
        age(now, backup["created"]),
        decimal(backup["bytes"]),
        str(manifest["rows"]) if manifest else "",
        verified,
        drilled,
        manifest.get("server_version", "").split(" ")[0],
    ]


def verify(compose: Compose, console: Console, named: str, *, drill: bool = False) -> None:
    """Verify the dump that `named` names (a path, a name, `latest`). Raise StackError when it is not whole."""
    if drill:
        ownership.require(compose)
    argument, options = locate(compose, named)
    found = answer(compose, console, ["verify", "--dump", argument], options=options)
    checked = (
        "every byte is as it was written" if found["checksummed"] else "whole (no checksum lies beside it)"
    )
    text = (
        f"{found['dump']}: {checked}; {found['kind']}, {decimal(found['bytes'])}, "
        f"from PostgreSQL {found['server_version'] or 'unknown'}"
    )
    if drill:
        database_server.require_running(compose, console)
        found["drill"] = answer(compose, console, ["drill", "--dump", argument], options=options)
        text += (
            f"\nrestored into a throw-away database, compared and dropped: {found['drill']['rows']} rows "
            f"in {found['drill']['seconds']:.1f} s"
        )
    console.answer({"ok": True, **found}, text)


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
    return allows(path.parent, uid, [gid], 0o1) and allows(path, uid, [gid], 0o5 if path.is_dir() else 0o4)
