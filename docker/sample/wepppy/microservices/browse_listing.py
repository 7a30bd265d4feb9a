"""The entries of a directory: filtered, sorted, one page of them."""

from __future__ import annotations

import fnmatch
import mimetypes
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from wepppy.microservices import browse_kinds
from wepppy.microservices.browse_tree import Node, is_listed, open_node, quoted, shown
from wepppy.microservices.service_errors import Fault, ServiceError

SORTS = ("name", "date", "size")
ORDERS = ("asc", "desc")
DEFAULT_LIMIT = 1000
MAX_LIMIT = 10_000
MAX_PATTERN = 200
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})
_INTEGER = re.compile(r"[0-9]{1,9}")
_DIGITS = re.compile(r"([0-9]+)")


@dataclass(frozen=True)
class Query:
    """Which entries, in which order; `pattern` is a shell pattern for names (case-sensitive)."""

    limit: int = DEFAULT_LIMIT
    offset: int = 0
    pattern: str | None = None
    sort: Literal["name", "date", "size"] = "name"
    order: Literal["asc", "desc"] = "asc"
    meta: bool = False


@dataclass(frozen=True)
class Entry:
    """One name in a directory: size in bytes, time of last change in seconds since 1970."""

    name: str
    kind: Literal["file", "directory", "symlink"]
    size: int
    modified: float


@dataclass(frozen=True)
class Listing:
    """One page of entries, and how many matched in all."""

    entries: list[Entry]
    total: int


def parse_query(values: Mapping[str, str], default_limit: int = DEFAULT_LIMIT) -> Query:
    """Return the query that URL parameters describe; raises ServiceError naming every wrong parameter."""
    faults: list[Fault] = []

    def wrong(path: str, message: str) -> None:
        faults.append(Fault("validation_error", message, path))

    def number(name: str, default: int, low: int, high: int) -> int:
        text = values.get(name, "")
        if not text:
            return default
        if not _INTEGER.fullmatch(text) or not low <= int(text) <= high:
            wrong(name, f"must be a whole number from {low} to {high}")
            return default
        return int(text)

    def choice(name: str, choices: tuple[str, ...]) -> str:
        text = values.get(name, "") or choices[0]
        if text not in choices:
            wrong(name, f"must be one of {', '.join(choices)}")
        return text

    limit = number("limit", default_limit, 1, MAX_LIMIT)
    offset = number("offset", 0, 0, 999_999_999)
    sort = choice("sort", SORTS)
    order = choice("order", ORDERS)
    meta = values.get("meta", "").lower()
    if meta not in _TRUE | _FALSE:
        wrong("meta", "must be true or false")
    pattern = values.get("pattern", "") or None
    if pattern and (len(pattern) > MAX_PATTERN or "/" in pattern or "\0" in pattern):
        wrong("pattern", f"must be at most {MAX_PATTERN} characters without / and NUL")
    if faults:
        names = ", ".join(fault.path for fault in faults)
        raise ServiceError(400, "validation_error", f"Invalid parameters: {names}.", tuple(faults))
    return Query(limit, offset, pattern, cast(Any, sort), cast(Any, order), meta in _TRUE)


