"""The restore test: a dump is really loaded beside the live database, compared and dropped. Nothing else proves it."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from wepp_backup import database_properties, load, row_counts, webhook
from wepp_backup.app import App
from wepp_backup.catalog import LATEST, RestoreTest, as_json
from wepp_backup.dump_file import open_dump, unwrapped
from wepp_backup.events import REFUSED, Problem, fail, refuse
from wepp_backup.programs import explained
from wepp_backup.row_counts import Counts
from wepp_backup.server import Server, Session, execute, plain, value
from wepp_backup.staging import Lock, Staging, locale_of, take_lock
from wepp_backup.verify import differences, verify

JOBS = 1  # at a time: the application is at work beside it
# User code that runs when rows are loaded or indexes built, and may look for what only the source's sessions find.
# 16384: the first OID that is not the server's own.
RISKY = """
SELECT EXISTS (SELECT FROM pg_depend d JOIN pg_proc p ON p.oid = d.refobjid JOIN pg_language l ON l.oid = p.prolang
  WHERE d.refclassid = 'pg_proc'::regclass AND p.oid >= 16384 AND l.lanname NOT IN ('c', 'internal')
    AND d.classid IN ('pg_constraint'::regclass, 'pg_attrdef'::regclass, 'pg_class'::regclass, 'pg_rewrite'::regclass)
    AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = d.refclassid AND e.objid = p.oid AND e.deptype = 'e'))"""


def is_risky(session: Session) -> bool:
    """Return True when functions of the database's own decide whether a dump of it can be restored."""
    return bool(value(session, RISKY))


def run(app: App, path: Path) -> RestoreTest:
    """Restore a dump as a test, by the way that a real restore takes; return what was found.

    Raise Problem when no test could be made (the server is away, its disk is too small, another task is under way):
    that says nothing about the dump.
    """
    began, rows, problem = time.monotonic(), 0, ""
    lock = take_lock(app.server, app.settings.database, app.report, trial=True)
    try:
        version = value(lock.session, "SELECT current_setting('server_version')")
        rows = _restore(lock, path, app.application).rows
    except Exception as error:
        try:
            execute(lock.session, "SELECT")
        except psycopg.Error:
            # Its staging database may have been dropped with the lock: the dump is not to blame.
            why = "the restore test gave way to another task, or the server went away"
            raise fail(why, "run it again when that has ended") from error
        if not isinstance(error, Problem) or error.exit_code != REFUSED:
            raise
        problem = error.what
    finally:
        lock.release()
    now = datetime.now(UTC).replace(microsecond=0)
    return RestoreTest(now, not problem, round(time.monotonic() - began, 3), rows, version, problem)


def flags_of_drill(parser: ArgumentParser) -> None:
    """Add the flags of `drill`."""
    parser.add_argument("--dump", default=LATEST, help="a path, a name in the folder of backups, or latest")


def run_drill(app: App, flags: Namespace) -> None:
    """Make a restore test and say how it ended."""
    path = app.choose(flags.dump)
    outcome = _drill(app, path, by_hand=True)
    if not outcome.ok:
        fix = "do not rely on it: `invoke db-backup` makes another, `invoke db-backups` lists them all"
        raise fail(f"{path} cannot be restored: {outcome.problem}", fix)
    text = f"{path} was restored as a test in {outcome.seconds:.1f} s: {outcome.rows} rows"
    app.report.result(as_json(outcome._replace(name=path.name)), text)


def try_restore(app: App, name: str, *, by_hand: bool = False) -> str:
    """Make a restore test of a backup; return why none could be made, "" when it is recorded how it ended."""
    try:
        outcome = _drill(app, app.catalog.path(name), by_hand=by_hand)
    except Exception as error:
        return _explained(error)
    verdict = "equal to its manifest" if outcome.ok else f"FAILED: {outcome.problem}"
    app.report.message(f"restore test of {name} in {outcome.seconds:.1f} s, {outcome.rows} rows: {verdict}")
    return ""


def _drill(app: App, path: Path, *, by_hand: bool) -> RestoreTest:
    """Make a restore test; report and record how it ended if the dump is one of the folder's."""
    is_ours = path == app.catalog.path(path.name)  # another dump is none of the monitoring's business

    def notify(*, ok: bool = False, **found: Any) -> None:
        if is_ours:
            webhook.send(app, "drill", ok=ok, by_hand=by_hand, name=path.name, **found)

    try:
        with app.catalog.hold(path):
            outcome = run(app, path)
    except Exception as error:
        notify(problem=_explained(error))
        raise
    notify(ok=outcome.ok, rows=outcome.rows, seconds=outcome.seconds, problem=outcome.problem)
    if is_ours:
        app.catalog.remember_restore_test(path, outcome)
    return outcome


def _explained(error: Exception) -> str:
    return explained(error, fix="").what


def _restore(lock: Lock, path: Path, application: Server) -> Counts:
    """Load the dump and compare what came; return that. Raise Problem: a refusal is what the dump is to blame for."""
    report = lock.report
    with unwrapped(open_dump(path), report) as dump:
        contents = verify(dump, report, before_load=True)
        manifest = contents.manifest
        load.check(lock, dump, contents)
        try:
            load.require_room(lock, dump, contents)
            staging = Staging.create(lock, locale_of(lock.session, lock.live))
        except Problem as problem:
            raise problem.midway() from problem  # the dump is not to blame
        try:
            load.load(staging, dump, contents, JOBS, report, application=application)
            with staging.connect() as session:
                counts = load.analyze_while(staging, JOBS, lambda: row_counts.count(session))
                found, revision = differences(contents, counts), row_counts.revision(session)
            if manifest and revision != manifest.revision:
                wanted = manifest.revision or "none"
                found.append(f"the schema's revision is {revision or 'none'} instead of {wanted}")
            if found:
                what = f"restored it differs from its manifest: {'; '.join(found)}"
                raise refuse(what, "choose another dump, and see why")
            if manifest and manifest.database_properties:
                _set_properties(lock.session, staging.name, manifest.database_properties)
        finally:
            staging.drop()
    if not counts.tables and not counts.large_objects:
        what = "it holds no table and no large object: nothing could be compared"
        raise refuse(what, "choose another dump")
    return counts


def _set_properties(session: Session, name: str, fields: dict[str, Any]) -> None:
    """Set the properties of the dumped database on the staging database, and take that back."""
    properties = database_properties.Properties(**fields)
    try:
        with session.transaction(force_rollback=True):
            for statement in database_properties.statements(session, properties, name):
                execute(session, statement)
    except psycopg.Error as error:
        what = f"the database's properties cannot be set: {plain(error)}"
        raise refuse(what, "see its manifest") from error
