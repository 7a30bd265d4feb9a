"""The jobs that the web application enqueues. Importing this module is cheap; a job imports what it computes with."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rq import get_current_job

from wepppy.config.run_paths import geodata_root, get_wd
from wepppy.prep import RedisPrep
from wepppy.rq.project import read_project
from wepppy.status_messenger import publish

# Task (as `timestamps:<task>` names it), what it locks while it works, and the channel that its own page listens to.
# The order is that of the checklist: each task is later than all it depends on.
TASKS = (
    ("fetch_dem", "ron.nodb", "dem"),
    ("build_channels", "watershed.nodb", "channel_delineation"),
    ("set_outlet", "watershed.nodb", "outlet"),
    ("build_subcatchments", "watershed.nodb", "subcatchment_delineation"),
    ("abstract_watershed", "watershed.nodb", "subcatchment_delineation"),
    ("build_landuse", "landuse.nodb", "landuse"),
    ("build_soils", "soils.nodb", "soils"),
    ("build_climate", "climate.nodb", "climate"),
    ("run_wepp_hillslopes", "wepp.nodb", "wepp"),
    ("run_wepp_watershed", "wepp.nodb", "wepp"),
    ("build_rusle", "rusle.nodb", "rusle"),
)
LOCK_FILE = ".run.lock"

_log = logging.getLogger(__name__)


def run_project(runid: str) -> dict[str, Any]:
    """Compute a run from its elevation to its report, and return the report.

    Each step shows as a lock while it works and as a timestamp once its files are in place; its progress is text on
    `<runid>:wepp` and on the step's own channel, the last line `run_project COMPLETED` or `run_project FAILED: ...`.
    Called again after it was killed it starts anew and ends with the same files; called again after it was done
    (by the same job) it only returns the report. Raises FileNotFoundError for an unknown run, RunError for input
    that can't be computed.
    """
    folder = get_wd(runid)
    project = read_project(folder)
    job = get_current_job()
    job_id = job.id if job else ""

    def progress(text: str, *channels: str) -> None:
        _log.info("%s", text)
        for channel in dict.fromkeys(("wepp", *channels)):
            publish(runid, channel, text)

    with _exclusive(folder, lambda: progress("waiting for another job of this run to end")):
        from wepppy.rq.steps import STEPS
        from wepppy.rq.steps.map_layers import write_map_layers
        from wepppy.rq.steps.outputs import remove_partial_files
        from wepppy.rq.steps.report import finished_report, write_report
        from wepppy.rq.steps.state import RunState

        prep = RedisPrep(runid, retry=True)
        prep.unlock_all()
        done = finished_report(folder, job_id) if job_id else None
        if done is not None:
            prep.restore()
            progress("run_project COMPLETED")
            return done
        remove_partial_files(folder)
        (folder / "report.json").unlink(missing_ok=True)
        prep.clear_timestamps([task for task, _, _ in TASKS])
        try:
            state = RunState(folder, geodata_root(), project, progress)
            for task, lock, channel in TASKS:
                state.progress = lambda text, channel=channel: progress(text, channel)  # type: ignore[misc]
                prep.lock(lock)
                try:
                    STEPS[task](state)
                    prep.timestamp(task)
                finally:
                    prep.unlock(lock)
            write_map_layers(state)
            report = write_report(state, job_id)
            # Redis may have crashed meanwhile and come back without its last second.
            prep.restore()
            prep.unlock_all()
        except Exception as error:
            progress(f"run_project FAILED: {_reason(error)}")
            raise
        progress("run_project COMPLETED")
        return report


def _reason(error: Exception) -> str:
    from wepppy.rq.steps.state import RunError

    # Only a RunError is worded for the run's owner; others would show paths and internals. They are in rq.log.
    return str(error) if isinstance(error, RunError) else type(error).__name__


@contextmanager
def _exclusive(folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the run's lock file. The kernel frees it with the process, however that ends."""
    with (folder / LOCK_FILE).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
