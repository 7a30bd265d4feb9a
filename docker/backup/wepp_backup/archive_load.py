"""Loads an archive with many hands: rows and indexes side by side, then what refers to them.

pg_restore reads the archive; the rows go to the server by COPY ... WITH (FREEZE) in the transaction that empties the
table, which pg_restore has no option for: nobody who reads them later has to mark in each row that it is there, and
that with checksums would send every page through the log and to disk again. An index is built as soon as the rows of
its table are there.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any

import psycopg

from wepp_backup import programs
from wepp_backup.dump_file import TAR, DumpFile, Entries, damaged
from wepp_backup.events import Problem, Reporter
from wepp_backup.plain_sql import NAME, Script
from wepp_backup.run_sql import LOOK, TABLE, Runner, copy_rows
from wepp_backup.server import Server, Session, execute, is_lost, maintenance, plain, value
from wepp_backup.staging import Staging

PAUSE = 0.4  # s, between two looks at how large the database is
FROZEN_FROM = 1000  # rows
ROWS = re.compile(rb"\d+; \d+ \d+ TABLE DATA (.*) .*")
INDEX = re.compile(rb"(?s)CREATE (?:UNIQUE )?INDEX %b ON (?:ONLY )?(%b) .*" % (NAME, TABLE))
CONSTRAINT = re.compile(
    rb"(?s)ALTER TABLE ONLY (%b)\s+ADD CONSTRAINT %b (?:PRIMARY KEY|UNIQUE|EXCLUDE)\b.*" % (TABLE, NAME)
)
# A table that this dump made: not one that came with an extension, nor another server's, nor one of partitions.
FREEZABLE = b"""
SELECT relkind = 'r' AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
  WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')
FROM pg_catalog.pg_class c WHERE oid = '%b'::pg_catalog.regclass"""
# CHECK constraints that call functions of the database's own: these may look into other tables.
CHECKS = """
SELECT conrelid::pg_catalog.regclass::text, pg_catalog.quote_ident(conname), pg_catalog.pg_get_constraintdef(oid)
FROM pg_catalog.pg_constraint c
WHERE contype = 'c' AND conrelid <> 0 AND coninhcount = 0 AND EXISTS (
  SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
    AND d.objid = c.oid AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass)
AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
  WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND e.objid = conrelid AND e.deptype = 'e')
