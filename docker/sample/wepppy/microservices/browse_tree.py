"""The directory tree of one run, and the walk that never leaves it.

Every path is walked one component at a time from an open descriptor of the run's directory, never by a joined
path name: a component that is swapped for a symbolic link between check and use can't lead the walk out.
Symbolic links are read and resolved by the walk itself and may only end inside the run.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from wepppy.microservices.service_errors import (
    ServiceError,
    forbidden_path,
    invalid,
    path_not_found,
    path_outside_root,
    run_not_found,
)

MAX_LINKS = 20  # the kernel allows 40; a run has no use for long chains
MAX_PATH_BYTES = 4096
REFUSED = frozenset({"_logs", "profile.events.jsonl"})
ROOT_ONLY = frozenset({"exceptions.log", "exception_factory.log"})
# O_NONBLOCK: opening a FIFO without a writer would block.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL})


@dataclass(frozen=True)
class Node:
    """An open file or directory of a run; close it, or use it in a `with` block.

    `path` is relative to the run, after all links were resolved, `""` for the run itself.
    """

    fd: int
    path: str
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        """Whether this is a directory; otherwise it is a regular file."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def name(self) -> str:
        """The last component of the path."""
        return self.path.rpartition("/")[2]

    @property
    def etag(self) -> str:
        """A strong validator (RFC 9110, 8.8.3): another file, size or modification gives another value."""
        info = self.status
        return f'"{info.st_ino:x}-{info.st_size:x}-{info.st_mtime_ns:x}"'

    @property
    def local_path(self) -> str:
        """A path name of the open descriptor, for libraries that can't read from one. Valid until `close`."""
        return f"/proc/self/fd/{self.fd}"

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)

    def __enter__(self) -> Node:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def split_path(path: str) -> list[str]:
    """Return the components of a requested path (already percent-decoded).

    Raises ServiceError: `path_outside_root` for an absolute path or one with `..`, `validation_error` for NUL
    or an absurd length.
    """
    if "\0" in path:
        raise invalid("path", "must not hold a NUL character")
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise invalid("path", f"must not be longer than {MAX_PATH_BYTES} bytes")
    if path.startswith("/"):
        raise path_outside_root()
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise path_outside_root()
    return parts


def open_node(run: Path, path: str, *, privileged: bool = False) -> Node:
    """Open what `path` (relative, as the visitor gave it) names inside the directory `run`.

    Only regular files and directories open. `privileged` opens the two exception logs as well.
    Raises ServiceError: `run_not_found`, `path_not_found` (also for hidden names), `path_outside_root`,
    `forbidden_path`, `validation_error`.
    """
    parts = split_path(path)
    try:
        root = os.open(run, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise run_not_found() from error
    walk = _Walk(run, root, privileged)
    try:
        walk.follow(parts)
        return walk.finish()
    finally:
        walk.close()


class _Walk:
    """Where a walk has come to: a stack of open descriptors with their names."""

    def __init__(self, run: Path, root: int, privileged: bool) -> None:
        self.run = run
        self.privileged = privileged
        self.stack: list[tuple[str, int]] = [("", root)]

    def follow(self, parts: list[str]) -> None:
        pending = deque(parts)
        links = 0
        while pending:
            part = pending.popleft()
            if part in ("", "."):
                continue
            if part == "..":  # only a link's target can hold one
                if len(self.stack) == 1:
                    raise path_outside_root()
                os.close(self.stack.pop()[1])
                continue
            check_name(part, self.privileged)
            try:
                descriptor = os.open(part, _FLAGS, dir_fd=self.stack[-1][1])
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise _reason(error) from error
                links += 1
                if links > MAX_LINKS:
                    raise path_not_found() from error
                pending.extendleft(reversed(self._target(part)))
                continue
            self.stack.append((part, descriptor))

    def finish(self) -> Node:
        """Return the last step of the walk as a node with a descriptor of its own."""
        descriptor = self.stack[-1][1]
        status = os.fstat(descriptor)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise forbidden_path()
        path = "/".join(name for name, _ in self.stack[1:])
        return Node(os.dup(descriptor), path, status)

    def close(self) -> None:
        for _, descriptor in self.stack:
            os.close(descriptor)

    def _target(self, name: str) -> list[str]:
        try:
            target = os.readlink(name, dir_fd=self.stack[-1][1])
        except OSError as error:
            raise _reason(error) from error
        if not target.startswith("/"):
            return target.split("/")
        for root in {str(self.run), os.path.realpath(self.run)}:
            if target == root or target.startswith(root + "/"):
                while len(self.stack) > 1:
                    os.close(self.stack.pop()[1])
                return target[len(root) :].split("/")
        raise path_outside_root()


def check_name(name: str, privileged: bool = False) -> None:
    """Raise ServiceError for a component that is hidden (404) or refused (403)."""
    if name.startswith("."):
        raise path_not_found()
    if name in REFUSED or (name in ROOT_ONLY and not privileged):
        raise forbidden_path()


def is_listed(name: str, privileged: bool = False) -> bool:
    """Return whether a directory page names this entry."""
    try:
        check_name(name, privileged)
    except ServiceError:
        return False
    return True


def file_paths(node: Node, privileged: bool = False) -> Iterator[str]:
    """Yield the path relative to `node` of every regular file beneath it, by name.

    Links are left out: what they name inside the run is listed where it is.
    """
    for folder, folders, names, descriptor in os.fwalk(".", dir_fd=node.fd):
        folders[:] = sorted(name for name in folders if is_listed(name, privileged))
        for name in sorted(names):
            if is_listed(name, privileged) and _is_regular(name, descriptor):
                yield f"{folder}/{name}".removeprefix("./")


def _is_regular(name: str, folder: int) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False  # removed since the directory was read


def _reason(error: OSError) -> ServiceError:
    if error.errno in _GONE:
        return path_not_found()
    return forbidden_path()  # EACCES, ENXIO of a socket, EPERM: there, but not to be read


def shown(name: str) -> str:
    """Return a file name as text that any encoder takes: bytes that are not UTF-8 become U+FFFD."""
    return os.fsencode(name).decode("utf-8", "replace")


def quoted(path: str) -> str:
    """Return a path as part of a URL; decodes to exactly the bytes on the disk."""
    return quote(os.fsencode(path), safe="/")
