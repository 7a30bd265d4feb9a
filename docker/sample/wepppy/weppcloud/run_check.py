"""`flask runs-check`: runs of which one store knows and another does not, as after a restore of the database alone.

A run is a row in Postgres, a directory and, once started, a hash in Redis. Nothing is changed without `--fix`, and no
directory is ever deleted. The outcome is one JSON object in the last line: `{"answer"}` or `{"refused"}`.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from flask.cli import with_appcontext
from sqlalchemy.exc import IntegrityError

from wepppy.config.run_paths import MARKER, PUBLIC_MARKER, get_wd, wc1_root
from wepppy.rq.project import read_project
from wepppy.weppcloud.models import Run, db
from wepppy.weppcloud.run_store import ActiveError, find_run, has_files, hashes, lock, remove_run, stored

REFUSED = 4
# A run that is being created has a directory before it has a row.
SETTLED_SECONDS = 600.0
ASIDE = "runs-set-aside"
# Fields of a run's hash, by which it is known from other hashes.
RUN_FIELDS = ("timestamps:", "attrs:", "locked:", "rq:", "last_modified")
# In Redis for so many seconds: how many runs are on disk alone. To count them reads the names of all runs.
COUNT_KEY = "runs-check:without-row"
COUNT_SECONDS = 60


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

    rows: int
    folders: int
    without_row: list[Stray]
    without_folder: list[str]
    only_in_redis: list[str]


def survey() -> Found:
    """Return what does not fit together now."""
    rows, folders, keys = stored()
    alone = [folders[runid] for runid in sorted(folders.keys() - rows)]
    return Found(
        len(rows),
        len(folders),
        [_stray(folder) for folder in alone if _is_unchanged(folder)],
        sorted(runid for runid in rows - folders.keys() if not has_files(runid)),
        sorted(key for key in keys - rows - folders.keys() if _is_checklist(key) and not has_files(key)),
    )


def count_without_row() -> int:
    """Return how many runs are on disk without a row, as of the last minute."""
    held: Any = hashes().get(COUNT_KEY)
    if held is None:
        rows, folders, _ = stored()
        held = sum(_is_unchanged(folders[runid]) for runid in folders.keys() - rows)
        hashes().set(COUNT_KEY, held, ex=COUNT_SECONDS)
    return int(held)


def reconcile(found: Found, *, aside: bool) -> dict[str, Any]:
    """Make rows of directories (aside: move those away instead), remove rows and hashes of runs that are gone.

    Each is looked at again first, under the lock that starting and deleting a run take. A directory of which no row
    can be made is moved away, beside the runs. Returns how many of each were reconciled; `left` are the ids of those
    that changed meanwhile, or could not be.
    """
    fixed = dict.fromkeys(("adopted", "set_aside", "rows_removed", "hashes_removed"), 0)
    left: list[str] = []

    def count(what: str, runid: str, done: bool) -> None:
        fixed[what] += done
        left.extend([] if done else [runid])

    place = wc1_root() / ASIDE / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    for stray in found.without_row:
        with lock(stray.runid):
            if aside or stray.problem:
                count("set_aside", stray.runid, _set_aside(stray.runid, place))
            else:
                count("adopted", stray.runid, _adopt(stray))
    for runid in found.without_folder:
        try:
            count("rows_removed", runid, not has_files(runid) and remove_run(runid, with_files=False))
        except (ActiveError, ValueError):
            left.append(runid)
    for key in found.only_in_redis:
        count("hashes_removed", key, not has_files(key) and bool(hashes().unlink(key)))
    hashes().unlink(COUNT_KEY)
    return {**fixed, "left": left}


def _is_unchanged(folder: Path) -> bool:
    marker = folder / MARKER
    try:
        changed = (marker if marker.exists() else folder).stat().st_mtime
    except FileNotFoundError:
        return False
    return time.time() - changed >= SETTLED_SECONDS


def _is_checklist(key: str) -> bool:
    fields: Any = hashes().hkeys(key)
    return bool(fields) and all(str(name).startswith(RUN_FIELDS) for name in fields)


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


def _adopt(stray: Stray) -> bool:
    """Make the row again from what the directory says. Whose run it was it does not say: nobody's."""
    try:
        project = read_project(get_wd(stray.runid))
    except (OSError, ValueError):
        return False
    try:
        created = datetime.fromisoformat(project.created)
    except ValueError:
        created = datetime.now(UTC)
    run = Run(runid=stray.runid, name=project.name, config=project.config, public=stray.public)
    run.date_created = created if created.tzinfo else created.replace(tzinfo=UTC)
    try:
        db.session.add(run)
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        return False
    return True


def _set_aside(runid: str, place: Path) -> bool:
    folder = wc1_root() / "runs" / runid[:2] / runid
    if find_run(runid) is not None or not folder.is_dir():
        return False
    place.mkdir(parents=True, exist_ok=True)
    folder.rename(place / runid)
    hashes().unlink(runid)
    return True


@click.command("runs-check")
@click.option("--fix", is_flag=True, help="Reconcile what does not fit together.")
@click.option("--aside", is_flag=True, help="With --fix: move directories without a row away.")
@with_appcontext
def runs_check(fix: bool, aside: bool) -> None:
    """Find runs that a restore of the database, or a loss of files, left in one store only."""
    found = survey()
    answer: dict[str, object] = asdict(found)
    if fix and found.without_folder and not found.folders:
        # The volume is more likely away than every run.
        refused = f"{wc1_root() / 'runs'} holds no run at all, and the database holds {found.rows}"
        click.echo(json.dumps({"refused": refused}))
        raise SystemExit(REFUSED)
    if fix:
        answer["fixed"] = reconcile(found, aside=aside)
    click.echo(json.dumps({"answer": answer}))
