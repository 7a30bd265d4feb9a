"""Processes that do not outlive their parent, by the kernel's parent-death signal (Linux, prctl(2))."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_parent = 0


def stop_with_parent(signal_number: signal.Signals, parent: int) -> None:
    """Have this process get `signal_number` when the process `parent`, which forked it, is gone (or is gone already).

    Raises OSError where the kernel refuses.
    """
    if _libc.prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # gone before the kernel knew that it matters
        os.kill(os.getpid(), signal_number)


def bind_children() -> None:
    """Have every process forked by this one from now on killed when its parent is gone.

    An orphaned work-horse would go on computing beside the one that another worker starts for the same job.
    """
    os.register_at_fork(before=_remember, after_in_child=_bind)


def _remember() -> None:
    global _parent
    _parent = os.getpid()


def _bind() -> None:
    stop_with_parent(signal.SIGKILL, _parent)
