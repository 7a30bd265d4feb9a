"""The switchover: another database becomes the live one by two renames in one transaction.

Nobody is shut out beforehand, so no crash can leave anybody shut out: the rename itself locks the database's name, and
who connects meanwhile waits for that lock (PostgreSQL's InitPostgres and RenameDatabase take the same one). Sessions
that are there already are ended before, and those that came in between by a second session while the rename waits for
them, which it does for 5 s.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from psycopg import errors

from wepp_backup import database_properties
from wepp_backup.database_properties import Properties
from wepp_backup.events import Problem, fail, refuse, unknown
from wepp_backup.markers import KEPT, Marker, free_name
from wepp_backup.server import (
    APPLICATION_NAME,
    Session,
    column,
    execute,
    is_lost,
    literal,
    maintenance,
    plain,
    quote,
    value,
)  # fmt: skip
from wepp_backup.staging import Lock

PAUSE = 0.01  # s, between two rounds of ending sessions
LEAVE_SECONDS = 2.0  # that the server of a busy machine may take to see that a client has gone
# Programs of people and of other jobs, by the beginning of the name that they give themselves.
TOOLS = (
    "^(psql|pg_(dump|restore|basebackup|recvlogical)|pgcopydb|pgbench|vacuumdb|reindexdb|pgadmin|dbeaver|datagrip|pgcli|"
    "tableplus|beekeeper|navicat|heidisql|adminer|metabase|qgis|postico|azuredatastudio|postgresql jdbc)"
)
FOREIGN = f"""
SELECT format('%%s of %%s at %%s (process %%s, %%s)', coalesce(nullif(application_name, ''), 'a session'), usename,
  coalesce(host(client_addr), 'a socket'), pid, state)
FROM pg_stat_activity
WHERE datname = %s AND coalesce(backend_type, 'client backend') = 'client backend' AND pid <> pg_backend_pid()
  AND application_name NOT LIKE '{APPLICATION_NAME}%%' AND application_name <> 'pg_isready'
  AND (application_name ~* %s OR %s::text[] IS NOT NULL AND host(client_addr) = ANY(%s) IS NOT TRUE)
