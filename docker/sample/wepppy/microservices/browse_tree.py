"""The directory tree of one run, out of which no path leads.

A path is opened as a mere reference (`O_PATH`), and the kernel says where that is: whatever links were on the way, and
whoever swaps one meanwhile, the very file that was found inside of the run is the one that is read.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wepppy.microservices.service_errors import ServiceError

REFUSED = frozenset({"_logs", "profile.events.jsonl"})
ROOT_ONLY = frozenset({"exceptions.log", "exception_factory.log"})
# Names that are not for visitors: they begin with a dot, or hold control characters or bytes that are not UTF-8.
_HIDDEN = re.compile(r"\..*|.*[\x00-\x1f\x7f\ud800-\udfff].*", re.DOTALL)


@dataclass(frozen=True)
class Node:
    """An open file or directory of a run; whoever opened it closes it.

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
    def local_path(self) -> str:
        """A path name of the open descriptor, for libraries that can't read from one. Valid until `close`."""
        return f"/proc/self/fd/{self.fd}"

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)


def open_node(run: Path, path: str, privileged: bool = False) -> Node:
    """Open what `path` (relative, as the visitor gave it) names inside the directory `run`.

    Only regular files and directories open. `privileged` opens the two exception logs as well.
    Raises ServiceError: `path_not_found` (also for hidden names), `path_outside_root`, `forbidden_path`.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts:
        raise _outside()
    _check(parts, privileged)
    root = Path(os.path.realpath(run))
    # Whether there is anything outside is nothing to be found out either.
    _within(root, os.path.realpath(root.joinpath(*parts)))
    with contextlib.ExitStack() as opened:
        try:
            reference = os.open(root.joinpath(*parts), os.O_PATH | os.O_CLOEXEC)
            opened.callback(os.close, reference)
            inside = _within(root, os.readlink(f"/proc/self/fd/{reference}"))  # noqa: PTH115
            _check(inside.parts, privileged)
            status = os.fstat(reference)
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                raise _forbidden()
            descriptor = os.open(f"/proc/self/fd/{reference}", os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError as error:
            raise _forbidden() from error
        except OSError as error:
            raise _not_found() from error
    return Node(descriptor, "/".join(inside.parts), status)


def _within(root: Path, place: str) -> Path:
    try:
        return Path(place).relative_to(root)
    except ValueError as error:
        raise _outside() from error


def _check(parts: Iterable[str], privileged: bool) -> None:
    for name in parts:
        if _HIDDEN.fullmatch(name):
            raise _not_found()
        if name in REFUSED or (name in ROOT_ONLY and not privileged):
            raise _forbidden()


def is_listed(name: str, privileged: bool = False) -> bool:
    """Return whether a directory page names this entry."""
    return not (_HIDDEN.fullmatch(name) or name in REFUSED or (name in ROOT_ONLY and not privileged))


def file_paths(node: Node, privileged: bool = False) -> Iterator[str]:
    """Yield the path relative to `node` of every regular file beneath it, by name.

    Links are left out: what they name inside the run is listed where it is.
    """
    for folder, folders, names, descriptor in os.fwalk(".", dir_fd=node.fd):
        folders[:] = sorted(name for name in folders if is_listed(name, privileged))
        for name in sorted(name for name in names if is_listed(name, privileged)):
            with contextlib.suppress(FileNotFoundError):  # removed since the directory was read
                if stat.S_ISREG(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                    yield f"{folder}/{name}".removeprefix("./")


def _not_found() -> ServiceError:
    return ServiceError(404, "path_not_found", "There is no such file or directory in this run.")


def _outside() -> ServiceError:
    return ServiceError(400, "path_outside_root", "The path leads out of the run.")


def _forbidden() -> ServiceError:
    return ServiceError(403, "forbidden_path", "This path is not open for reading.")
