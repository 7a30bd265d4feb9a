"""`flask seed`: fills an empty site with people, runs and checklists for a look around or a load test.

A second call makes only what is missing, whatever interrupted the first; what people made is never touched. Progress
and outcome are JSON objects, one a line: `{"step", "state"}`, at the end `{"answer"}` or `{"refused"}`.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import click
from flask.cli import with_appcontext
from sqlalchemy import delete, exists, select

from wepppy.config.run_paths import geodata_root, get_wd
from wepppy.prep import DUMP
from wepppy.rq.project import create_run_directory
from wepppy.sample_data import DEFAULT_SEED, read_marker
from wepppy.weppcloud.default_accounts import ensure_roles
from wepppy.weppcloud.models import Role, Run, User, db, push_subscriptions, runs_users
from wepppy.weppcloud.run_store import (
    ACTIVE,
    CONFIG,
    delete_job,
    find_run,
    hashes,
    job_states,
    start_run,
    stored,
)
from wepppy.weppcloud.seed_plan import COMPUTED, DOMAIN, PEOPLE, RUNID, PlannedRun, runs

REFUSED = 4
BATCH = 1000
COUNTED = ("roles", "accounts", "runs", "folders", "checklists", "started", "runs_kept")
SEEDED = f"^{RUNID.pattern}$"
T = TypeVar("T")


@dataclass
class Held:
    """What an earlier seeding left, of whichever seed, by store."""

    rows: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    checklists: set[str] = field(default_factory=set)
    emails: set[str] = field(default_factory=set)

    @property
    def runids(self) -> set[str]:
        """Every run of which anything is left."""
        return self.rows | self.folders | self.checklists


@click.command("seed")
@click.option("--seed", default=DEFAULT_SEED, show_default=True, type=click.IntRange(0, 2**31))
@click.option(
    "--scale", default=12, show_default=True, type=click.IntRange(0, 100_000), help="How many runs."
)
@click.option("--reset", is_flag=True, help="First remove what an earlier call made.")
@click.option("--dry-run", is_flag=True, help="Only count what would be made or removed.")
@with_appcontext
def seed(seed: int, scale: int, reset: bool, dry_run: bool) -> None:
    """Fill the site with people, runs and their checklists, all derived from one number."""
    held = _survey()
    others = {int(match[1]) for runid in held.runids if (match := RUNID.fullmatch(runid))} - {seed}
    if others and not reset:
        seeds = ", ".join(map(str, sorted(others)))
        _refuse(f"the site holds runs of seed {seeds}, and --reset was not given")
    landscape = read_marker(geodata_root())
    if landscape is None:
        _refuse("the runs would cover the sample geodata, which has not been made yet")
    answer: dict[str, Any] = {"seed": seed}
    if reset:
        kept = _in_use(held.emails)
        answer["removed"] = _reset(held, kept, dry_run)
        held = Held(emails=kept)
    made = Counter(dict.fromkeys(COUNTED, 0))
    _fill(seed, scale, held, landscape["run_extent"], made, dry_run)
    _say(answer={**answer, **made})


def _say(**line: object) -> None:
    click.echo(json.dumps(line))


def _refuse(why: str) -> NoReturn:
    _say(refused=why)
    raise SystemExit(REFUSED)


def _survey() -> Held:
    rows, folders, keys = stored()
    emails = db.session.scalars(select(User.email).where(User.email.endswith(f"@{DOMAIN}", autoescape=True)))
    of_runs = ({name for name in names if RUNID.fullmatch(name)} for names in (rows, folders, keys))
    return Held(*of_runs, set(emails))


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(itertools.islice(rest, BATCH)):
        yield batch


def _fill(seed: int, scale: int, held: Held, extent: Any, made: Counter[str], dry_run: bool) -> None:
    new = [email for email in PEOPLE if email not in held.emails]
    made.update(roles=ensure_roles(db.session.connection(), dry_run=dry_run), accounts=len(new))
    if not dry_run:
        roles = {role.name: role for role in db.session.scalars(select(Role))}
        db.session.add_all(User(email=email, roles=[roles[name] for name in PEOPLE[email]]) for email in new)
        db.session.commit()
        _say(step="accounts", state=f"{len(new)} made, {len(PEOPLE) - len(new)} kept")
    people = {user.email: user for user in db.session.scalars(select(User).where(User.email.in_(PEOPLE)))}
    done = 0
    for batch in _batches(runs(seed, scale)):
        _fill_batch(batch, held, people, extent, made, dry_run)
        done += len(batch)
        if not dry_run:
            _say(step="runs", state=f"{done} of {scale}")
    first = [plan.runid for plan in runs(seed, min(scale, COMPUTED))]
    for runid, job in job_states(first).items():
        if job is None:
            made["started"] += 1
            if not dry_run and (run := find_run(runid)) is not None:
                start_run(run)


def _fill_batch(
    batch: list[PlannedRun],
    held: Held,
    people: dict[str, User],
    extent: Any,
    made: Counter[str],
    dry_run: bool,
) -> None:
    folders = [plan for plan in batch if plan.runid not in held.folders]
    rows = [plan for plan in batch if plan.runid not in held.rows]
    checklists = [plan for plan in batch if plan.runid not in held.checklists]
    made.update(folders=len(folders), runs=len(rows), checklists=len(checklists))
    made["runs_kept"] += len(batch) - len(rows)
    if dry_run:
        return
    # The row last but one: what the list shows can be opened; a checklist that is missing is only an empty one.
    for plan in folders:
        try:
            folder = create_run_directory(
                plan.runid, CONFIG, plan.name, extent, public=plan.public, created=plan.created
            )
        except FileExistsError:
            folder = get_wd(plan.runid)
        # As RedisPrep keeps it: a Redis that lost its data gets the checklist back from here.
        (folder / DUMP).write_text(json.dumps(plan.checklist, indent=1, sort_keys=True), encoding="utf-8")
    db.session.add_all(
        Run(
            runid=plan.runid,
            name=plan.name,
            config=CONFIG,
            owner=people.get(plan.owner or ""),
            users=[people[email] for email in (plan.owner, plan.shared_with) if email in people],
            public=plan.public,
            date_created=plan.created,
            last_modified=plan.created,
        )
        for plan in rows
    )
    db.session.commit()
    with hashes().pipeline(transaction=False) as pipeline:
        for plan in checklists:
            pipeline.hset(plan.runid, mapping=plan.checklist)
        pipeline.execute()


def _in_use(emails: set[str]) -> set[str]:
    """Return the accounts that runs made by people depend on: without its owner a private run is lost to them."""
    by_people = ~Run.runid.regexp_match(SEEDED)
    shared = exists().where(runs_users.c.user_id == User.id, runs_users.c.run_id == Run.id, by_people)
    owned = exists().where(Run.owner_id == User.id, by_people)
    return set(db.session.scalars(select(User.email).where(User.email.in_(emails), owned | shared)))


def _reset(held: Held, kept: set[str], dry_run: bool) -> dict[str, int]:
    """Remove rows, then checklists, then folders: what is left by an interruption is found by the next call.

    Jobs that wait are taken off the queue; one at work refuses the reset. kept: accounts that are not removed.
    """
    jobs = {runid: job for runid, job in job_states(sorted(held.checklists)).items() if job}
    for runid, job in jobs.items():
        if job["status"] == "started":
            _refuse(f"{runid} is being computed; wait until that has ended")
    goes = held.emails - kept
    removed = {"runs": len(held.runids), "accounts": len(goes), "accounts_kept": len(kept)}
    if dry_run:
        return removed
    for job in jobs.values():
        if job["status"] in ACTIVE:
            delete_job(job["id"])
    db.session.execute(delete(push_subscriptions).where(push_subscriptions.c.runid.regexp_match(SEEDED)))
    db.session.execute(delete(Run).where(Run.runid.regexp_match(SEEDED)))
    db.session.execute(delete(User).where(User.email.in_(goes)))
    db.session.commit()
    done = 0
    for batch in _batches(sorted(held.runids)):
        hashes().unlink(*batch)
        for runid in batch:
            shutil.rmtree(get_wd(runid), ignore_errors=True)
        done += len(batch)
        _say(step="reset", state=f"{done} of {len(held.runids)} runs removed")
    return removed
