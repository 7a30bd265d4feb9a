"""Background work: the worker class, the jobs, and run directories.

`WepppyRqWorker` is imported at its first use, so that a program that only creates runs does not import the queue.
"""

from __future__ import annotations

from typing import Any

__all__ = ["WepppyRqWorker"]


def __getattr__(name: str) -> Any:
    if name == "WepppyRqWorker":
        from wepppy.rq.worker import WepppyRqWorker

        return WepppyRqWorker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
