"""gunicorn's settings for --reload: what gunicorn's own reloader leaves undone.

A worker that runs uvicorn is only marked for its end, and would serve the old code for ever (benoitc/gunicorn#2339).
A file that is saved before gunicorn's first look at it counts as unchanged, and that may be after the first requests.
So each worker compares its files with the moment at which it began to read them.
"""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

LOOK_SECONDS = 0.5
started = time.time()


def post_fork(server: Any, worker: Any) -> None:
    """Record when the worker began to read source files."""
    global started
    started = time.time()


def post_worker_init(worker: Any) -> None:
    """Watch the worker's files as long as it lives."""
    threading.Thread(target=_watch, args=(worker,), daemon=True).start()


def _watch(worker: Any) -> None:
    """End the worker once one of its files was saved after it began to read them; another one takes its place."""
    while not (file := changed_file()):
        time.sleep(LOOK_SECONDS)
    worker.log.info("Worker starting anew: %s modified", file)
    worker_int(worker)


def changed_file() -> str:
    """Return a source file that was saved since this worker began to read them, empty for none."""
    for module in list(sys.modules.values()):
        file = str(getattr(module, "__file__", None) or "")
        with suppress(OSError):
            # A time to come is another machine's clock; it would end every worker.
            if file and started < Path(file).stat().st_mtime <= time.time():
                return file
    return ""


def worker_int(worker: Any) -> None:
    """End the process that this is called in, as gunicorn's master would: after the requests that it is at."""
    os.kill(worker.pid, signal.SIGTERM)
