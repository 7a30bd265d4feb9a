"""The staging database: a dump is loaded into it beside the live one, and on every way out it is removed or live.

Who changes databases of a server holds its lock, an advisory one of the maintenance database: it ends with its
session, however that ends. Whoever holds it next removes what the last one left behind, found by its marks.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from psycopg import errors

from wepp_backup import markers
from wepp_backup.events import Problem, Reporter, refuse
from wepp_backup.server import (
    APPLICATION_NAME,
    LONGEST_NAME,
    Server,
    Session,
    column,
    execute,
    literal,
    maintenance,
    plain,
    quote,
    rows,
    shortened,
    value,
)

KEY = 0x77657070  # "wepp" in ASCII: our number among the server's advisory locks
LOCK_SECONDS = 15.0  # for an earlier run that was killed and still removes its staging database
PAUSE = 0.25  # s
INFIX, DIGITS = "_incoming_", 13  # of the time in milliseconds
# A restore test's session, by which others know that they may end it.
TRIAL_NAME = f"{APPLICATION_NAME} trial"
HOLDER = """
FROM pg_locks k JOIN pg_stat_activity a USING (pid) JOIN pg_database d ON d.oid = k.database
WHERE k.locktype = 'advisory' AND k.granted AND k.objid = %s AND d.datname = current_database()"""
END_RESTORE_TEST = f"SELECT bool_or(pg_terminate_backend(a.pid)) {HOLDER} AND a.application_name = %s"
END_LOST = f"SELECT bool_or(pg_terminate_backend(a.pid)) {HOLDER} AND a.backend_start = %s"
# Tells a session from others also after a restart of the server, when process numbers come again.
BEGAN = "SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
TRY = "SELECT pg_try_advisory_lock(%s)"
LOCALE = """
SELECT pg_encoding_to_char(encoding), datcollate::text, datctype::text, coalesce(to_jsonb(d)->>'datlocprovider', 'c'),
  coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale', ''), coalesce(to_jsonb(d)->>'daticurules', '')
FROM pg_database d WHERE datname = %s"""  # majors differ in the columns' names
# Of the live database, where the user may give databases away.
OWNER = """
SELECT pg_get_userbyid(datdba)::text FROM pg_database
WHERE datname = %s AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"""
SUBSCRIPTIONS = (
    "SELECT subname::text FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE datname = %s"
)
NAMED_AS_STAGING = """
SELECT datname::text, datconnlimit, shobj_description(oid, 'pg_database') FROM pg_database
WHERE starts_with(datname::text, %s) AND datname <> %s"""


@dataclass
class Lock:
    """The right to change databases of a server; one holder at a time."""

    session: Session  # to the maintenance database
    live: str  # name of the application's database
    server: Server
    report: Reporter

    def __post_init__(self) -> None:
        self._began = value(self.session, BEGAN)

    def living_session(self) -> Session:
        """Return its session or, where that is lost, a new one as soon as the server is back. Raise Problem."""
        with suppress(psycopg.Error):
            execute(self.session, "SELECT")
            return self.session
        return self.server.connect_again(maintenance(self.live), self.report.lost)

    def renew(self) -> None:
        """Take the lock again if its session was lost, as soon as the server is back.

        What the lost session was at has ended then. To be called after somebody outside was waited for. Raise Problem
        when the server stays away or another command has the lock now.
        """
        session = self.living_session()
        if session is self.session:
            return
        # A server that ran on may not have noticed yet, or still be at that session's commit.
        while value(session, END_LOST, [KEY, self._began]):
            time.sleep(PAUSE)
        if not value(session, TRY, [KEY]):
            raise _taken(session)
        self.session, self._began = session, value(session, BEGAN)

    def release(self) -> None:
        """Give the lock back."""
        self.session.close()


def take_lock(server: Server, live: str, report: Reporter, *, trial: bool = False) -> Lock:
    """Wait for the lock and remove what interrupted runs left.

    A restore test is ended, for nobody waits for its end; a restore test itself (trial) ends nobody. Raise Problem when
    another command still has the lock after a while.
    """
    name = TRIAL_NAME if trial else APPLICATION_NAME
    session = server.connect(maintenance(live), application_name=name)
    try:
        until, is_noted = time.monotonic() + LOCK_SECONDS, False
        while not value(session, TRY, [KEY]):
            if time.monotonic() > until:
                raise _taken(session)
            if not trial and value(session, END_RESTORE_TEST, [KEY, TRIAL_NAME]):
                report.message("a restore test was under way; it gives way")
            elif not is_noted:
                report.message(
                    "another restore, restore test or migration is under way on this server, or being undone; waiting"
                )
            is_noted = True
            time.sleep(PAUSE)
        lock = Lock(session, live, server, report)
        remove_leftovers(lock)
    except BaseException:
        session.close()
        raise
    return lock


def is_held(session: Session) -> bool:
    """Return True while somebody has the lock. session: to the maintenance database."""
    return bool(value(session, f"SELECT EXISTS (SELECT {HOLDER})", [KEY]))


def remove_leftovers(lock: Lock) -> None:
    """Drop the staging databases of this live database: whoever made them had the lock and has it no more."""
    for name, is_ours in _staging_databases(lock.session, lock.live):
        if is_ours:
            lock.report.message(f"removing {name}, which an interrupted run left")
            _drop(lock.server, lock.session, name)
        else:
            lock.report.message(
                f"{name} looks like a staging database but has no mark of this program for {lock.live}; it is left "
                "alone. If nobody needs it, drop it by hand"
            )


@dataclass(frozen=True)
class Locale:
    """How a database encodes and sorts. provider is that of pg_database.datlocprovider: c, i or b."""

    encoding: str
    collate: str
    ctype: str
    provider: str
    locale: str
    rules: str

    def clause(self) -> str:
        """Return the words of CREATE DATABASE."""
        words = f" ENCODING {literal(self.encoding)} LC_COLLATE {literal(self.collate)} LC_CTYPE {literal(self.ctype)}"
        if self.provider == "i":
            words += f" LOCALE_PROVIDER icu ICU_LOCALE {literal(self.locale)}"
            words += f" ICU_RULES {literal(self.rules)}" if self.rules else ""
        if self.provider == "b":
            words += f" LOCALE_PROVIDER builtin BUILTIN_LOCALE {literal(self.locale)}"
        return words


def locale_of(session: Session, database: str) -> Locale | None:
    """Return the locale of a database of the session's server; None when there is no such one."""
    found = rows(session, LOCALE, [database])
    return Locale(*found[0]) if found else None


