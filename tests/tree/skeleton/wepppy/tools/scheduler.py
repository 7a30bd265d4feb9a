"""Puts periodic tasks on the queues: `python -m wepppy.tools.scheduler`; exactly one may run."""

from __future__ import annotations

import logging
import os
import random
import time
from pathlib import Path
from typing import Any

import yaml
from rq import Queue

from wepppy.config.redis_settings import RedisDB, redis_client

log = logging.getLogger("scheduler")


def load(file: Path) -> dict[str, Any]:
    """Return the schedule of a YAML file; raise ValueError for another version or a task without an interval."""
    schedule: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    if schedule.get("version") != 1:
        raise ValueError(f"{file}: version 1 is wanted, not {schedule.get('version')!r}")
    for task in schedule["tasks"]:
        if int(task["interval_seconds"]) <= 0:
            raise ValueError(f"{file}: {task['name']} has no interval")
    return schedule


def put(task: dict[str, Any], default_queue: str) -> str:
    """Put one task on its queue; return the job's id."""
    queue = Queue(
        task.get("queue", default_queue), connection=redis_client(RedisDB.RQ, decode_responses=False)
    )
    job = queue.enqueue_call(
        task["func"], kwargs=task.get("kwargs"), timeout=task.get("job_timeout", 3600),
        result_ttl=task.get("result_ttl", 86_400), meta={"scheduled": task["name"]},
    )  # fmt: skip
    return str(job.id)


def main() -> None:
    """Put each task on its queue whenever its interval has passed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    schedule = load(Path(os.environ.get("SCHEDULE_CONFIG") or "/workdir/wepppy/docker/scheduled-tasks.yml"))
    pause = float(os.environ.get("SCHEDULE_SLEEP_SECONDS") or 30)
    jitter = float(schedule.get("jitter_seconds", 300))
    first = time.monotonic() + float(schedule.get("initial_delay_seconds", 900))
    due = {task["name"]: first + random.uniform(0, jitter) for task in schedule["tasks"]}
    log.info("%d tasks, the first in %.0f s", len(due), min(due.values()) - time.monotonic())
    while True:
        for task in schedule["tasks"]:
            if time.monotonic() >= due[task["name"]]:
                log.info("%s is job %s", task["name"], put(task, schedule.get("default_queue", "default")))
                due[task["name"]] = time.monotonic() + float(task["interval_seconds"])
        time.sleep(pause)


if __name__ == "__main__":
    main()
