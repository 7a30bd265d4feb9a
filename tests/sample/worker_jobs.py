"""Jobs for the tests of the worker: each records its start, then does what a test wants to see survived."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

try:
    from wepppy.config.run_paths import get_wd as _folder
except ImportError:  # a real tree's
    from wepppy.weppcloud.utils.helpers import get_wd as _folder


def get_wd(runid: str) -> Path:
    """Return the folder of a run."""
    return Path(_folder(runid))


def starts(runid: str) -> int:
    """Return how often a job of this run has begun."""
    log = get_wd(runid) / "starts"
    return len(log.read_text().splitlines()) if log.exists() else 0


def _folder_of(runid: str) -> Path:
    folder = get_wd(runid)
    with (folder / "starts").open("a") as log:
        log.write(f"{os.getpid()}\n")
    return folder


def wait_for_release(runid: str) -> str:
    """Run until the file `release` appears in the run directory."""
    folder = _folder_of(runid)
    while not (folder / "release").exists():
        time.sleep(0.02)
    return "released"


def kill_itself(runid: str) -> None:
    """End as a process does that the kernel kills for its memory."""
    _folder_of(runid)
    os.kill(os.getpid(), signal.SIGKILL)


def outlast_its_time(runid: str) -> None:
    """Hear of no timeout, and be killed only after it."""
    _folder_of(runid)
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    time.sleep(2)
    os.kill(os.getpid(), signal.SIGKILL)


def kill_its_worker(runid: str) -> None:
    """Take the whole worker along, every time."""
    _folder_of(runid)
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def fail(runid: str) -> None:
    """Raise."""
    _folder_of(runid)
    raise ZeroDivisionError("the ground is flat")


def by_keyword(*, runid: str) -> str:
    """Take the run by keyword."""
    return runid


def take_memory(runid: str, mib: int) -> int:
    """Take so much memory at once."""
    _folder_of(runid)
    return len(bytearray(mib << 20))


def start_a_program_that_takes_memory(runid: str, mib: int) -> None:
    """Have another process take so much memory."""
    _folder_of(runid)
    subprocess.run([sys.executable, "-c", f"bytearray({mib} << 20)"], check=True)
