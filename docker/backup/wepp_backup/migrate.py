"""Migration: the database of a server outside the stack becomes the stack's own, compared row by row with its source.

The source is read in one snapshot and loaded beside the live database: definitions, small tables and large objects by
way of a dump, the rows of the others from server to server. Offline its tables stay locked until the switchover (see
source.py); with --live it goes on being written (see live_migration.py).
"""

from __future__ import annotations

import json
import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg

from wepp_backup import database_properties, live_source, load, programs, row_counts, source, streams
from wepp_backup.app import App
from wepp_backup.dump_file import open_dump
from wepp_backup.enter import write_passfile
from wepp_backup.events import Problem, fail
from wepp_backup.live_migration import LiveMigration
from wepp_backup.migration_plan import WORK, keep_roles, make_plan, make_roles, some, sweep_roles
from wepp_backup.programs import ProgramError
from wepp_backup.rollback import expect, expect_switch, flags_of_switch, settle
from wepp_backup.row_hashes import Hashes, hashes
from wepp_backup.server import Server, Session, column, conninfo, execute, plain, value
from wepp_backup.source import Held, hold
from wepp_backup.staging import Lock, Staging, take_lock
from wepp_backup.switchover import Switched, live_oid, switch_over
from wepp_backup.verify import verify
from wepp_backup.way_back import WayBack

PASSFILE = Path("/tmp/source-pgpass")  # noqa: S108 - in the container's memory
# What the folder of our socket at the stack's server is in its own container.
SERVER_FOLDER = "/tmp"  # noqa: S108


def flags_of_migrate(parser: ArgumentParser) -> None:
    """Add the flags of `migrate`."""
    for name in ("host", "port", "user", "dbname"):
        parser.add_argument(f"--{name}", required=True, help="of the source; the host may be a folder")
    parser.add_argument("--patience", type=float, default=0, help="seconds that a starting server may take")
    parser.add_argument("--jobs", type=int, default=0, help="at a time; 0: one per processor")
    parser.add_argument("--live", action="store_true", help="the source goes on being written")
    parser.add_argument("--clean", action="store_true", help="only remove what killed migrations left there")
    flags_of_switch(parser)


def run_migrate(app: App, flags: Namespace) -> None:
    """Hear the source's password (a JSON string), ready (the plan), `go`; ready (loaded and compared), `switch`; ready,
    `keep`, `drop` or `back`."""
    password = str(json.loads(app.caller.word()))
    # Without one it is empty, for the stack's own shall not be sent.
    write_passfile(PASSFILE, {flags.user: password} if password else {})
    server = Server(flags.host, flags.port, flags.user, str(PASSFILE), live_source.MIGRATION_NAME)
    session = enter(server, flags.dbname, flags.patience)
    app.cleanup.callback(session.close)
    lock = take_lock(app.server, app.settings.database, app.report)
    app.cleanup.callback(lock.release)
    Migration(app, flags, server, session, lock).run()


def enter(
    server: Server, database: str, patience: float, sleep: Callable[[float], None] = time.sleep
) -> Session:
    """Return a session at the source, that may be just starting. Raise Problem."""
    until = time.monotonic() + patience
    while True:
        try:
            return server.connect(database)
        except Problem as problem:
            is_starting = "no server answers" in problem.what or "starting up" in problem.what
            if not is_starting or time.monotonic() > until:
                raise
            sleep(0.2)


