"""When a benchmark of the disk begins to count: once what came before is written, so that nobody pays for another."""

from __future__ import annotations

import os
import time

# Statements after which nothing in a database is left to autovacuum, which would begin within a minute, nor to the
# checkpointer: whoever is measured then would pay for another.
REST = ("vacuum (analyze, parallel 0)", "checkpoint")

# Settings of a stack whose sidecar does nothing by itself while something is measured, but for its first backup.
ALONE = {"BACKUP_DRILL_INTERVAL_SECONDS": "0"}


def start() -> float:
    """The moment, in seconds of the monotonic clock, once the disk has nothing of the past left to write."""
    os.sync()
    return time.monotonic()