@dataclass
class Staging:
    """One staging database."""

    name: str
    lock: Lock

    @staticmethod
    def create(lock: Lock, locale: Locale | None, *, owner: str = "") -> Staging:
        """Make an empty one; locale None: the server's own. Raise Problem when the user may make no databases.

        It belongs to the live one's owner, who may make tables in it then; owner: where there is no live one.
        """
        now = datetime.now(UTC)
        staging = Staging(f"{_beginning(lock.live)}{now.timestamp() * 1000:.0f}", lock)
        made = f"CREATE DATABASE {quote(staging.name)} TEMPLATE template0 CONNECTION LIMIT {markers.CONNECTION_LIMIT}"
        if owner := value(lock.session, OWNER, [lock.live]) or owner:
            made += f" OWNER {quote(owner)}"
        marker = markers.Marker(markers.STAGING, lock.live, made=now.isoformat(timespec="seconds"))
        try:
            execute(lock.session, made + (locale.clause() if locale else ""))
            execute(lock.session, f"COMMENT ON DATABASE {quote(staging.name)} IS {literal(marker.text())}")
        except BaseException as error:
            staging.drop()
            # A disk that takes nothing has the code, too.
            if isinstance(error, errors.InsufficientPrivilege) and error.diag.source_function == "createdb":
                user = lock.server.user
                fix = f"let a superuser run: ALTER ROLE {user} CREATEDB"
                raise refuse(f"{user} may not make databases on this server", fix) from error
            raise
        return staging

    def connect(self, server: Server | None = None) -> Session:
        """Return a session in it; server: as another role than the lock's. Raise Problem."""
        try:
            return (server or self.lock.server).connect(self.name)
        except Problem as problem:
            raise problem.midway() from problem

    def drop(self) -> None:
        """Remove it if it is still there under its name and with its mark; wait for a server that recovers."""
        try:
            session = self.lock.living_session()
            if (self.name, True) in _staging_databases(session, self.lock.live):
                _drop(self.lock.server, session, self.name)
        except (Problem, psycopg.Error) as error:
            self.lock.report.left(f"{self.name} could not be dropped ({plain(error)}); the next task does it")


def drop_subscriptions(session: Session) -> None:
    """End the subscriptions of the session's database and leave their slots, which may be at a server that is away.

    A database with a subscription can be neither dropped nor used as a copy.
    """
    for name in map(quote, column(session, SUBSCRIPTIONS, [session.info.dbname])):
        for words in ("DISABLE", "SET (slot_name = NONE)"):
            execute(session, f"ALTER SUBSCRIPTION {name} {words}")
        execute(session, f"DROP SUBSCRIPTION {name}")


def _drop(server: Server, session: Session, name: str) -> None:
    if column(session, SUBSCRIPTIONS, [name]):
        with server.connect(name) as inside:
            drop_subscriptions(inside)
    execute(session, f"DROP DATABASE IF EXISTS {quote(name)} WITH (FORCE)")


def _beginning(live: str) -> str:
    """Return what the names of its staging databases begin with."""
    return shortened(live, LONGEST_NAME - len(INFIX) - DIGITS) + INFIX


def _staging_databases(session: Session, live: str) -> list[tuple[str, bool]]:
    """Return the databases that are named as staging ones of a live database, and whether their marks say the same."""
    beginning, found = _beginning(live), []
    for name, limit, comment in rows(session, NAMED_AS_STAGING, [beginning, live]):
        marker, digits = markers.parse(comment), name.removeprefix(beginning)
        # Killed between CREATE and COMMENT. Nobody else is just there: the lock is one for all databases of the server.
        is_marked = (marker.kind, marker.of) == (markers.STAGING, live) if marker else not comment
        is_named = len(digits) == DIGITS and digits.isdecimal()
        found.append((name, is_marked and is_named and limit == markers.CONNECTION_LIMIT))
    return found


def _taken(session: Session) -> Problem:
    query = f"SELECT a.backend_start, coalesce(host(a.client_addr), 'a socket') {HOLDER}"
    found = rows(session, query, [KEY])
    since = f" since {found[0][0]:%Y-%m-%dT%H:%M:%SZ} (from {found[0][1]})" if found else ""
    return refuse(
        f"another restore, restore test or migration is under way on this server{since}",
        "wait until it has ended, then run this again",
    )
