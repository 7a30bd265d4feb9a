"""Runs in the web application: a row in Postgres, a directory, a job in Redis."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import uuid
from datetime import UTC, datetime
from typing import Any

from flask import current_app
from flask_login import current_user
from redis import Redis
from sqlalchemy import func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql import Select

from wepppy.config.run_paths import geodata_root, get_wd
from wepppy.prep import RedisPrep
from wepppy.rq.project import create_run_directory, read_project
from wepppy.sample_data import read_marker
from wepppy.weppcloud.models import Run, User, db, runs_users

CONFIG = "sample"
JOB = "wepppy.rq.jobs.run_project"
QUEUE = "default"
LAST_STEP = "build_rusle"
TASK = "run_project"  # under this name the state of a run keeps the id of its last job
JOB_TIMEOUT_SECONDS = 3600
RESULT_SECONDS = 604_800
ACTIVE = frozenset({"created", "queued", "started", "deferred", "scheduled"})
NAME_LENGTH = 100
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


def new_runid() -> str:
    """Return a pronounceable name for a run: two words and six digits."""
    first, second = secrets.choice(_FIRST.split()), secrets.choice(_SECOND.split())
    return f"{first}-{second}-{secrets.randbelow(10**6):06d}"


def create_run(name: str, *, public: bool, owner: User | None) -> Run:
    """Make a run that covers the sample landscape: its row and its directory, or neither.

    `name` is free text of at most `NAME_LENGTH` characters. Raises NoGeodataError without a landscape,
    OSError when the runs volume can't be written.
    """
    landscape = read_marker(geodata_root())
    if landscape is None:
        raise NoGeodataError("the sample geodata has not been made yet")
    while True:
        run = Run(runid=new_runid(), name=name, config=CONFIG, owner=owner, public=public)
        try:
            directory = create_run_directory(run.runid, CONFIG, name, landscape["run_extent"], public=public)
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


def visible_runs(limit: int, offset: int, search: str = "") -> tuple[list[Run], int]:
    """Return a page of the runs the visitor may see, newest first, and how many there are in all.

    `search` is part of a name or id; for those who are logged in also of the owner's e-mail address.
    """
    chosen: Select[Any] = select(Run)
    if not current_user.is_authenticated:
        chosen = chosen.where(Run.public)
    elif not current_user.has_role("Admin", "Root"):
        shared = select(runs_users.c.run_id).where(runs_users.c.user_id == current_user.id)
        chosen = chosen.where(or_(Run.public, Run.owner_id == current_user.id, Run.id.in_(shared)))
    if search:
        places = [Run.name.icontains(search, autoescape=True), Run.runid.icontains(search, autoescape=True)]
        if current_user.is_authenticated:
            places.append(Run.owner.has(User.email.icontains(search, autoescape=True)))
        chosen = chosen.where(or_(*places))
    total = db.session.scalar(select(func.count()).select_from(chosen.subquery())) or 0
    page = chosen.order_by(Run.date_created.desc(), Run.id.desc()).limit(limit).offset(offset)
    return list(db.session.scalars(page)), total


def extent_of(run: Run) -> list[float] | None:
    """Return left, bottom, right, top of a run in degrees, None without a readable directory."""
    try:
        return list(read_project(get_wd(run.runid)).extent)
    except (OSError, ValueError):
        return None


def start_run(run: Run) -> tuple[str, bool]:
    """Put the computation of a run on the queue.

    Returns the job's id and whether it is new: while a job of the run waits or works, that one is returned,
    so that a double click costs nothing.
    """
    from rq import Queue

    hashes: Redis = current_app.extensions["run_redis"]
    with hashes.lock(f"lock:start:{run.runid}", timeout=15, blocking_timeout=10):
        current = job_states([run.runid])[run.runid]
        if current is not None and current["status"] in ACTIVE:
            return str(current["id"]), False
        job_id = str(uuid.uuid4())
        # Written first: a job without a record would be worse than a record without a job.
        RedisPrep(run.runid).set_job(TASK, job_id)
        Queue(QUEUE, connection=current_app.extensions["job_redis"]).enqueue_call(
            JOB,
            args=(run.runid,),
            job_id=job_id,
            timeout=JOB_TIMEOUT_SECONDS,
            result_ttl=RESULT_SECONDS,
            failure_ttl=RESULT_SECONDS,
            description=f"run {run.runid}",
            meta={"runid": run.runid},
        )
    run.last_modified = datetime.now(UTC)
    db.session.commit()
    return job_id, True


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
    hashes: Redis = current_app.extensions["run_redis"]
    with hashes.pipeline(transaction=False) as pipeline:
        for runid in runids:
            pipeline.hmget(runid, [f"rq:{TASK}", f"timestamps:{LAST_STEP}"])
        held = dict(zip(runids, pipeline.execute(), strict=True))
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
