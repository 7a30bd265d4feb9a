"""Check what services mount: whether it is there and whether their users can read and write it."""

from __future__ import annotations

import os
import pwd
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.prepare.finding import Finding, Level
from scripts.prepare.images import BUILD_SECRETS
from scripts.prepare.source_check.needs import DATA_FOLDERS, Need
from scripts.prepare.source_check.tree import TREE_AT, Tree
from scripts.settings import secret_ids

DATA_CHECK, SECRET_CHECK, ABSENT_CHECK, READ_CHECK = (
    "data folders",
    "secrets",
    "missing secrets",
    "permissions",
)
SETTING_OF = {"/wc1": "WC1_DIR", "/geodata": "GEODATA_DIR"}
READ, WRITE, ENTER = 4, 2, 1


def allows(path: Path, need: Need, wanted: int) -> bool:
    """Return whether the service's user has those rights on a path, by owner, group and mode. Raise OSError."""
    if need.user is None or need.user[0] == 0:
        return True
    uid, gid = need.user
    stat = path.stat()
    if stat.st_uid == uid:
        rights = stat.st_mode >> 6
    elif stat.st_gid in (gid, *need.groups):
        rights = stat.st_mode >> 3
    else:
        rights = stat.st_mode
    return rights & wanted == wanted


def data(tree: Tree, needs: Sequence[Need]) -> Iterator[Finding]:
    """Yield what is wrong with the folders for runs and geodata, each once for all services that mount it."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for need in needs:
        for bind in need.binds:
            # One-shots that mount them fill them for the sample, and do nothing there for a real tree.
            if bind.target in DATA_FOLDERS and (tree.is_sample or not need.one_shot):
                for each in _folder(need, bind.source, bind.target, writes=not bind.read_only):
                    found[each].append(need.name)
    for (what, fix), services in found.items():
        yield Finding(DATA_CHECK, Level.ERROR, what, fix, tuple(services))


def _folder(need: Need, source: Path, target: str, *, writes: bool) -> Iterator[tuple[str, str]]:
    setting = SETTING_OF[target]
    if not source.is_dir():
        what = "is not a folder" if source.exists() else "does not exist"
        yield f"{setting}={source} {what}", f"make it or mount it, or correct {setting} in .env"
        return
    rights = READ | ENTER | (WRITE if writes else 0)
    # Runs are made in a folder below, which a share brings with an owner of its own.
    for path in (source, source / "runs"):
        if path.is_dir() and not allows(path, need, rights):
            yield _refused(need, path, writes=writes)
            return


def _refused(need: Need, path: Path, *, writes: bool) -> tuple[str, str]:
    stat = path.stat()
    uid, gid = need.user or (0, 0)
    verb = "write to" if writes else "read"
    what = (
        f"the containers run as {uid}:{gid} and cannot {verb} {path}, which belongs to {_owner(stat)} "
        f"(mode {stat.st_mode & 0o777:04o})"
    )
    if stat.st_uid == 0:
        return what, f"sudo chown {uid}:{gid} {path}"
    return what, f"set UID={stat.st_uid} and GID={stat.st_gid} in .env, or give the folder to {uid}:{gid}"


def _owner(stat: os.stat_result) -> str:
    try:
        name = pwd.getpwuid(stat.st_uid).pw_name
    except KeyError:
        name = "no account of this machine"
    return f"{stat.st_uid}:{stat.st_gid} ({name})"


def secrets(needs: Sequence[Need]) -> Iterator[Finding]:
    """Yield the secret files that are missing or that a service's user cannot read."""
    absent: dict[Path, list[str]] = defaultdict(list)
    empty: dict[Path, list[str]] = defaultdict(list)
    refused: dict[Path, dict[str, str]] = defaultdict(dict)
    for need in needs:
        for name, path in need.secrets:
            # How packages are reached is written at every start, for the user that reads it.
            if name in BUILD_SECRETS:
                continue
            # The first start makes the folder with all files in it.
            if not path.exists() and path.parent.exists():
                absent[path].append(need.name)
            elif path.is_file() and not allows(path, need, READ):
                uid, gid = need.user or (0, 0)
                refused[path][need.name] = f"{uid}:{gid}"
            elif path.is_file() and path.stat().st_size == 0 and secret_ids.must_be_filled(name):
                empty[path].append(need.name)
    for path, services in absent.items():
        yield Finding(
            ABSENT_CHECK,
            Level.ERROR,
            f"the secret {path} is missing",
            "run `invoke env-init`",
            tuple(services),
        )
    for path, services in empty.items():
        yield Finding(
            ABSENT_CHECK, Level.ERROR, f"the secret {path} is empty", "run `invoke env-init`", tuple(services)
        )
    for path, users in refused.items():
        stat = path.stat()
        yield Finding(
            SECRET_CHECK,
            Level.ERROR,
            f"the secret {path} belongs to {_owner(stat)} with mode {stat.st_mode & 0o777:04o}: in the containers "
            f"{', '.join(dict.fromkeys(users.values()))} cannot read it",
            f"chmod 0444 {path} (its folder keeps others on this machine out)",
            tuple(users),
        )


def tree_is_readable(tree: Tree, needs: Sequence[Need]) -> Iterator[Finding]:
    """Yield the services that mount the tree and cannot read it, as after a clone under umask 077."""
    found: dict[tuple[Path, tuple[int, int]], list[str]] = defaultdict(list)
    for need in needs:
        if any(bind.target.rstrip("/") == TREE_AT for bind in need.binds):
            refused = _unreadable(tree, need)
            if refused is not None:
                found[(refused, need.user or (0, 0))].append(need.name)
    for (path, (uid, gid)), services in found.items():
        stat = path.stat()
        yield Finding(
            READ_CHECK,
            Level.ERROR,
            f"{path} belongs to {_owner(stat)} with mode {stat.st_mode & 0o777:04o}: the containers run as {uid}:{gid} "
            "and cannot read it",
            f"chmod -R go+rX {tree.root}, or set UID={stat.st_uid} and GID={stat.st_gid} in .env",
            tuple(services),
        )


def _unreadable(tree: Tree, need: Need) -> Path | None:
    files = [
        file for entry in need.entries if tree.find(entry.module) for file in tree.reach(entry.module).files
    ]
    files += [tree.root / name for name in need.files if name in tree]
    checked: set[Path] = set()
    for file in [tree.root, *files]:
        if not file.is_relative_to(tree.root):
            continue
        inside = [each for each in (*reversed(file.parents), file) if each.is_relative_to(tree.root)]
        for path in inside:
            if path not in checked:
                checked.add(path)
                if not allows(path, need, READ | ENTER if path.is_dir() else READ):
                    return path
    return None
