"""Check what a service mounts: whether it is there and whether its user can read and write it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from scripts.base.files import allows
from scripts.prepare.finding import Finding
from scripts.prepare.source_check.needs import TREE_AT, Need
from scripts.prepare.source_check.tree import Tree

DATA_CHECK, READ_CHECK = "data folders", "permissions"
SETTING_OF = {"/wc1": "WC1_DIR", "/geodata": "GEODATA_DIR"}
READ, WRITE, ENTER = 4, 2, 1


def lacks(tree: Tree, need: Need, *, own: bool) -> Iterator[Finding]:
    """Yield what is wrong with the folders for runs and geodata, and with the mounted tree.

    own: the tree is this kit's, whose files `compose-up` makes readable.
    """
    for bind in need.binds:
        # One-shots that mount them fill them for the sample, and do nothing there for a real tree.
        if bind.target in SETTING_OF and (tree.is_sample or not need.one_shot):
            yield from _data(need, bind.source, bind.target, writes=not bind.read_only)
        if not own and bind.target.rstrip("/") == TREE_AT and (path := _unreadable(tree, need)):
            stat = path.stat()
            yield Finding(
                READ_CHECK,
                f"{path} belongs to {_owner(stat)}: the containers run as {_user(need)} and cannot read it",
                f"chmod -R go+rX {tree.root}, or set UID={stat.st_uid} and GID={stat.st_gid} in .env",
            )


def _allows(path: Path, need: Need, wanted: int) -> bool:
    """Return whether the service's user has those rights on a path, by owner, group and mode. Raise OSError."""
    uid, gid = need.user or (0, 0)
    return uid == 0 or allows(path, uid, (gid, *need.groups), wanted)


def _data(need: Need, source: Path, target: str, *, writes: bool) -> Iterator[Finding]:
    setting = SETTING_OF[target]
    if not source.is_dir():
        what = "is not a folder" if source.exists() else "does not exist"
        fix = f"make it or mount it, or correct {setting} in .env"
        yield Finding(DATA_CHECK, f"{setting}={source} {what}", fix)
        return
    rights = READ | ENTER | (WRITE if writes else 0)
    # Runs are made in a folder below, which a share brings with an owner of its own.
    for path in (source, source / "runs"):
        if path.is_dir() and not _allows(path, need, rights):
            stat, user = path.stat(), _user(need)
            verb = "write to" if writes else "read"
            what = f"the containers run as {user} and cannot {verb} {path}, which belongs to {_owner(stat)}"
            fix = f"set UID={stat.st_uid} and GID={stat.st_gid} in .env, or give the folder to {user}"
            yield Finding(DATA_CHECK, what, fix if stat.st_uid else f"sudo chown {user} {path}")
            return


def _unreadable(tree: Tree, need: Need) -> Path | None:
    """Return what the service cannot read of the mounted tree, as after a clone under umask 077."""
    files = [file for name in need.modules for file in tree.reach(name.partition(":")[0]).files]
    files += [tree.root / name for name in need.files if name in tree]
    inside = [file for file in files if file.is_relative_to(tree.root)]
    parents = {each for file in inside for each in file.parents if each.is_relative_to(tree.root)}
    for path in sorted({tree.root, *parents, *inside}):
        if not _allows(path, need, READ | ENTER if path.is_dir() else READ):
            return path
    return None


def _user(need: Need) -> str:
    uid, gid = need.user or (0, 0)
    return f"{uid}:{gid}"


def _owner(stat: os.stat_result) -> str:
    try:
        name = pwd.getpwuid(stat.st_uid).pw_name
    except KeyError:
        name = "no account of this machine"
    return f"{stat.st_uid}:{stat.st_gid} ({name}, mode {stat.st_mode & 0o777:04o})"
