"""Runs in the web application: a row in Postgres, a directory, a job and a checklist in Redis."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flask import current_app
from redis import Redis
from redis.lock import Lock
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from wepppy.config.run_paths import geodata_root, get_wd, wc1_root
from wepppy.prep import RedisPrep
from wepppy.rq.project import create_run_directory, read_project, rename_project
from wepppy.sample_data import read_marker
from wepppy.weppcloud.models import Run, User, db, push_subscriptions

CONFIG = "sample"
LAST_STEP = "build_rusle"
TASK = "run_project"  # under this name the state of a run keeps the id of its last job
KEPT_SECONDS = 604_800  # results of jobs
ACTIVE = frozenset({"created", "queued", "started", "deferred", "scheduled"})
_RUN_ID = re.compile(r"[A-Za-z0-9_.;-]{1,200}")
_FIRST = (
    "amber brisk calm clear deep early gentle grand high late long "
    "mossy quiet rocky shady silver sunny tall wide windy"
)
_SECOND = (
    "alder basin bend bluff brook cedar creek falls fern ford glen "
    "gully heron larch meadow pine ridge slope spring willow"
)


class NoGeodataError(Exception):
    """There is no landscape to make a run of."""


class ActiveError(Exception):
    """A job of the run waits or works."""


def hashes() -> Redis:
    """Return the client of the database that holds the checklists."""
    client: Redis = current_app.extensions["run_redis"]
    return client


def lock(runid: str) -> Lock:
    """Return the lock under which a run is started, removed and reconciled."""
    return hashes().lock(f"lock:start:{runid}", timeout=60, blocking_timeout=10)


def create_run(name: str, *, public: bool, owner: User | None) -> Run:
    """Make a run that covers the sample landscape: its row and its directory, or neither.

    Raises NoGeodataError without a landscape, OSError when the runs volume can't be written.
    """
    landscape = read_marker(geodata_root())
    if landscape is None:
        raise NoGeodataError("the sample geodata has not been made yet")
    while True:
        words = secrets.choice(_FIRST.split()), secrets.choice(_SECOND.split())
        runid = f"{'-'.join(words)}-{secrets.randbelow(10**6):06d}"
        run = Run(runid=runid, name=name, config=CONFIG, owner=owner, public=public)
        try:
            directory = create_run_directory(runid, CONFIG, name, landscape["run_extent"], public=public)
        except FileExistsError:
            continue
        try:
            if owner is not None:
                run.users.append(owner)
            db.session.add(run)
            db.session.commit()
        except BaseException as error:
            db.session.rollback()
            shutil.rmtree(directory, ignore_errors=True)
            if isinstance(error, IntegrityError):
                continue  # the name belongs to a run whose directory is gone
            raise
        return run


def find_run(runid: str) -> Run | None:
    """Return the run called `runid`, or None."""
    if not _RUN_ID.fullmatch(runid):
        return None
    return db.session.scalar(select(Run).where(Run.runid == runid))


def has_files(runid: str) -> bool:
    """Return whether the run has a directory."""
    try:
        return get_wd(runid).is_dir()
    except ValueError:
        return False


def extent_of(run: Run) -> list[float] | None:
    """Return left, bottom, right, top of a run in degrees, None without a readable directory."""
    try:
        return list(read_project(get_wd(run.runid)).extent)
    except (OSError, ValueError):
        return None


def stored() -> tuple[set[str], dict[str, Path], set[str]]:
    """Return what each store knows: run ids of rows, directories by run id, keys of hashes in Redis.

    Among the hashes may be some that belong to no run.
    """
    folders: dict[str, Path] = {}
    with contextlib.suppress(FileNotFoundError):
        for group in os.scandir(wc1_root() / "runs"):
            for entry in os.scandir(group) if group.is_dir() else ():
                # A leading dot is of a directory that is being made or removed.
                if entry.name[:2] == group.name and not entry.name.startswith(".") and entry.is_dir():
                    folders[entry.name] = Path(entry.path)
    keys = {str(key) for key in hashes().scan_iter("*", count=5000, _type="hash")}
    return set(db.session.scalars(select(Run.runid))), folders, keys


def start_run(run: Run) -> tuple[str, bool]:
    """Put the computation of a run on the queue.

    Returns the job's id and whether it is new: while a job of the run waits or works, that one is returned,
    so that a double click costs nothing.
    """
    from rq import Queue

    with lock(run.runid):
        current = job_states([run.runid])[run.runid]
        if current is not None and current["status"] in ACTIVE:
            return current["id"], False
        job_id = str(uuid.uuid4())
        # Written first: a job without a record would be worse than a record without a job.
        RedisPrep(run.runid).set_job(TASK, job_id)
        Queue("default", connection=current_app.extensions["job_redis"]).enqueue_call(
            "wepppy.rq.jobs.run_project",
            args=(run.runid,),
            job_id=job_id,
            timeout=3600,
            result_ttl=KEPT_SECONDS,
            failure_ttl=KEPT_SECONDS,
            description=f"run {run.runid}",
            meta={"runid": run.runid},
        )
    run.last_modified = datetime.now(UTC)
    db.session.commit()
    return job_id, True


def rename_run(run: Run, name: str) -> None:
    """Give a run another name, in its row and in its directory."""
    run.name = name
    run.last_modified = datetime.now(UTC)
    db.session.flush()
    try:
        rename_project(get_wd(run.runid), name)
    except FileNotFoundError:
        current_app.logger.warning("run %s has no directory to be renamed in", run.runid)
    db.session.commit()


def remove_run(runid: str, *, with_files: bool = True) -> bool:
    """Delete a run for good: row, push subscriptions, directory, checklist and last job.

    Without `with_files` only a run that has no directory; returns whether it is gone. Raises ActiveError while a job
    of it waits or works.
    """
    folder = get_wd(runid)
    # Out of sight in one step, and back if the database refuses; no run can have a name with a dot in front.
    hidden = folder.with_name(f".deleted-{uuid.uuid4().hex}")
    with lock(runid):
        job = job_states([runid])[runid]
        if job is not None and job["status"] in ACTIVE:
            raise ActiveError(runid)
        there = folder.is_dir()
        if there and not with_files:
            return False
        if there:
            folder.rename(hidden)
        try:
            db.session.execute(delete(push_subscriptions).where(push_subscriptions.c.runid == runid))
            db.session.execute(delete(Run).where(Run.runid == runid))
            db.session.commit()
        except BaseException:
            db.session.rollback()
            if there:
                hidden.rename(folder)
            raise
        hashes().delete(runid)
        if job is not None:
            delete_job(job["id"])
    shutil.rmtree(hidden, ignore_errors=True)
    if hidden.exists():
        current_app.logger.warning("files of the deleted run %s are left in %s", runid, hidden)
    return True


def delete_job(job_id: str) -> None:
    """Delete a job with its result from Redis, if it is still there."""
    from rq.exceptions import NoSuchJobError
    from rq.job import Job

    with contextlib.suppress(NoSuchJobError):
        Job.fetch(job_id, connection=current_app.extensions["job_redis"]).delete()


def job_states(runids: list[str]) -> dict[str, dict[str, str] | None]:
    """Return the last job of each run as `{"id", "status"}`, None for a run without one.

    Two round trips, however many runs there are.
    """
    with hashes().pipeline(transaction=False) as pipeline:
        for runid in runids:
            pipeline.hmget(runid, [f"rq:{TASK}", f"timestamps:{LAST_STEP}"])
        held: dict[str, Any] = dict(zip(runids, pipeline.execute(), strict=True))
    known = [job_id for job_id, _ in held.values() if job_id]
    status: dict[str, str] = {}
    if known:
        from rq.job import Job

        for job in Job.fetch_many(known, connection=current_app.extensions["job_redis"]):
            current = job.get_status(refresh=False) if job is not None else None
            if job is not None and current is not None:
                status[job.id] = current.value
    states: dict[str, dict[str, str] | None] = {}
    for runid, (job_id, finished) in held.items():
        # Jobs are kept for a week; what they did is kept with the run.
        afterwards = "finished" if finished else "forgotten"
        states[runid] = {"id": job_id, "status": status.get(job_id, afterwards)} if job_id else None
    return states
