"""The lock of a project: one task at a time changes it, on this machine, and only the checkout that it belongs to."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from scripts.base.errors import StackError, refuse
from scripts.engine.compose import Compose
from scripts.prepare import ownership


@contextmanager
def sole(compose: Compose, *, in_swarm: bool = False) -> Iterator[None]:
    """Hold the lock of a project that is this checkout's; the kernel releases it however this process ends.

    Raise StackError when another process holds it, naming that process, when the project is another checkout's, and
    where it runs in a swarm, unless `in_swarm`.
    """
    path = compose.data_dir / f".{compose.project}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Kept open and never deleted: a lock on a deleted file would keep nobody out.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StackError(
            f"{path} cannot be opened: {error.strerror}",
            f"make the folder your own: sudo chown -R {os.getuid()} {path.parent}",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 64, 0).decode("ascii", "replace").strip() or "unknown"
            refuse(
                f"another task is changing {compose.project} (process {holder})",
                "wait until it has ended, then run this again",
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        ownership.require(compose, in_swarm=in_swarm)
        yield
    finally:
        os.close(descriptor)
