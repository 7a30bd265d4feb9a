"""The launcher with shorter times, for tests that wait until a worker counts as lost: `quick_launcher.py QUEUE...`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

LIFE, HEARTBEAT = 9, 2  # s; the product's are 25 and 5
STACK = Path(__file__).resolve().parents[2] / "docker" / "python" / "stack"

if __name__ == "__main__":
    sys.path.insert(0, str(STACK))
    import workerlease

    workerlease.LIFE = LIFE  # others import it from there
    import workerclass

    workerclass.HEARTBEAT = HEARTBEAT
    runpy.run_path(str(STACK / "rq-worker.py"), run_name="__main__")
