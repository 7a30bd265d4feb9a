"""Owns `db-backup` and `db-backups`: a verified backup now, and the list of those there are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from scripts.compose import Compose
from scripts.console import Console
from scripts.credentials import demand_login
from scripts.dialogue import answer
from scripts.dump import backups_are_here, backups_folder
from scripts.meter import megabytes
from scripts.sidecar import BACKUPS

MINUTE, HOUR, DAY = 60, 3600, 86400


def back_up(compose: Compose, console: Console) -> None:
    """Makes one backup and tells its path, size, rows and seconds. Raises StackError; earlier ones are as they were."""
    demand_login(compose, console)
    made = answer(compose, console, ["dump"])
    path = _on_this_machine(compose, made["path"])
    if console.as_json:
        console.document({"ok": True, **made, "path": path})
        return
    console.text(f"{path}: {megabytes(made['bytes'])}, {made['rows']} rows, {made['seconds']:.1f} s")


def show(compose: Compose, console: Console) -> None:
    """Lists the backups, the newest first, and says whether they are well. Raises StackError."""
    told = answer(compose, console, ["list"])
    if console.as_json:
        console.document(told)
        return
    now = datetime.fromisoformat(told["now"])
    console.table(
        ["dump", "age", "size", "rows", "verified", "drilled", "server"],
        [_row(each, now) for each in told["backups"]],
    )
    (console.say if told["ok"] else console.warn)(told["health"])


def age(seconds: float) -> str:
    """A length of time for people: its largest unit, with one more where that says much."""
    if seconds < 0:
        return "in the future"
    if seconds < HOUR:
        return f"{seconds // MINUTE:.0f} min" if seconds >= MINUTE else f"{seconds:.0f} s"
    if seconds < 2 * DAY:
        return f"{seconds / HOUR:.1f} h"
    return f"{seconds / DAY:.1f} d"


def _row(backup: Mapping[str, Any], now: datetime) -> list[str]:
    manifest, drill = backup.get("manifest") or {}, backup.get("drill") or {}
    drilled = ""
    if drill:
        since = age((now - datetime.fromisoformat(drill["drilled"])).total_seconds())
        drilled = f"{since} ago" if drill["ok"] else f"failed: {drill['problem']}"
    return [
        backup["name"],
        age((now - datetime.fromisoformat(backup["created"])).total_seconds()),
        megabytes(backup["bytes"]),
        str(manifest["rows"]) if manifest else "",
        "yes" if backup["verified"] else "no",
        drilled,
        manifest.get("server_version", "").split(" ")[0],
    ]


def _on_this_machine(compose: Compose, path: str) -> str:
    """The host's path of a file among the backups; the container's own where they are in a volume."""
    if not backups_are_here(compose):
        return path
    return path.replace(f"{BACKUPS}/", f"{backups_folder(compose)}/", 1)
