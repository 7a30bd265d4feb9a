"""`flask runs-check`: runs of which one store knows and another does not, as after a restore of the database alone.

A run is a row in Postgres, a directory and, once started, a hash in Redis. Nothing is changed without `--fix`, and no
directory is ever deleted. The outcome is one JSON object in the last line: `{"answer"}` or `{"refused"}`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import click
from flask import current_app
from flask.cli import with_appcontext
from redis import Redis
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from wepppy.config.run_paths import MARKER, PUBLIC_MARKER, get_wd, wc1_root
from wepppy.rq.project import Project, read_project
from wepppy.weppcloud.models import Run, db, push_subscriptions

REFUSED = 4
# A run that is being created has a directory before it has a row.
SETTLED_SECONDS = 600.0
ASIDE = "runs-set-aside"
LOCK_SECONDS = 60
BATCH = 1000
# Fields of a run's hash, by which it is known from other hashes.
RUN_FIELDS = ("timestamps:", "attrs:", "locked:", "rq:")


@dataclass(frozen=True)
class Stray:
    """A directory without a row. problem: why no row can be made of it; empty when one can."""

    runid: str
    name: str = ""
    created: str = ""
    public: bool = True
    problem: str = ""


@dataclass
class Found:
    """What does not fit together, by run id; and how many runs there are in all."""

    rows: int = 0
    folders: int = 0
    without_row: list[Stray] = field(default_factory=list)
    without_folder: list[str] = field(default_factory=list)
    only_in_redis: list[str] = field(default_factory=list)


@dataclass
class Fixed:
    """What was reconciled; `left` changed meanwhile, or could not be."""

    adopted: int = 0
    set_aside: int = 0
    rows_removed: int = 0
    hashes_removed: int = 0
    left: list[str] = field(default_factory=list)


class NoRunsError(Exception):
    """There is not one directory of a run, but rows: the volume is more likely away than every run."""


def survey() -> Found:
    """Return what does not fit together now."""
    folders, rows = _folders_by_runid(), set(db.session.scalars(select(Run.runid)))
    gone = sorted(runid for runid in rows - folders.keys() if not has_files(runid))
    known = rows | folders.keys()
    return Found(
        len(rows),
        len(folders),
        [_stray(folder) for folder in _without_row(folders, rows)],
        gone,
        sorted(key for key in _hashes_beside(known) if not has_files(key)),
    )


def reconcile(found: Found, *, aside: bool) -> Fixed:
    """Make rows of directories (aside: move those away instead), remove rows and hashes of runs that are gone.

    Each is looked at again first, under the lock that starting and deleting a run take. A directory of which no row
    can be made is moved away, beside the runs. Raises NoRunsError, having changed nothing.
    """
    if found.without_folder and not found.folders:
        raise NoRunsError(f"{wc1_root() / 'runs'} holds no run at all, and the database holds {found.rows}")
    fixed, client = Fixed(), _redis()
    place = wc1_root() / ASIDE / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    for stray in found.without_row:
        with client.lock(f"lock:start:{stray.runid}", timeout=LOCK_SECONDS, blocking_timeout=10):
            if aside or stray.problem:
                _count(fixed, "set_aside", stray.runid, _set_aside(stray, place))
            else:
                _count(fixed, "adopted", stray.runid, _adopt(stray))
    for runid in found.without_folder:
        with client.lock(f"lock:start:{runid}", timeout=LOCK_SECONDS, blocking_timeout=10):
            _count(fixed, "rows_removed", runid, not has_files(runid) and _remove_row(runid))
    for key in found.only_in_redis:
        _count(fixed, "hashes_removed", key, not has_files(key) and bool(client.unlink(key)))
    return fixed


def strays() -> int:
    """Return how many runs are on disk without a row."""
    return len(_without_row(_folders_by_runid(), set(db.session.scalars(select(Run.runid)))))


def has_files(runid: str) -> bool:
    """Return whether the run has a directory."""
    try:
        return get_wd(runid).is_dir()
    except ValueError:
        return False


def _count(fixed: Fixed, what: str, runid: str, done: bool) -> None:
    if done:
        setattr(fixed, what, getattr(fixed, what) + 1)
    else:
        fixed.left.append(runid)


def _folders_by_runid() -> dict[str, Path]:
    return {folder.name: folder for folder in _folders()}


def _without_row(folders: dict[str, Path], rows: set[str]) -> list[Path]:
    return [folders[runid] for runid in sorted(folders.keys() - rows) if _is_settled(folders[runid])]


def _folders() -> Iterator[Path]:
    """Directories of runs; a leading dot is of one that is being made or removed."""
    try:
        groups = [entry.path for entry in os.scandir(wc1_root() / "runs") if entry.is_dir()]
    except FileNotFoundError:
        return
    for group in groups:
        with os.scandir(group) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.name[:2] == Path(group).name and entry.is_dir():
                    yield Path(entry.path)


def _is_settled(folder: Path) -> bool:
    marker = folder / MARKER
    try:
        changed = (marker if marker.exists() else folder).stat().st_mtime
    except FileNotFoundError:
        return False
    return time.time() - changed >= SETTLED_SECONDS


def _stray(folder: Path) -> Stray:
    try:
        project = read_project(folder)
    except FileNotFoundError:
        return Stray(folder.name, problem=f"it has no {MARKER}")
    except (OSError, ValueError) as error:
        return Stray(folder.name, problem=str(error))
    if project.runid != folder.name:
        return Stray(folder.name, problem=f"its {MARKER} is that of {project.runid}")
    return Stray(folder.name, project.name, project.created, (folder / PUBLIC_MARKER).exists())


def _hashes_beside(known: set[str]) -> Iterator[str]:
    client = _redis()
    for key in client.scan_iter("*", count=5000, _type="hash"):
        if str(key) in known:
            continue
        fields = client.hkeys(key)
        if fields and all(str(name).startswith(RUN_FIELDS) or name == "last_modified" for name in fields):
            yield str(key)


def _adopt(stray: Stray) -> bool:
    """Make the row again from what the directory says. Whose run it was it does not say: nobody's."""
    try:
        project = read_project(get_wd(stray.runid))
    except (OSError, ValueError):
        return False
    values = {
        "runid": project.runid,
        "name": project.name,
        "config": project.config,
        "public": stray.public,
        "date_created": _moment(project),
        "bootstrap_disabled": False,
    }
    made = db.session.execute(insert(Run).values(values).on_conflict_do_nothing().returning(Run.id)).all()
    db.session.commit()
    return bool(made)