ORDER BY backend_start"""
# Counts all of them, and ends those that the user may end: another one would keep the statement from ending the rest.
END_SESSIONS = """
SELECT count(*), count(CASE WHEN (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) OR (NOT r.rolsuper
    AND (pg_has_role(a.usesysid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE')))
  THEN pg_terminate_backend(a.pid) END)
FROM pg_stat_activity a LEFT JOIN pg_roles r ON r.oid = a.usesysid
WHERE a.datname IN ({}) AND a.pid <> pg_backend_pid()"""


@dataclass(frozen=True)
class Switched:
    """What a switchover did. kept: the database from before, "" for none. seconds: how long nobody was let in."""

    database: str
    kept: str
    seconds: float


def live_oid(session: Session, live: str) -> int:
    """Return the OID of the database of that name, which no rename changes; 0 when there is none."""
    return value(session, "SELECT oid::int8 FROM pg_database WHERE datname = %s", [live]) or 0


def foreign_sessions(session: Session, live: str, clients: Collection[str] | None) -> list[str]:
    """Return the sessions in the live database that are not the stack's own, one phrase each.

    clients: addresses of the stack's containers; None at an external server, where only tools are known by their names.
    """
    return column(session, FOREIGN, [live, TOOLS, clients, clients])


def refuse_foreign(lock: Lock, clients: Collection[str] | None, force: bool) -> None:
    """Raise Problem while a foreign session is connected; force: the switchover ends it instead.

    Raise Problem whatever force says while a prepared transaction holds the database: no session is there to be ended.
    """
    prepared = value(lock.session, "SELECT count(*) FROM pg_prepared_xacts WHERE database = %s", [lock.live])
    if prepared:
        raise refuse(
            f"{prepared} prepared transactions hold {lock.live}",
            "end them first: COMMIT PREPARED or ROLLBACK PREPARED, see pg_prepared_xacts",
        )
    until = time.monotonic() + LEAVE_SECONDS
    while found := [] if force else foreign_sessions(lock.session, lock.live, clients):
        if time.monotonic() >= until:
            raise refuse(
                f"{len(found)} sessions that are none of the stack's services hold {lock.live}: {'; '.join(found)}",
                "stop them, or let --force end their sessions",
            )
        time.sleep(PAUSE)


def switch_over(lock: Lock, incoming: str, *, about: str, properties: Properties | None = None) -> Switched:
    """Make the database `incoming` the live one; keep the one from before under another name, marked with `about`.

    properties: what the new one gets; None: what it has. To be called where nothing interrupts (caller.uninterrupted).
    Whatever happens, the old or the new database is live afterwards, whole. Raise Problem when it is the old one, or
    when only a server that is away knows.
    """
    session, live, kept, now = lock.session, lock.live, "", datetime.now(UTC)
    wanted, before = live_oid(session, incoming), database_properties.read(session, live)
    if properties:
        statements = database_properties.statements(session, properties, incoming)
    else:
        own = database_properties.read(session, incoming)
        statements = database_properties.own_statements(own, incoming) if own else []
    end_sessions = END_SESSIONS.format(f"{literal(live)}, {literal(incoming)}")
    renames = [f"ALTER DATABASE {quote(incoming)} RENAME TO {quote(live)}", "COMMIT"]
    if before:
        kept = free_name(session, live, now)
        marker = Marker(KEPT, live, about, now.isoformat(timespec="seconds"), before.comment)
        statements.append(f"COMMENT ON DATABASE {quote(live)} IS {literal(marker.text())}")
        renames.insert(0, f"ALTER DATABASE {quote(live)} RENAME TO {quote(kept)}")

    def run(*several: str) -> float:
        # In one message: on a busy machine each answer would wait for its turn while nobody is let in.
        execute(session, "; ".join(several))
        return time.monotonic()

    began = time.monotonic()
    try:
        with lock.server.connect(maintenance(live)) as ending, ThreadPoolExecutor(1) as beside:
            execute(session, "LISTEN wepp_switchover")
            # A server may commit late (synchronous_commit = off): what is told as done must outlast a crash of it.
            beside.submit(run, "BEGIN", "SET LOCAL synchronous_commit = on", *statements).result()
            # What it has to look up is in its caches then, and a NOTIFY, which is a commit, waits for no disk.
            execute(ending, END_SESSIONS.format("''") + "; SET synchronous_commit = off")
            began = time.monotonic()
            renaming = beside.submit(run, end_sessions, *renames)
            # Where it may not, the rename gives up, which is then told.
            with suppress(psycopg.Error):
                while not renaming.done():
                    if not value(ending, end_sessions):
                        # The rename looks ten times a second whether they are gone, and gives up after 50 looks; a
                        # signal ends the sleep in between.
                        execute(ending, "NOTIFY wepp_switchover")
                    wait([renaming], PAUSE)
            seconds = renaming.result() - began
    except psycopg.Error as error:
        if isinstance(error, errors.ObjectInUse):
            what = f"sessions that do not end hold {live}: {error.diag.message_detail}"
            fix = "end that process on the server by hand (see pg_stat_activity), then run it again"
            raise refuse(what, fix) from error
        # A session lost in the commit does not tell which way it went; the server does.
        if not is_lost(session, error) or _live_after(lock, kept) != wanted:
            what = f"the switchover did not take place, {live} is the same as before it: {plain(error)}"
            raise fail(what, "see the server's log, then run it again") from error
        seconds = time.monotonic() - began
    finally:
        with suppress(psycopg.Error):
            session.rollback()  # nothing, after a commit
    return Switched(live, kept, seconds)


def _live_after(lock: Lock, kept: str) -> int:
    """Return the OID of the live database once the session that switched has ended. Raise Problem."""
    try:
        lock.renew()
        return live_oid(lock.session, lock.live)
    except (Problem, psycopg.Error) as error:
        raise unknown(
            f"whether {lock.live} was switched over is not known: {plain(error)}",
            "once the server runs (`invoke compose-up`), `invoke db-prune --dry-run` tells: if it lists "
            f"{kept or 'a database of this minute'}, it was",
        ) from error
