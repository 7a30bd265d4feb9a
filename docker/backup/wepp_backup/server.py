"""A PostgreSQL server: sessions there, names and literals, and why it lets nobody in."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql

from wepp_backup.events import Problem, fail, refuse

Session = psycopg.Connection[tuple[Any, ...]]

# Tells this program's sessions from the application's and from foreign ones.
APPLICATION_NAME = "wepp-backup"
# Longest name in bytes (NAMEDATALEN - 1).
LONGEST_NAME = 63
# Under these every session reads and writes: text that means the same on both sides of a comparison
# (extra_float_digits 1 is the shortest exact form), and no limit of the server's on how long work may take.
PARAMETERS = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO,YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "search_path": "pg_catalog",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
# Older servers refuse a session that names these at its start (they came with 14 and 17).
WITHOUT_LIMITS = """
SELECT set_config(name, '0', false) FROM pg_settings
WHERE name IN ('idle_session_timeout', 'transaction_timeout') AND setting <> '0'"""
CONNECT_TIMEOUT = 15  # s
AWAY_SECONDS = 60.0  # outlasts a server that is recovering from a crash
LOGIN_FIX = (
    "correct the user or the password: the stack's is in its secret file postgres_password, another server's in the "
    "file that --password-file names"
)
# What refuses a session says, and what to do: there is no code where none has begun.
FIXES = {
    # The file's name is in translated messages, too.
    "pg_hba.conf": "add a line for this to that file of the server, or ask another way (TLS, another user or database)",
    "Peer authentication failed": "add an account of this machine with that name, or use --host=localhost "
    "with --password-file",
    "authentication failed|no password supplied": LOGIN_FIX,
    "database .* does not exist": "name a database that exists there",
    "starting up|shutting down": "run this again in a moment",
    "FATAL": "see the server's log and pg_stat_activity",
}


@dataclass(frozen=True)
class Server:
    """A place that databases are at. host may be the folder of a socket; libpq takes the password from passfile."""

    host: str
    port: str
    user: str
    passfile: str = ""
    application_name: str = APPLICATION_NAME  # of sessions there

    def connect(self, database: str, **parameters: str) -> Session:
        """Return a session in autocommit mode, with further parameters for libpq.

        Raise Problem when the server does not let us in.
        """
        options = " ".join(f"-c {name}={value}" for name, value in PARAMETERS.items())
        known = {
            "host": self.host, "port": self.port, "user": self.user, "dbname": database, "options": options,
            "application_name": self.application_name, "connect_timeout": str(CONNECT_TIMEOUT),
            **({"passfile": self.passfile} if self.passfile else {}),
            # A server that is cut off without a word is noticed within half a minute.
            "keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3",
        }  # fmt: skip
        try:
            session = psycopg.connect("", autocommit=True, **{**known, **parameters})  # type: ignore[arg-type]
            session.prepare_threshold = None  # nothing is prepared that outlives a renamed database
            session.execute(WITHOUT_LIMITS)
        except psycopg.Error as error:
            raise self._refused(error) from error
        return session

    def environment(self, options: str = "") -> dict[str, str]:
        """Return the variables that make PostgreSQL's programs work at this server; options: of their sessions."""
        return {
            "PGHOST": self.host, "PGPORT": self.port, "PGUSER": self.user, "PGPASSFILE": self.passfile,
            "PGAPPNAME": self.application_name, "PGOPTIONS": options, "PGCONNECT_TIMEOUT": str(CONNECT_TIMEOUT),
        }  # fmt: skip

    def connect_again(self, database: str, lost: Callable[[], None]) -> Session:
        """Return a session as soon as the server is back; `lost` is called as often as it is missed. Raise Problem."""
        until = time.monotonic() + AWAY_SECONDS
        while True:
            try:
                return self.connect(database)
            except Problem as problem:
                if time.monotonic() > until:
                    raise fail(f"the server did not come back: {problem.what}", problem.fix) from problem
            lost()
            time.sleep(0.25)

    def _refused(self, error: psycopg.Error) -> Problem:
        """Return the problem of a server that lets nobody in, and what to do about it."""
        where, said = f"{self.host}:{self.port} as {self.user}", plain(error)
        for words, fix in FIXES.items():
            if re.search(words, said):
                return refuse(f"the server at {where} refuses: {said}", fix)
        return refuse(f"no server answers at {where}: {said}", "start the server, or correct host and port")


def refuses_login(problem: Problem) -> bool:
    """Return True when the problem of `connect` is the role or its password, not a server that cannot be asked."""
    return problem.fix == LOGIN_FIX


def plain(error: BaseException) -> str:
    """Return an error's own words on one line."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return " ".join(error.diag.message_primary.split())
    return " ".join(str(error).split()) or type(error).__name__


def is_lost(session: Session, error: BaseException | None = None) -> bool:
    """Return True when the session is gone with its server, or was ended by it."""
    return session.closed or session.broken or isinstance(error, errors.AdminShutdown | errors.CrashShutdown)


def maintenance(database: str) -> str:
    """Return a database to be connected to while `database` itself is renamed or dropped."""
    return "template1" if database == "postgres" else "postgres"


def quote(name: str) -> str:
    """Return a name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as a literal of SQL, for statements that take no parameters."""
    quoted = text.replace("'", "''")
    return " E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in quoted else f"'{quoted}'"


def conninfo(database: str) -> str:
    """Name a database for PostgreSQL's programs; a bare name with `=` in it would be read as something else."""
    return "dbname='" + database.replace("\\", "\\\\").replace("'", "\\'") + "'"


def shortened(name: str, size: int) -> str:
    """Return the longest beginning of a name that is at most `size` bytes long in UTF-8 and cuts no character."""
    return name.encode()[:size].decode(errors="ignore")


def column(session: Session, query: str, parameters: Sequence[Any] = ()) -> list[Any]:
    """Return the one column of a query's answer."""
    return [row[0] for row in rows(session, query, parameters)]


def rows(session: Session, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Return a query's answer. A query without parameters may hold % as it is."""
    return session.execute(sql.SQL(query), parameters or None).fetchall()


def value(session: Session, query: str, parameters: Sequence[Any] = ()) -> Any:
    """Return the first column of a query's first row, None when there is no row."""
    answer = rows(session, query, parameters)
    return answer[0][0] if answer else None


def execute(session: Session, statement: str) -> None:
    """Run one or several statements, without parameters."""
    session.execute(sql.SQL(statement))
