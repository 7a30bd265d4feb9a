"""What becomes of a job whose process was lost: it is queued again or fails, and its run is told."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rq.job import Job
from workerlease import LOSSES, MOST_LOSSES, Lease, queue_again

REQUEUED, LOST = "requeued", "lost"
TELL_TIMEOUT = 10  # s: the runs' folder may not answer


def end_lost(lease: Lease, job: Job, why: str, *, counts: bool = True) -> tuple[str, str]:
    """Put a lost job back into its queue; return REQUEUED and the words for it.

    counts: whether that was a loss, not somebody's wish. LOST instead: it was lost too often, and is the caller's to
    fail. Raises LeaseLostError where it is another's.
    """
    losses = queue_again(lease, job, counts)
    if losses <= MOST_LOSSES:
        return REQUEUED, f"{why}: queued again{f', for loss {losses} of {MOST_LOSSES}' if counts else ''}"
    job.connection.hdel(job.key, LOSSES)
    job.retries_left = 0
    return LOST, f"{why}: failed, since that is more than {MOST_LOSSES} times"


def tell(job: Job, status: str, text: str) -> None:
    """Write what becomes of a job into the `rq.log` of its run, and publish it on `<runid>:rq`."""
    runid = _run_of(job)
    if runid is None:
        return
    with suppress(Exception):  # what the tree does with an id, or the shared folder
        folder = Path(_folders()(runid))
        if folder.is_dir():
            with (folder / "rq.log").open("a", encoding="utf-8") as log:
                log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} WARNING rq.worker: Job {job.id}: {text}\n")
    job.connection.publish(f"{runid}:rq", json.dumps({"job": job.id, "status": status, "text": text}))


def apart(function: Callable[..., None], *arguments: Any) -> None:
    """Call a function in a process of its own.

    What it imports of the tree stays out of this one, whose later work-horses are to find the code as it is then.
    """
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments, daemon=True)
    process.start()
    process.join(TELL_TIMEOUT)


def _run_of(job: Job) -> str | None:
    try:
        named = [*job.args[:1], job.kwargs.get("runid")]
    except Exception:  # arguments that can't be unpickled may raise anything
        named = []
    return next((name for name in [*named, job.meta.get("runid")] if isinstance(name, str) and name), None)


def _folders() -> Callable[[str], str | Path]:
    try:
        from wepppy.config.run_paths import get_wd
    except ImportError:
        from wepppy.weppcloud.utils.helpers import get_wd
    found: Callable[[str], str | Path] = get_wd
    return found
