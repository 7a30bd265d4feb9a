"""Remove what `flask seed` made, of whichever seed, and nothing else."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass

from flask import current_app
from sqlalchemy import delete, exists, select

from wepppy.config.run_paths import get_wd
from wepppy.weppcloud import run_store
from wepppy.weppcloud.models import Run, User, db, push_subscriptions, runs_users
from wepppy.weppcloud.seed_plan import RUNID
from wepppy.weppcloud.seed_stores import BATCH, Held, Progress, hashes


class BusyError(Exception):
    """A run that would be removed is being computed."""


@dataclass
class Removed:
    """How much is removed; `accounts_kept` own or share runs that people made."""

    runs: int = 0
    accounts: int = 0
    accounts_kept: int = 0


def count(held: Held) -> Removed:
    """Return what `remove` would remove. Raises BusyError as it would."""
    _jobs(held)
    kept = _in_use(held.emails)
    return Removed(len(held.runids), len(held.emails) - len(kept), len(kept))


def remove(held: Held, progress: Progress) -> Removed:
    """Remove rows, then checklists, then folders: what is left by an interruption is found by the next call.

    Jobs that wait are taken off the queue. Raises BusyError, having changed nothing, while one is at work.
    """
    for job in _jobs(held):
        job.delete()
    pattern = f"^{RUNID.pattern}$"
    db.session.execute(delete(push_subscriptions).where(push_subscriptions.c.runid.regexp_match(pattern)))
    db.session.execute(delete(Run).where(Run.runid.regexp_match(pattern)))
    kept = _in_use(held.emails)
    db.session.execute(delete(User).where(User.email.in_(held.emails - kept)))
    db.session.commit()
    rest, done = iter(sorted(held.runids)), 0
    while batch := list(itertools.islice(rest, BATCH)):
        hashes().unlink(*batch)
        for runid in batch:
            shutil.rmtree(get_wd(runid), ignore_errors=True)
        done += len(batch)
        progress("reset", f"{done} of {len(held.runids)} runs removed")
    return Removed(len(held.runids), len(held.emails) - len(kept), len(kept))


def _in_use(emails: set[str]) -> set[str]:
    """Return the accounts that runs made by people depend on: without its owner a private run is lost to them."""
    made_by_people = ~Run.runid.regexp_match(f"^{RUNID.pattern}$")
    shared = exists().where(runs_users.c.user_id == User.id, runs_users.c.run_id == Run.id, made_by_people)
    owned = exists().where(Run.owner_id == User.id, made_by_people)
    return set(db.session.scalars(select(User.email).where(User.email.in_(emails), owned | shared)))


def _jobs(held: Held) -> list[object]:
    """Return the waiting jobs of the seeded runs. Raises BusyError when one is being computed."""
    from rq.job import Job

    states = run_store.job_states(sorted(held.checklists))
    active = {runid: job for runid, job in states.items() if job and job["status"] in run_store.ACTIVE}
    for runid, job in active.items():
        if job["status"] == "started":
            raise BusyError(f"{runid} is being computed; wait until that has ended")
    connection = current_app.extensions["job_redis"]
    found = Job.fetch_many([job["id"] for job in active.values()], connection=connection)
    return [job for job in found if job is not None]