def select(node: Node, query: Query, *, privileged: bool = False, folders_first: bool = False) -> Listing:
    """Return the page of a directory's entries that `query` selects.

    Raises ServiceError `not_a_directory` (400).
    """
    if not node.is_directory:
        raise ServiceError(400, "not_a_directory", "This path is a file, not a directory.")
    entries: list[Entry] = []
    with os.scandir(node.fd) as found:
        for item in found:
            if not is_listed(item.name, privileged):
                continue
            if query.pattern and not fnmatch.fnmatchcase(item.name, query.pattern):
                continue
            try:
                status = item.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # removed since the directory was read
            if stat.S_ISDIR(status.st_mode):
                entries.append(Entry(item.name, "directory", 0, status.st_mtime))
            elif stat.S_ISREG(status.st_mode):
                entries.append(Entry(item.name, "file", status.st_size, status.st_mtime))
            elif stat.S_ISLNK(status.st_mode):
                entries.append(Entry(item.name, "symlink", 0, status.st_mtime))
    # Names break ties, always upwards, so that pages neither repeat nor miss an entry.
    entries.sort(key=lambda entry: _natural(entry.name))
    reverse = query.order == "desc"
    if query.sort == "name":
        entries.sort(key=lambda entry: _natural(entry.name), reverse=reverse)
    elif query.sort == "date":
        entries.sort(key=lambda entry: entry.modified, reverse=reverse)
    else:
        entries.sort(key=lambda entry: entry.size, reverse=reverse)
    if folders_first:
        entries.sort(key=lambda entry: entry.kind != "directory")
    return Listing(entries[query.offset : query.offset + query.limit], len(entries))


def as_json(
    node: Node, listing: Listing, query: Query, *, run: Path, url: str, privileged: bool = False
) -> dict[str, Any]:
    """Return path, entries and paging of the `files` reply; `url` is the run's, `/weppcloud/runs/R/C`."""
    entries = [_entry(node, entry, query.meta, run, url, privileged) for entry in listing.entries]
    return {
        "path": shown(node.path),
        "entries": entries,
        "total": listing.total,
        "limit": query.limit,
        "offset": query.offset,
        "has_more": query.offset + len(entries) < listing.total,
    }


def link_target(node: Node, name: str, run: Path, privileged: bool = False) -> tuple[str, bool] | None:
    """Return (path within the run, is it a directory) of a symbolic link; None if it may not be followed."""
    try:
        with open_node(run, f"{node.path}/{name}" if node.path else name, privileged=privileged) as target:
            return target.path, target.is_directory
    except ServiceError:
        return None


def content_type(name: str) -> str:
    """Return the media type that a file name suggests."""
    return browse_kinds.MEDIA_TYPES.get(browse_kinds.suffix(name)) or (
        mimetypes.guess_type(name)[0] or "application/octet-stream"
    )


def _entry(node: Node, entry: Entry, meta: bool, run: Path, url: str, privileged: bool) -> dict[str, Any]:
    path = f"{node.path}/{entry.name}" if node.path else entry.name
    item: dict[str, Any] = {
        "name": shown(entry.name),
        "path": shown(path),
        "type": entry.kind,
        "modified_iso": datetime.fromtimestamp(entry.modified, UTC).isoformat(timespec="seconds"),
    }
    if entry.kind == "directory":
        item["child_count"] = _count(node, entry.name, privileged)
    elif entry.kind == "symlink":
        target = link_target(node, entry.name, run, privileged)
        item["symlink_is_dir"] = target is not None and target[1]
        # The target of a link out of the run is not disclosed.
        item["symlink_target"] = shown(target[0]) if target else None
    else:
        item["size_bytes"] = entry.size
        item["download_url"] = f"{url}/download/{quoted(path)}"
    if meta:
        directory = entry.kind == "directory" or bool(item.get("symlink_is_dir"))
        item["content_type"] = "inode/directory" if directory else content_type(entry.name)
        item["preview_available"] = not directory and browse_kinds.kind(entry.name) != "other"
    return item


def _count(node: Node, name: str, privileged: bool) -> int | None:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=node.fd)
    except OSError:
        return None
    try:
        with os.scandir(descriptor) as found:
            return sum(1 for item in found if is_listed(item.name, privileged))
    finally:
        os.close(descriptor)


def _natural(name: str) -> tuple[list[tuple[int, int | str]], str]:
    """Sort H2 before H10, without regard to case; the plain name makes the order total."""
    key: list[tuple[int, int | str]] = []
    for piece in _DIGITS.split(name.casefold()):
        if piece.isdecimal() and piece.isascii() and len(piece) <= 18:
            key.append((0, int(piece)))
        elif piece:
            key.append((1, piece))
    return key, name
