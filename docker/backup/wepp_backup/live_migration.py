"""A live migration: changes made at the source during the copy follow by logical replication, until the cutover.

The cutover locks the source's tables, waits for the last changes, and closes the source: in the locked transaction each
table gets triggers that refuse every write, whoever writes and whatever the session is set to. They are committed
before the databases are switched over, so there is no moment in which both take writes; a connection that is lost
before leaves nothing of it.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Self

import psycopg

from wepp_backup import live_source
from wepp_backup.caller import uninterrupted
from wepp_backup.events import UNKNOWN, Problem, Reporter, fail
from wepp_backup.live_source import END_OWN, RELATIONS, REPLICATION, TABLES
from wepp_backup.migration_plan import AT_REST, NO_IDENTITY, some
from wepp_backup.row_hashes import Hashes, hashes, sequences
from wepp_backup.server import Server, Session, column, execute, literal, plain, rows, value
from wepp_backup.source import DEFINITIONS
from wepp_backup.staging import Lock, Staging, drop_subscriptions
from wepp_backup.way_back import WayBack

SMALL_LAG = 4 << 20  # bytes of the source's log that a cutover catches up with at once
# Bytes of log that the source keeps for us at most. SQL does not tell what is free on its disk; this is four times what
# a server lets its log grow to by itself (max_wal_size), and an hour of more than 1 MB/s.
CEILING = 4 << 30
STALL_SECONDS = 120.0  # without a new minimum of the lag: more is written there than can be applied here
DRAIN_SECONDS = 20.0  # for the last changes to arrive while nobody may write
CHEAP_BYTES = 64 << 20  # size of a database whose every row is hashed again in the cutover
UNDO_SECONDS = 30.0  # outlasts a source that is just recovering
LESS_FIX = f"run it again when less is written there, or {AT_REST}"
LOG_FIX = f"see the log (invoke compose-logs --services=postgres), fix it and run it again, or {AT_REST}"
NOT_COMPARED = (
    "rows and hashes of every table at the first moment; what was written since arrived to the last byte of the "
    "source's log, and was not compared again, which would have lengthened the pause"
)
BEHIND = """
SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), confirmed_flush_lsn)::int8 FROM pg_replication_slots
WHERE slot_name = %s"""
RETAINED = BEHIND.replace("confirmed_flush_lsn", "restart_lsn")
# Nobody reads the message; its commit writes out all that was committed before it.
POSITION = "SELECT pg_logical_emit_message(true, 'wepp', '')::text"
# Sent in answer to a position of the source's, after everything before it was applied.
REACHED = "SELECT bool_or(latest_end_lsn >= %s::pg_lsn) FROM pg_stat_subscription WHERE subname = %s"
SET_SEQUENCES = """
SELECT setval(to_regclass(name), last, called)
FROM unnest(%s::text[], %s::int8[], %s::bool[]) AS s(name, last, called)"""


class LiveMigration:
    """One live migration out of a database of the server `source`.

    A context manager: unless it is `finished` (its database is live at the stack now), nothing of it stays at the
    source. A source whose database may be live by now (a problem of exit code UNKNOWN) stays closed.
    """

    def __init__(self, source: Server, database: str, lock: Lock, report: Reporter, way: WayBack) -> None:
        """way: by which the stack's server reaches the source."""
        self.source, self.database, self.lock, self.report, self.way = source, database, lock, report, way
        self.name = f"wepp_move_{int(time.time() * 1000)}"
        self.problem: Problem | None = None  # why the watch has ended it, and all sessions with it
        self.opening = ""  # once the source is closed: the statements that open it
        self.finished, self._ending = False, ExitStack()
        self._watched, self._watcher = threading.Event(), threading.Thread()

    def begin(self) -> str:
        """Make publication and slot; return the name of the snapshot that shows exactly what will not follow."""
        self._session = self._open()
        self._definitions = value(self._session, DEFINITIONS)
        with self._session.transaction():
            live_source.publish(self._session, self.name)
            if found := column(self._session, TABLES + NO_IDENTITY):
                raise fail(f"rows of these tables cannot be told apart: {some(found)}", "see --dry-run")
        self._watcher = threading.Thread(target=self._watch, args=[self._open()], daemon=True)
        self._watcher.start()
        self.report.message(
            "making a replication slot, once the transactions under way at the source have ended"
        )
        self._stream = self.source.connect(self.database, **REPLICATION)
        self._ending.callback(self._stream.close)
        # The form without parentheses is understood by every major so far.
        made = rows(self._stream, f"CREATE_REPLICATION_SLOT {self.name} LOGICAL pgoutput EXPORT_SNAPSHOT")
        return str(made[0][2])

    def follow(self, staging: Staging) -> None:
        """Let the copy take in what was written since the snapshot, and refresh its materialized views."""
        self._stream.close()  # nobody needs the snapshot any more
        self._staging = staging
        connection = literal(self.way.open(self._session, self.source.passfile))
        with self._inside() as inside:
            # Not streamed: changes are applied one after the other, so a position that was told is one that was
            # applied. The first error ends it: none goes away by itself.
            try:
                execute(inside, f"CREATE SUBSCRIPTION {self.name} CONNECTION {connection} PUBLICATION {self.name} "
                        f"WITH (create_slot = false, slot_name = {self.name}, copy_data = false, streaming = off, "
                        "synchronous_commit = off, disable_on_error = true)")  # fmt: skip
            except psycopg.Error as error:
                raise fail(
                    f"the stack's server cannot subscribe to the source: {plain(error)}", LOG_FIX
                ) from error
            self._ending.callback(self._unsubscribe)
            self._catch_up()
            # In the order they were made, so that one which reads another comes after it.
            for view in column(inside, f"{RELATIONS} c.relkind = 'm' AND c.relispopulated ORDER BY c.oid"):
                self.report.message(f"refreshing {view}")
                execute(inside, f"REFRESH MATERIALIZED VIEW {view}")
        self._catch_up()

    def lag(self) -> int:
        """Return how many bytes of the source's log the copy has not confirmed."""
        behind = value(self._session, BEHIND, [self.name])
        if behind is None:
            raise fail(
                "the source gave up the replication slot", "see its max_slot_wal_keep_size, run it again"
            )
        return int(behind)

    def lock_source(self, search_path: str) -> tuple[str, Hashes | None]:
        """Let nobody else write at the source, take in the last changes, compare both sides and end the replication.

        Return in words what is equal, and the copy's hashes if they were taken. Writers wait until `close_source`.
        """
        self._catch_up()
        self._end_watch()
        self._locking = self._open()
        try:
            live_source.lock_tables(self._locking, self._session)
        except psycopg.Error as error:
            self._check(self._session)
            fix = "end what holds them (see the source's pg_locks and pg_prepared_xacts) and run it again"
            raise fail(f"the source's tables could not be locked: {plain(error)}", fix) from error
        self._check(self._session)
        self._drain()
        compared = self._compare(search_path)
        self._unsubscribe()
        live_source.drop_slot(self._session, self.name)
        return compared

    def close_source(self) -> None:
        """Let every write fail at the source from now on. The copy has everything: switch over at once."""
        self.opening = live_source.close_tables(
            self._locking, self.name, self.lock.session, self._staging.name
        )
        execute(self._locking, "COMMIT")
        live_source.end_others(self._session)
        self._check(self._session)
        # Logical replication leaves them out.
        stands = [(name, *text.split(", ")) for name, text in sequences(self._session).items()]
        with self._inside() as inside:
            # One that a schema upgrade dropped is no more.
            rows(inside, SET_SEQUENCES, [[each[place] for each in stands] for place in range(3)])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        with uninterrupted():
            self._end_watch()
            # A subscription's worker holds the slot. Where its server is away, whoever removes the database ends it.
            with suppress(psycopg.Error, Problem):
                self._ending.close()
            self.way.close()
            if self.opening and isinstance(error, Problem) and error.exit_code == UNKNOWN:
                self.report.left("the source stays closed to writes, for its database may be live at the stack; to "
                                 f"open it again: {self.opening}")  # fmt: skip
            elif not self.finished:
                self._undo()
            if self.problem and error is not self.problem and isinstance(error, Exception):
                raise self.problem from error

    def _undo(self) -> None:
        until = time.monotonic() + UNDO_SECONDS
        while True:
            try:
                with self._connect() as session:
                    return live_source.remove(session, self.name)
            except (psycopg.Error, Problem) as error:
                if time.monotonic() > until:
                    return self.report.left(
                        f"{self.name} stays behind at the source ({plain(error)}); the next migration out of it "
                        f"removes it, or by hand, there: SELECT pg_drop_replication_slot('{self.name}'); "
                        f"DROP PUBLICATION IF EXISTS {self.name}; {self.opening}"
                    )
            time.sleep(1)

    def _connect(self) -> Session:
        session = self.source.connect(self.database)
        live_source.prepare(session)
        return session

    def _open(self) -> Session:
        """Open a session that ends with the migration, without a commit of what it has begun."""
        session = self._connect()
        self._ending.callback(session.close)
        return session

    def _inside(self) -> Session:
        """Open a session in the copy that fires no event triggers: they have fired at the source for what is done."""
        session = self._staging.connect()
        if session.info.server_version >= 170000:
            execute(session, "SET event_triggers = off")
        return session

    def _unsubscribe(self) -> None:
        with self._inside() as inside:
            drop_subscriptions(inside)

    def _watch(self, session: Session) -> None:
        """End the migration as soon as `_check` fails: the source and its clients shall not bear with it for longer."""
        while not self.problem and not self._watched.wait(1):
            try:
                self._check(session)
            except psycopg.Error as error:
                self.problem = fail(f"the source went away: {plain(error)}", "run it again")
            except Problem as problem:
                self.problem = problem
                with suppress(psycopg.Error):
                    live_source.remove(session, self.name)
                    value(session, END_OWN)

    def _check(self, session: Session) -> None:
        """Raise Problem when the source keeps too much log for the migration, or its definitions were changed.

        Such a change shows itself in many ways, and this is the one that can be fixed. Whoever drops a table's key
        cannot update that table as long as it is published.
        """
        if (value(session, RETAINED, [self.name]) or 0) > CEILING:
            raise fail(
                f"the source had to keep more than {CEILING >> 20} MiB of its log for the migration: more is written "
                "there than the stack's server can apply",
                f"give tables with REPLICA IDENTITY FULL a primary key; {LESS_FIX}",
            )
        if value(session, DEFINITIONS) != self._definitions:
            raise fail(
                "the source's schema was changed during the move, and such changes do not travel with logical "
                "replication",
                "let nobody change the schema meanwhile (migrations, CREATE, ALTER) and run it again",
            )

    def _end_watch(self) -> None:
        self._watched.set()
        if self._watcher.ident:
            self._watcher.join()

    def _catch_up(self) -> None:
        """Wait until the copy has what is at the source now, and few later changes are missing."""
        position = value(self._session, POSITION)
        first, least, since = 1, 1 << 62, time.monotonic()
        self.report.progress("following", 0, first)
        while (lag := self.lag()) > SMALL_LAG or not self._has(position):
            first = max(first, lag)
            self.report.progress("following", first - lag, first)
            if lag < least:
                least, since = lag, time.monotonic()
            elif time.monotonic() - since > STALL_SECONDS:
                raise fail(f"the stack's server does not catch up with the source: it is {lag >> 20} MiB behind, and "
                           f"was not less for {STALL_SECONDS:.0f} s", LESS_FIX)  # fmt: skip
            time.sleep(0.2)

    def _drain(self) -> None:
        """Wait until the copy has everything that is committed at the source, where nobody may write now."""
        position, until = value(self._session, POSITION), time.monotonic() + DRAIN_SECONDS
        while not self._has(position):
            if time.monotonic() > until:
                what = f"the last changes did not arrive within {DRAIN_SECONDS:.0f} s"
                raise fail(f"{what}; the source is open again", LESS_FIX)
            time.sleep(0.01)

    def _has(self, position: str) -> bool:
        """Return whether the copy has everything up to there. Raise Problem for a change that cannot be applied."""
        if not value(
            self.lock.session, "SELECT subenabled FROM pg_subscription WHERE subname = %s", [self.name]
        ):
            self._check(self._session)
            raise fail("the stack's server cannot apply the source's changes", LOG_FIX)
        return bool(value(self.lock.session, REACHED, [position, self.name]))

    def _compare(self, search_path: str) -> tuple[str, Hashes | None]:
        """Compare both sides while the source stands still, where that is soon done."""
        if value(self._session, "SELECT pg_database_size(current_database())") > CHEAP_BYTES:
            return NOT_COMPARED, None
        with self._connect() as there, self._staging.connect() as here, ThreadPoolExecutor(1) as beside:
            reading = beside.submit(hashes, there, search_path=search_path)
            # Sequences are carried last.
            found = replace(hashes(here, search_path=search_path), sequences={})
            expected = replace(reading.result(), sequences={})
        if differences := expected.differences(found):
            raise fail(
                f"after the cutover the databases would differ: {some(differences)}",
                f"run it again, or {AT_REST}",
            )
        return "rows and hashes of every table, at the cutover", found