ORDER BY oid"""
BUILDING = """
SELECT pg_catalog.set_config('search_path', '', false),
  pg_catalog.set_config('max_parallel_maintenance_workers', %s, false)"""
END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"


class ArchiveLoad:
    """One load of an archive into a staging database."""

    def __init__(
        self, staging: Staging, dump: DumpFile, jobs: int, report: Reporter, *, application: Server,
        search_path: str, settings: dict[str, str], sizes: dict[str, int], expected_bytes: int,
    ) -> None:  # fmt: skip
        """settings: of the sessions; sizes: rows by table, as far as they are known; the others are as in load.load."""
        self.staging, self.dump, self.report = staging, dump, report
        self.jobs = 1 if dump.kind == TAR else jobs  # pg_restore cannot seek in those
        self.application, self.search_path, self.settings = application, search_path, settings
        self.sizes, self.expected_bytes = sizes, expected_bytes
        # By table, those that its indexes wait for: statements of constraints, of indexes.
        self._waiting: dict[bytes, tuple[list[bytes], list[bytes]]] = {}
        self._header: list[bytes] = []  # what the dump sets for its sessions
        self._tasks: list[Future[None]] = []  # in the order in which they begin
        self._loading: list[Future[None]] = []  # those of them that load rows
        self._failed: list[tuple[bytes, psycopg.Error]] = []  # entries whose rows were refused
        self._is_again = False
        self._superuser: Session | None = None  # where the application's role is none
        self._own = threading.local()  # each thread's Runner

    def run(self, listing: bytes, more_rows: Callable[[], None] | None) -> None:
        """Load all of it. listing: of pg_restore --list. Raise Problem."""
        with ExitStack() as self._opened, ThreadPoolExecutor(self.jobs) as self._pool:
            try:
                self._load_all(listing.splitlines(), more_rows)
            except BaseException:
                self._stop()
                raise

    def _load_all(self, entries: Entries, more_rows: Callable[[], None] | None) -> None:
        if self.application != self.staging.lock.server:
            self._superuser = self._session(self.staging.lock.server)
        main = self._runner()
        self._read(main, "--section=pre-data")
        checks = self._take_off_checks(main.session)
        rest = self._prepare()
        tables = [each for each in entries if ROWS.fullmatch(each)]
        for stream in self._divide(tables):
            self._loading.append(self._submit(self._load, stream))
        self._read(main, "--section=data", entries=[each for each in entries if not ROWS.fullmatch(each)])
        if more_rows:
            self._submit(more_rows)  # so that how far it is is told meanwhile
        self._wait()
        self._try_again()
        for table in [*self._waiting]:  # whose rows came another way, or which has none
            self._submit(self._build, table)
        self._wait()
        self._set_checks(main, checks)
        for statement in rest:
            main.execute(statement)
        main.finish()

    def _prepare(self) -> list[bytes]:
        """Read what is made behind the rows; return what are no indexes, nor constraints that are indexes."""
        rest = []
        with self._reading("--section=post-data") as text:
            for statement in Script(text, self.dump.path).statements():
                if statement.startswith(b"SET "):
                    self._header.append(statement)
                elif found := CONSTRAINT.fullmatch(statement):
                    self._waiting.setdefault(found[1], ([], []))[0].append(statement)
                elif found := INDEX.fullmatch(statement):
                    self._waiting.setdefault(found[1], ([], []))[1].append(statement)
                else:
                    rest.append(statement)
        return rest

    def _divide(self, tables: Entries) -> list[Entries]:
        """Make streams of tables: each large one by itself, the largest first."""
        known = {name.replace(".", " ", 1).encode(): rows for name, rows in self.sizes.items()}
        large = sum(self.sizes.values()) // (4 * self.jobs)
        several: list[Entries] = [[] for _ in range(self.jobs)]
        alone = []
        for number, each in enumerate(tables):
            rows = known.get(ROWS.sub(rb"\1", each), 0)
            if rows > large and self.dump.kind != TAR:
                alone.append((-rows, [each]))
            else:
                several[number % self.jobs].append(each)
        return [*(stream for _, stream in sorted(alone)), *filter(None, several)]

    def _submit(self, work: Callable[..., None], *arguments: Any) -> Future[None]:
        self._tasks.append(self._pool.submit(work, *arguments))
        return self._tasks[-1]

    def _wait(self) -> None:
        """Wait for all tasks, also those that others of them submit."""
        size, ended = "SELECT pg_database_size(%s::name)", 0
        while ended < len(self._tasks):
            done, _ = wait([*self._tasks], PAUSE, FIRST_EXCEPTION)
            for each in done:
                each.result()
            ended = len(done)
            found = value(self.staging.lock.session, size, [self.staging.name])
            self.report.progress("loading", found, max(self.expected_bytes, 0))

    def _stop(self) -> None:
        """End what goes on, at the server: whoever reads an archive notices that nobody takes it."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        lock = self.staging.lock
        with suppress(Problem, psycopg.Error), lock.server.connect(maintenance(lock.live)) as session:
            # Again and again: a thread may just be opening another one.
            while not all(each.done() for each in self._tasks):
                session.execute(END_SESSIONS, [self.staging.name])
                wait([*self._tasks], PAUSE)

    def _session(self, server: Server) -> Session:
        """Open a session that is closed when the load has ended."""
        session = self._opened.enter_context(self.staging.connect(server))
        execute(session, "; ".join(f"SET {name} = '{text}'" for name, text in self.settings.items()))
        return session

    def _runner(self) -> Runner:
        if not hasattr(self._own, "runner"):
            session = self._session(self.application)
            made = Runner(self.dump.path, session, self._superuser or session, self.search_path)
            for statement in self._header:
                made.execute(statement)
            self._own.runner = made
        found: Runner = self._own.runner
        return found

    @contextmanager
    def _reading(self, *options: str, entries: Entries | None = None) -> Iterator[IO[bytes]]:
        """Give what pg_restore reads as SQL, of all entries or some."""
        with self.dump.sql(*options, "--no-tablespaces", "--file=-", entries=entries) as child:
            programs.widen(child.stdout)
            yield child.stdout

    def _read(self, runner: Runner, *options: str, entries: Entries | None = None, **more: Any) -> None:
        with self._reading(*options, entries=entries) as text:
            runner.run(Script(text, self.dump.path), **more)

    def _load(self, entries: Entries) -> None:
        """Load the rows of tables, one after the other."""
        coming = iter(entries)
        runner = self._runner()

        def copy_in(statement: bytes, script: Script) -> None:
            entry = next(coming)  # pg_restore writes the tables that it is given in their order
            try:
                self._copy(runner, statement, script)
            except psycopg.Error as error:
                if is_lost(runner.session, error) or programs.full(error):
                    raise
                for _ in script.rows():
                    pass
                self._failed.append((entry, error))
            else:
                self._build(script.table)

        self._read(runner, "--data-only", entries=entries, copy_in=copy_in)
        missing = len([*coming])
        if missing not in (0, len(entries)):  # a dump may hold INSERTs instead, of all tables
            raise damaged(self.dump.path, f"the rows of {missing} of its tables do not come to their end")

    def _copy(self, runner: Runner, statement: bytes, script: Script) -> None:
        """Load the rows of the table that the statement names."""
        session, table = runner.session, script.table
        if self._is_again:
            session.execute(LOOK, [self.search_path, False])
        # A few rows are quicker loaded as they are: thousands of tables are mostly of that sort.
        is_large = self.sizes.get(script.name, FROZEN_FROM) >= FROZEN_FROM
        if is_large and session.execute(FREEZABLE % table.replace(b"'", b"''")).fetchone() == (True,):
            with session.transaction():
                session.execute(b"TRUNCATE TABLE ONLY " + table)
                copy_rows(session, statement.removesuffix(b";") + b" WITH (FREEZE)", script)
        else:
            runner.copy(statement, script)

    def _build(self, table: bytes) -> None:
        """Make the constraints of a table whose rows are there, and submit its indexes."""
        constraints, indexes = self._waiting.pop(table, ([], []))
        for statement in constraints:
            self._make(statement)
        for statement in indexes:
            self._submit(self._make_index, statement)

    def _make_index(self, statement: bytes) -> None:
        # Helpers only where a processor would have nothing to do: they cost more than they save.
        is_last = self._tasks[-1].running() or self._tasks[-1].done()
        self._make(statement, helpers=int(is_last and all(each.done() for each in self._loading)))

    def _make(self, statement: bytes, helpers: int = 0) -> None:
        runner = self._runner()
        runner.session.execute(BUILDING, [str(helpers)])
        runner.execute(statement)

    def _try_again(self) -> None:
        """Load the rows that the server refused once more, now that all others are there.

        Functions of domains and generated columns may look into other tables, and for names without a schema: at first
        they find none, for a table without its rows yet might give them a wrong answer instead of an error.
        """
        self._is_again = True
        while self._failed:
            failed, self._failed = self._failed, []
            for entry, _ in failed:
                self._load([entry])
            if len(self._failed) == len(failed):
                table = ROWS.sub(rb"\1", failed[0][0]).decode(errors="replace")
                raise self._runner().problem(f"the rows of {table}", failed[0][1])
            self._wait()

    def _take_off_checks(self, session: Session) -> list[tuple[str, str, str]]:
        """Drop the constraints that may look into tables whose rows come later; return them."""
        found: list[tuple[str, str, str]] = []
        # Where a table inherited one that it has itself, too, that is left at first.
        while some := session.execute(CHECKS).fetchall():
            for table, name, _ in some:
                execute(session, f"ALTER TABLE {table} DROP CONSTRAINT {name}")
            found += some
        return found

    def _set_checks(self, runner: Runner, checks: list[tuple[str, str, str]]) -> None:
        """Set the constraints again that were taken off, as NOT VALID where rows do not keep to them."""
        runner.session.execute(LOOK, [self.search_path, False])
        for table, name, words in checks:
            statement = f"ALTER TABLE {table} ADD CONSTRAINT {name} {words}"
            try:
                execute(runner.session, statement)
            except psycopg.Error as error:
                if is_lost(runner.session, error) or programs.full(error):
                    raise runner.problem(statement, error) from error
                execute(runner.session, statement.removesuffix(" NOT VALID") + " NOT VALID")
                what = f"the rows of {table} do not keep to its {name} ({plain(error)})"
                self.report.message(f"{what}: it is NOT VALID now")
        runner.session.execute(LOOK, ["", False])
