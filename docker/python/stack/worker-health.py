"""Health check of a worker container: exit 0 if its pool said within the last seconds that all workers are alive.

`rq-worker.py` looks after its workers and their heartbeats in Redis every few seconds and writes what it found to
RQ_WORKER_HEALTH_FILE. A pool that hangs stops writing, so an old file is as bad as a bad word.
"""

from __future__ import annotations

import os
import sys
import time

OLDEST = (
    25.0  # s: the pool writes every 5 s, and may be held up for two probes of a Redis that does not answer
)


def main() -> int:
    """Print one line and return 0 or 1."""
    path = os.environ.get("RQ_WORKER_HEALTH_FILE", "").strip() or "/tmp/rq-worker.health"  # noqa: S108
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib doubles this program's start-up
            word, _, text = file.read().strip().partition(" ")
        age = time.time() - os.stat(path).st_mtime  # noqa: PTH116
    except OSError as error:
        print(f"the worker pool has not reported yet ({error.strerror})")
        return 1
    if age > OLDEST:
        print(f"the worker pool last reported {age:.0f} s ago: {text}")
        return 1
    print(text)
    return 0 if word == "ok" else 1


if __name__ == "__main__":
    sys.exit(main())
