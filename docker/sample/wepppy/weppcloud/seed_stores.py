"""Write a planned site into the stores: roles, accounts and runs in Postgres, folders on disk, checklists in Redis.

In batches, and only what is missing: whatever interrupts it, the next call makes the rest.
"""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from flask import current_app
from redis import Redis
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from wepppy.config.run_paths import geodata_root, get_wd, wc1_root
from wepppy.prep import DUMP
from wepppy.rq.project import create_run_directory
from wepppy.sample_data import read_marker
from wepppy.weppcloud import run_store
from wepppy.weppcloud.default_accounts import ensure_roles, missing_roles
from wepppy.weppcloud.models import Role, Run, User, db, roles_users, runs_users
from wepppy.weppcloud.seed_plan import COMPUTED, DOMAIN, RUNID, Person, PlannedRun, people, runs

BATCH = 1000

Progress = Callable[[str, str], None]


@dataclass
class Held:
    """What an earlier seeding left, by store."""

    rows: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    checklists: set[str] = field(default_factory=set)
    emails: set[str] = field(default_factory=set)

    @property
    def runids(self) -> set[str]:
        """Every run of which anything is left."""
        return self.rows | self.folders | self.checklists


@dataclass
class Filled:
    """How many of each were made, and how many runs were there already."""

    roles: int = 0
    accounts: int = 0
    runs: int = 0
    folders: int = 0
    checklists: int = 0
    started: int = 0
    runs_kept: int = 0


def hashes() -> Redis:
    """Return the client of the database that holds the checklists."""
    client: Redis = current_app.extensions["run_redis"]
    return client


def survey() -> Held:
    """Return what is there of any seed."""
    mine = Run.runid.regexp_match(f"^{RUNID.pattern}$")
    folder = wc1_root() / "runs" / "se"
    try:
        names = [entry.name for entry in folder.iterdir()]
    except FileNotFoundError:
        names = []
    found = (str(key) for key in hashes().scan_iter("seed-*", count=5000, _type="hash"))
    return Held(
        set(db.session.scalars(select(Run.runid).where(mine))),
        {name for name in names if RUNID.fullmatch(name)},
        {key for key in found if RUNID.fullmatch(key)},
        set(db.session.scalars(select(User.email).where(User.email.endswith(f"@{DOMAIN}", autoescape=True)))),
    )


def fill(seed: int, count: int, held: Held, progress: Progress, *, dry_run: bool = False) -> Filled:
    """Make what is missing of the site of `seed` with `count` runs and return how much that was.

    Raises NoGeodataError when there is no landscape that the runs could cover.
    """
    landscape = read_marker(geodata_root())
    if landscape is None:
        raise run_store.NoGeodataError("the sample geodata has not been made yet")
    filled = Filled()
    if dry_run:
        filled.roles = len(missing_roles(db.session.connection()))
        filled.accounts = sum(person.email not in held.emails for person in people())
    else:
        filled.roles = ensure_roles(db.session.connection())
        filled.accounts = _add_accounts([person for person in people() if person.email not in held.emails])
        db.session.commit()
        progress("accounts", f"{filled.accounts} made, {len(people()) - filled.accounts} kept")
    owners = dict(db.session.execute(select(User.email, User.id)).all())
    done = 0
    for batch in _batches(runs(seed, count)):
        _fill_batch(batch, held, owners, landscape["run_extent"], filled, dry_run)
        done += len(batch)
        if not dry_run:
            progress("runs", f"{done} of {count}")
    filled.started = _start_first([plan.runid for plan in runs(seed, min(count, COMPUTED))], dry_run)
    return filled


def _start_first(runids: list[str], dry_run: bool) -> int:
    """Enqueue the runs that have no job yet; return how many these are."""
    idle = [runid for runid, job in run_store.job_states(runids).items() if job is None]
    for runid in idle if not dry_run else ():
        if (run := run_store.find_run(runid)) is not None:
            run_store.start_run(run)
    return len(idle)


def _batches(planned: Iterable[PlannedRun]) -> Iterable[list[PlannedRun]]:
    rest = iter(planned)
    while batch := list(itertools.islice(rest, BATCH)):
        yield batch


def _add_accounts(wanted: list[Person]) -> int:
    if not wanted:
        return 0
    roles = dict(db.session.execute(select(Role.name, Role.id)).all())
    rows = [
        {"email": person.email, "active": True, "fs_uniquifier": secrets.token_hex(32)} for person in wanted
    ]
    made = db.session.execute(
        insert(User).on_conflict_do_nothing().returning(User.email, User.id), rows
    ).all()
    by_email = {person.email: person for person in wanted}
    links = [
        {"user_id": number, "role_id": roles[name]}
        for email, number in made
        for name in by_email[email].roles
    ]
    if links:
        db.session.execute(insert(roles_users).on_conflict_do_nothing(), links)
    return len(made)


def _fill_batch(
    batch: list[PlannedRun],
    held: Held,
    owners: dict[str, int],
    extent: Any,
    filled: Filled,
    dry_run: bool,
) -> None:
    folders = [plan for plan in batch if plan.runid not in held.folders]
    rows = [plan for plan in batch if plan.runid not in held.rows]
    checklists = [plan for plan in batch if plan.runid not in held.checklists]
    filled.folders += len(folders)
    filled.runs += len(rows)
    filled.checklists += len(checklists)
    filled.runs_kept += len(batch) - len(rows)
    if dry_run:
        return
    # The row last but one: what the list shows can be opened; a checklist that is missing is only an empty one.
    for plan in folders:
        _add_folder(plan, extent)
    _add_rows(rows, owners)
    db.session.commit()
    if checklists:
        with hashes().pipeline(transaction=False) as pipeline:
            for plan in checklists:
                pipeline.hset(plan.runid, mapping=plan.checklist)
            pipeline.execute()


def _add_folder(plan: PlannedRun, extent: Any) -> None:
    try:
        folder = create_run_directory(
            plan.runid, run_store.CONFIG, plan.name, extent, public=plan.public, created=plan.created
        )
    except FileExistsError:
        folder = get_wd(plan.runid)
    # As RedisPrep keeps it: a Redis that lost its data gets the checklist back from here.
    (folder / DUMP).write_text(json.dumps(plan.checklist, indent=1, sort_keys=True), encoding="utf-8")


def _add_rows(rows: list[PlannedRun], owners: dict[str, int]) -> None:
    if not rows:
        return
    values = [
        {
            "runid": plan.runid,
            "name": plan.name,
            "config": run_store.CONFIG,
            "owner_id": owners.get(plan.owner or ""),
            "public": plan.public,
            "date_created": plan.created,
            "last_modified": plan.created,
            "bootstrap_disabled": False,
        }
        for plan in rows
    ]
    statement = insert(Run).on_conflict_do_nothing().returning(Run.runid, Run.id)
    numbers = dict(db.session.execute(statement, values).all())
    links = [
        {"user_id": owners[email], "run_id": numbers[plan.runid]}
        for plan in rows
        for email in (plan.owner, plan.shared_with)
        if email and email in owners and plan.runid in numbers
    ]
    if links:
        db.session.execute(insert(runs_users).on_conflict_do_nothing(), links)
