"""Which process a process id means: a number is given away again, soonest in a container that was started anew."""

from __future__ import annotations

from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def process_identity(pid: int) -> str | None:
    """Return what no other process of this machine has had or will have, None if `pid` does not run.

    It is the boot's id and the clock tick at which the process was started (proc(5), field 22 of stat). No wall
    clock is read, so setting the time changes no identity. A killed process that has not been reaped is
    dead all the same.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        boot = _BOOT.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else f"{boot}:{fields[18]}"
