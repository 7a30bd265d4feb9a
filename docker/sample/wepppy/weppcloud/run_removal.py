"""Renaming and deleting runs: row, push subscriptions, directory, state and last job in Redis together."""

from __future__ import annotations

import shutil
import uuid
from datetime import UTC, datetime

from flask import current_app
from redis import Redis
from sqlalchemy import delete as delete_from

from wepppy.config.run_paths import get_wd
from wepppy.rq.project import rename_project
from wepppy.weppcloud import accounts, run_store
from wepppy.weppcloud.errors import Problem
from wepppy.weppcloud.models import Run, db, push_subscriptions


def rename(run: Run, name: str) -> None:
    """Give a run another name, in its row and in its directory. Raises Problem 403 for others than its owner."""
    _require_owner(run, "rename")
    run.name = name
    run.last_modified = datetime.now(UTC)
    db.session.flush()
    try:
        rename_project(get_wd(run.runid), name)
    except FileNotFoundError:
        current_app.logger.warning("run %s has no directory to be renamed in", run.runid)
    db.session.commit()


def delete(run: Run) -> None:
    """Delete a run for good. Raises Problem 403 for others than its owner, 409 while a job of it waits or works."""
    _require_owner(run, "delete")
    runid, folder = run.runid, get_wd(run.runid)
    hashes: Redis = current_app.extensions["run_redis"]
    with hashes.lock(f"lock:start:{runid}", timeout=60, blocking_timeout=10):
        job = run_store.job_states([runid])[runid]
        if job is not None and job["status"] in run_store.ACTIVE:
            raise Problem(409, "The run is being computed. Delete it when it has ended.", "run_active")
        # Out of sight in one step, and back if the database refuses; no run can have a name with a dot in front.
        hidden = folder.with_name(f".deleted-{uuid.uuid4().hex}")
        there = folder.is_dir()
        if there:
            folder.rename(hidden)
        try:
            db.session.execute(delete_from(push_subscriptions).where(push_subscriptions.c.runid == runid))
            db.session.delete(run)
            db.session.commit()
        except BaseException:
            db.session.rollback()
            if there:
                hidden.rename(folder)
            raise
        hashes.delete(runid)
        if job is not None:
            run_store.delete_job(job["id"])
    shutil.rmtree(hidden, ignore_errors=True)
    if hidden.exists():
        current_app.logger.warning("files of the deleted run %s are left in %s", runid, hidden)


def _require_owner(run: Run, what: str) -> None:
    if not accounts.may_manage(run):
        raise Problem(403, f"Only the owner of a run may {what} it.")
