"""Restore: verify a dump, load it beside the live database, compare, switch over on request.

ready (plan), `go`; ready (prepared), `switch`; ready (switched), `keep`, `drop` or `back`; result.
"""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, replace
from typing import Any

from wepp_backup import database_properties, load, row_counts
from wepp_backup.app import App
from wepp_backup.application_tables import has_runs, lacking, needed
from wepp_backup.catalog import as_json
from wepp_backup.database_properties import Properties
from wepp_backup.dump_file import DumpFile, open_dump, unwrapped
from wepp_backup.events import refuse, usage
from wepp_backup.rollback import expect, expect_switch, flags_of_switch, settle
from wepp_backup.row_counts import Counts, count
from wepp_backup.server import Session, column, value
from wepp_backup.staging import Lock, Staging, locale_of, take_lock
from wepp_backup.switchover import Switched, foreign_sessions, live_oid, switch_over
from wepp_backup.verify import Contents, differences, verify

MOST_LISTED = 10
# Newest first; which of the columns a tree has, a row as JSON tells.
RUNS_BY_USE = """
SELECT runid::text FROM public.run r WHERE runid::text = ANY(%s)
ORDER BY greatest(to_jsonb(r)->>'last_modified', to_jsonb(r)->>'date_created') DESC NULLS LAST, 1 LIMIT %s"""


def flags_of_restore(parser: ArgumentParser) -> None:
    """Add the flags of `restore`."""
    parser.add_argument("--dump", required=True, help="a path, a name in the folder of backups, or latest")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how much is loaded at a time")
    flags_of_switch(parser)


def run_restore(app: App, flags: Namespace) -> None:
    """Restore a dump. Raise Problem, which says what is live."""
    if not 1 <= flags.jobs <= 64:
        raise usage(f"--jobs={flags.jobs} makes no sense", "give a number from 1 to 64")
    path = app.choose(flags.dump, force=flags.force)
    held = app.cleanup.enter_context
    held(app.catalog.hold(path))
    dump = held(unwrapped(open_dump(path), app.report))
    lock = take_lock(app.server, app.settings.database, app.report)
    app.cleanup.callback(lock.release)
    started = time.monotonic()
    contents = verify(dump, app.report, before_load=True)
    job = Restore(app, flags, dump, contents, lock)
    app.report.ready(job.plan(time.monotonic() - started))
    expect(app, "go")

    started = time.monotonic()
    staging = Staging.create(lock, locale_of(lock.session, lock.live), owner=app.application.user)
    # After the switchover no database has this name any more, and nothing is dropped.
    app.cleanup.callback(staging.drop)
    load.load(staging, dump, contents, flags.jobs, app.report, application=app.application)
    counts, prepared = job.check(staging)
    app.report.ready({**prepared, "seconds": time.monotonic() - started})

    expect_switch(app, lock, flags)
    if job.revision(staging.name) != prepared["revision"]:
        counts = job.count(staging.name)  # the schema was brought up to date, which may have changed rows
    about = f"replaced by a restore of {path}"
    settle(
        app, lock, lambda: switch_over(lock, staging.name, about=about, properties=job.properties()),
        lambda word, done: job.summary(word, done, counts),
    )  # fmt: skip