@dataclass
class Migration:
    """One migration. session: at the source, in no transaction."""

    app: App
    flags: Namespace
    server: Server
    session: Session
    lock: Lock

    def __post_init__(self) -> None:
        self.jobs = self.flags.jobs if self.flags.jobs > 0 else os.cpu_count() or 1
        self.report = self.app.report
        self.seconds: dict[str, float] = {}
        self.began = time.monotonic()
        self.dump_bytes = 0
        self.equal = "rows and hashes of every table, sequences, large objects"
        self.source_hashes = Hashes()
        # Both sides print names alike under the same one.
        self.search_path = value(self.session, row_counts.SEARCH_PATH)

    def run(self) -> None:
        """Plan, load beside, compare and switch over. Raise Problem; both databases are then as before."""
        sweep_roles(self.lock)
        if self.flags.clean:
            live_source.sweep(self.session, self.lock.session, self.report)
            self.report.result({}, "nothing of killed migrations is left at the source")
            return
        self.plan = make_plan(
            self.server, self.session, self.lock, host=self.app.settings.host, live=self.flags.live,
            force=self.flags.force, jobs=self.jobs,
        )  # fmt: skip
        self.notes: list[str] = self.plan.details["notes"]
        self.report.ready(self.plan.details)
        expect(self.app, "go")
        self.began = time.monotonic()
        live_source.sweep(self.session, self.lock.session, self.report)
        way = WayBack(self.lock, Path(self.app.settings.host), SERVER_FOLDER)
        way.sweep()  # an offline migration, too, may come after a live one that was killed
        if self.flags.live:
            self.run_live(way)
        else:
            self.run_offline()

    def run_offline(self) -> None:
        """Hold the source until it is switched over."""
        superuser = self.plan.details["source"]["superuser"]
        held = hold(self.server, self.flags.dbname, locked=not self.flags.force, superuser=superuser)
        self.app.cleanup.callback(held.session.close)
        staging = self.copy(held)
        held.check()
        self.report.ready(self.prepared(staging))
        expect_switch(self.app, self.lock, self.flags)

        def switch() -> Switched:
            held.check(last=True)
            done = self.switched(staging)
            try:
                if held.locked and (found := held.changes()):
                    self.notes.append(
                        f"what wrote to the source must write to the stack now: {'; '.join(found)}"
                    )
            except Problem as problem:
                self.notes.append(
                    f"whether the source was written in the last moment is not known: {problem.what}"
                )
            return done

        settle(self.app, self.lock, switch, self.summary)

    def run_live(self, way: WayBack) -> None:
        """Follow the source, that goes on being written, until the word `switch`."""
        with LiveMigration(self.server, self.flags.dbname, self.lock, self.report, way) as live:
            snapshot = live.begin()
            held = hold(self.server, self.flags.dbname, locked=False, superuser=False, snapshot=snapshot)
            with held.session:
                staging = self.copy(held)
            live.follow(staging)
            self.lap("follow")
            prepared = self.prepared(staging)
            self.report.ready(prepared)
            # The schema is brought up to date when no change arrives any more that fits to the old one.
            if prepared["upgrade"]:
                expect(self.app, "lock")
            else:
                expect_switch(self.app, self.lock, self.flags)
            self.began = time.monotonic()
            self.equal, found = live.lock_source(self.search_path)
            self.source_hashes = found or self.source_hashes
            if prepared["upgrade"]:
                self.report.ready({})
                expect_switch(self.app, self.lock, self.flags)
            live.close_source()

            def switch() -> Switched:
                done = self.switched(staging)
                self.lap("cutover")  # from the source's lock on nobody can write
                live.finished = True
                self.notes.append(f"the source is closed to writers; to open it again, there: {live.opening}")
                return done

            settle(self.app, self.lock, switch, self.summary)

    def copy(self, held: Held) -> Staging:
        """Load the source's state beside the live database and compare every row. Raise Problem."""
        application = self.app.application
        with ExitStack() as ended:
            reading = self.read(held, ended)
            wanted = streams.tables(held.session)
            folder = self.dump(held, wanted)
            self.lap("dump")
            self.app.cleanup.callback(self.drop_roles)
            make_roles(self.lock, self.plan.missing)
            staging = Staging.create(self.lock, self.plan.locale)
            self.app.cleanup.callback(staging.drop)
            dump = open_dump(folder)
            self.dump_bytes = dump.bytes
            load.load(
                staging, dump, verify(dump, self.report), self.jobs, self.report, application=application,
                expected_bytes=self.plan.details["source"]["bytes"],
                rows=lambda: streams.copy(held, wanted, self.jobs, application, staging.name),
            )  # fmt: skip
            self.carry_settings(staging)
            self.lap("load")
            load.analyze_while(staging, self.jobs, lambda: self.compare(staging, reading.result()))
            self.lap("compare")
        return staging

    def read(self, held: Held, ended: ExitStack) -> Future[Hashes]:
        """Begin to hash the source. `ended` ends it."""
        pool = ended.enter_context(ThreadPoolExecutor(1))
        sessions = [held.join() for _ in range(max(1, self.jobs // 2))]

        def end() -> None:
            with suppress(psycopg.Error):
                processes = [each.info.backend_pid for each in sessions]
                column(
                    self.session,
                    "SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid",
                    [processes],
                )

        ended.callback(end)  # comes before the pool's own end, which waits
        return pool.submit(hashes, *sessions, search_path=self.search_path)

    def dump(self, held: Held, without: list[streams.Table]) -> Path:
        """Dump the source's state but for the rows of some tables; return the folder. Raise Problem."""
        folder = WORK / "dump"
        command = [
            "pg_dump", "--format=directory", f"--jobs={self.jobs}", "--compress=zstd:1", f"--snapshot={held.snapshot}",
            "--no-subscriptions", "--no-password", f"--lock-wait-timeout={source.LOCK_SECONDS}000", f"--file={folder}",
            f"--dbname={conninfo(self.flags.dbname)}", *(["--no-publications"] if self.flags.live else []),
            # A pattern's quoted names are taken as they are.
            *(f"--exclude-table-data={each.name}" for each in without),
        ]  # fmt: skip
        self.report.progress("dumping", 0, 0)
        try:
            programs.run(command, self.server)
        except ProgramError as error:
            fix = "fix what it says (make room, let nobody change its tables meanwhile) and run it again"
            raise fail(f"the source could not be dumped: {error}", fix) from error
        return folder

    def compare(self, staging: Staging, wanted: Hashes) -> None:
        """Compare what was loaded with the source. Raise Problem for any difference."""
        self.report.message("comparing every row with the source")
        self.report.progress("comparing", 0, 0)
        self.source_hashes = wanted
        # Planning a query may run functions of the database's own, which a superuser had better not.
        server = self.app.application
        with server.connect(staging.name) as session:
            if wanted.large_objects or column(session, source.LACKING, source.READ):
                server = self.app.server
        with ExitStack() as opened:
            sessions = [opened.enter_context(server.connect(staging.name)) for _ in range(self.jobs)]
            there = hashes(*sessions, search_path=self.search_path)
        if self.flags.live or self.flags.force:
            # They run on, in no snapshot: carried at the cutover, or a little ahead of what was left behind.
            there = replace(there, sequences=wanted.sequences)
        if found := wanted.differences(there):
            raise fail(
                f"the loaded database differs from the source: {some(found)}",
                "run it again; if it stays so, the source's data files may be damaged (pg_amcheck)",
            )

    def carry_settings(self, staging: Staging) -> None:
        """Give the new database what ALTER DATABASE ... SET said at the source; the stack's own go over it later."""
        found = database_properties.read(self.session, self.flags.dbname)
        assert found  # noqa: S101 - we are connected to it
        settings = [each for each in found.settings if each[1] != "default_transaction_read_only"]
        carried = replace(found, settings=settings, grants=None)
        # The first three give it an owner, a limit and a comment.
        for statement in database_properties.statements(self.lock.session, carried, staging.name)[3:]:
            try:
                execute(self.lock.session, statement)
            except psycopg.Error as error:
                self.notes.append(f"a setting of the source was not taken over: {plain(error)} ({statement})")

    def drop_roles(self) -> None:
        """Drop the roles that were made, unless they are kept or something belongs to them by now."""
        try:
            self.lock.renew()
            sweep_roles(self.lock)
        except (Problem, psycopg.Error) as error:
            self.report.left(f"roles that were made stay behind ({plain(error)}); the next move removes them")

    def prepared(self, staging: Staging) -> dict[str, Any]:
        """Return what is reported when all is ready for the switchover."""
        with staging.connect() as session:
            revision = row_counts.revision(session)
        live_id, live_revision = live_oid(self.lock.session, self.lock.live), ""
        if live_id:
            with self.lock.server.connect(self.lock.live) as session:
                live_revision = row_counts.revision(session)
        found = self.source_hashes
        return {
            "staging": staging.name, "rows": found.rows, "tables": len(found.tables),
            "revision": revision, "live_revision": live_revision, "live_id": live_id,
            # Where the application has never run, its first start brings the schema up to date.
            "upgrade": bool(revision and live_revision and revision != live_revision),
            "answer": self.answer(),
        }  # fmt: skip

    def switched(self, staging: Staging) -> Switched:
        """Switch over."""
        about = f"replaced by a move from PostgreSQL {self.plan.details['source']['server_version']}"
        properties = database_properties.read(self.lock.session, self.lock.live)
        done = switch_over(self.lock, staging.name, about=about, properties=properties)
        self.seconds["downtime"] = round(done.seconds, 3)
        return done

    def summary(self, _word: str, _done: Switched) -> dict[str, Any]:
        """Return the answer's further members; the roles that were made stay."""
        with suppress(psycopg.Error, Problem):
            self.lock.renew()
            keep_roles(self.lock, self.plan.missing)
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Return what was moved."""
        made, notes, found = self.plan.details["roles_to_make"], list(self.notes), self.source_hashes
        if made:
            how = "ALTER ROLE ... LOGIN PASSWORD in `invoke db-shell` lets one in"
            notes.append(f"roles made without log-in: {', '.join(made)} ({how})")
        return {
            "source": self.plan.details["source"],
            "tables": {name: {"rows": many, "sum": found.sums[name]} for name, many in found.tables.items()},
            "rows": found.rows, "large_objects": found.large_objects, "dump_bytes": self.dump_bytes,
            "equal": self.equal, "roles_made": made, "phases": self.seconds, "notes": notes,
        }  # fmt: skip

    def lap(self, phase: str) -> None:
        """Record how long the phase that ends now took."""
        now = time.monotonic()
        self.seconds[phase] = round(now - self.began, 3)
        self.began = now
