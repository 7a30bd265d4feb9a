"""Owns the rule that one project is started or stopped by one task at a time, on this machine."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from scripts.clock import Clock, SystemClock
from scripts.compose import Compose
from scripts.errors import ExitCode, StackError

PAUSE_SECONDS = 0.1
# Written beside the process that finishes what a dead task left: others wait for it instead of giving up.
RECOVERY = "recovery"
RECOVERY_SECONDS = 180.0


@contextmanager
def sole(
    compose: Compose, *, patience: float = 0.0, purpose: str = "", clock: Clock | None = None
) -> Iterator[None]:
    """Holds the project's lock; the kernel lets go of it however this process ends.

    patience: seconds to wait for another holder. purpose: one word that others see. Raises StackError when another
    process holds it for longer, naming that process.
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
        _take(descriptor, compose.project, patience, clock or SystemClock())
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {purpose}".strip().encode("ascii") + b"\n", 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, project: str, patience: float, clock: Clock) -> None:
    began = clock.monotonic()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 64, 0).decode("ascii", "replace").strip() or "unknown"
            limit = max(patience, RECOVERY_SECONDS if holder.endswith(RECOVERY) else 0.0)
            if clock.monotonic() - began >= limit:
                raise StackError(
                    f"another task is changing {project} (process {holder})",
                    "wait until it has ended, then run this again",
                    ExitCode.REFUSED,
                ) from error
            clock.sleep(PAUSE_SECONDS)
        else:
            return
