"""When a benchmark of the disk begins to count: once what came before is written, so that nobody pays for another."""

from __future__ import annotations

import os
import time


def start() -> float:
    """The moment, in seconds of the monotonic clock, once the disk has nothing of the past left to write."""
    os.sync()
    return time.monotonic()