def _moment(project: Project) -> datetime:
    try:
        created = datetime.fromisoformat(project.created)
    except ValueError:
        return datetime.now(UTC)
    return created if created.tzinfo else created.replace(tzinfo=UTC)


def _set_aside(stray: Stray, place: Path) -> bool:
    has_row = db.session.scalar(select(Run.id).where(Run.runid == stray.runid)) is not None
    folder = wc1_root() / "runs" / stray.runid[:2] / stray.runid
    if has_row or not folder.is_dir():
        return False
    place.mkdir(parents=True, exist_ok=True)
    folder.rename(place / stray.runid)
    _redis().unlink(stray.runid)
    return True


def _remove_row(runid: str) -> bool:
    db.session.execute(delete(push_subscriptions).where(push_subscriptions.c.runid == runid))
    removed = db.session.execute(delete(Run).where(Run.runid == runid).returning(Run.id)).all()
    db.session.commit()
    if removed:
        _redis().unlink(runid)
    return bool(removed)


def _redis() -> Redis:
    client: Redis = current_app.extensions["run_redis"]
    return client


@click.command("runs-check")
@click.option("--fix", is_flag=True, help="Reconcile what does not fit together.")
@click.option("--aside", is_flag=True, help="With --fix: move directories without a row away.")
@with_appcontext
def runs_check(fix: bool, aside: bool) -> None:
    """Find runs that a restore of the database, or a loss of files, left in one store only."""
    found = survey()
    answer: dict[str, object] = asdict(found)
    if fix:
        try:
            answer["fixed"] = asdict(reconcile(found, aside=aside))
        except NoRunsError as error:
            click.echo(json.dumps({"refused": str(error)}))
            raise SystemExit(REFUSED) from error
    click.echo(json.dumps({"answer": answer}))