@dataclass(frozen=True)
class Restore:
    """One restore."""

    app: App
    flags: Namespace
    dump: DumpFile
    contents: Contents
    lock: Lock

    def plan(self, verify_seconds: float) -> dict[str, Any]:
        """Return what would be done. Raise Problem for what this server cannot hold, or a dump of another database."""
        live, path, manifest = self.lock.live, self.dump.path, self.contents.manifest
        if self.contents.database not in ("", live) and not self.flags.force:
            raise refuse(
                f"{path} is a dump of the database {self.contents.database}, not of {live}",
                f"choose a dump of {live}, or say --force if this one is meant",
            )
        self.require_application()
        load.check(self.lock, self.dump, self.contents)
        needed, free = load.require_room(self.lock, self.dump, self.contents, force=self.flags.force)
        for each in foreign_sessions(self.lock.session, live, self.flags.clients):
            self.app.report.message(
                f"{each} holds {live}: unless it ends by then, the switchover needs --force"
            )
        return {
            "dump": str(path), "kind": self.dump.kind, "bytes": self.dump.bytes, "checksummed": self.dump.checksummed,
            "server_version": self.contents.server_version, "rows": manifest.rows if manifest else -1,
            "database_bytes": self.contents.database_bytes, "database": live, "live_bytes": self.size(live),
            "free_bytes": free, "needed_bytes": needed, "seconds": needed / load.BYTES_PER_SECOND,
            "verify_seconds": verify_seconds, **({"created": as_json(manifest.created)} if manifest else {}),
        }  # fmt: skip

    def require_application(self) -> None:
        """Raise Problem when the dump lacks tables without which no application of ours starts."""
        if not self.contents.tables or self.flags.force or not live_oid(self.lock.session, self.lock.live):
            return
        with self.app.application.connect(self.lock.live) as session:
            absent = lacking(needed(session), self.contents.tables)
        if absent:
            raise refuse(
                f"{self.dump.path} holds no table {' and no '.join(absent)}, which the application's database has",
                "choose a dump of the application's database, or say --force if this one is meant",
            )

    def check(self, staging: Staging) -> tuple[Counts, dict[str, Any]]:
        """Compare what was loaded with what the dump holds and with what the application needs to start."""
        self.app.report.message("loaded; gathering statistics, counting rows")
        counts = load.analyze_while(staging, self.flags.jobs, lambda: self.count(staging.name))
        if found := differences(self.contents, counts):
            raise refuse(
                f"what was loaded is not what {self.dump.path} holds: {'; '.join(found[:3])}",
                "choose another dump: `invoke db-backups` lists them",
            )
        revision, live_revision = self.revision(staging.name), self.revision(self.lock.live)
        many = len(revision.split(",")) if revision else 0
        if many != 1 and (many or live_revision) and not self.flags.force:
            raise refuse(
                f"{self.dump.path} holds {many} rows in alembic_version, and the application needs one",
                "choose a dump of the application's database, or say --force if this one is meant",
            )
        return counts, {
            "rows": counts.rows, "bytes": self.size(staging.name), "staging": staging.name,
            "revision": revision, "live_revision": live_revision,
            "live_id": live_oid(self.lock.session, self.lock.live),
        }  # fmt: skip

    def properties(self) -> Properties:
        """Return the properties for the new database: the live one's, or the dump's where that has only an owner."""
        live = database_properties.read(self.lock.session, self.lock.live)
        bare = Properties(live.owner if live else self.app.application.user)
        found = self.contents.manifest and self.contents.manifest.database_properties
        if found and (not live or live == bare):
            return replace(Properties(**found), owner=bare.owner)
        return live or bare

    def summary(self, word: str, done: Switched, counts: Counts) -> dict[str, Any]:
        """Return what the databases differ in: runs that only the earlier one has or, after `back`, rows written."""
        if word == "back":
            after = self.count(done.kept).tables
            changes = {name: rows - counts.tables.get(name, 0) for name, rows in after.items()}
            return {"rows_written": sum(map(abs, changes.values()))}
        if not done.kept:
            return {}
        # As the application: what its tables run when they are read is none of ours.
        connect = self.app.application.connect
        with connect(done.kept) as before, connect(done.database) as now:
            missing = list(runs(before) - runs(now))
            newest = column(before, RUNS_BY_USE, [missing, MOST_LISTED]) if missing else []
        return {"missing_runs": {"count": len(missing), "newest": newest}}

    def count(self, database: str) -> Counts:
        """Count the rows of a database."""
        with self.app.server.connect(database) as session:
            return count(session)

    def revision(self, database: str) -> str:
        """Return the schema's revision that a database has, "" where there is none."""
        if not live_oid(self.lock.session, database):
            return ""
        with self.app.application.connect(database) as session:
            return row_counts.revision(session)

    def size(self, database: str) -> int:
        """Return the size of a database in bytes, -1 when there is none of that name."""
        query = "SELECT pg_database_size(oid) FROM pg_database WHERE datname = %s"
        found = value(self.lock.session, query, [database])
        return -1 if found is None else int(found)


def runs(session: Session) -> set[str]:
    """Return the ids of the application's runs that have a row."""
    return set(column(session, "SELECT runid::text FROM public.run")) if has_runs(session) else set()
