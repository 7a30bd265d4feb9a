"""Runs the SQL of a dump in a staging database, as the application's role wherever that may do it.

Whatever a dump brings along may have been planted: event triggers, and functions that a CHECK, an index, a view or a
generated column calls. None of it may run as a superuser. So the application's role makes everything and loads all
rows. It owns all of it until the end; only then a superuser gives things to the roles that had them, which runs nothing
of the dump, and makes the event triggers, which so do not fire for what is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import psycopg
from psycopg import errors

from wepp_backup.events import Problem, fail, refuse
from wepp_backup.plain_sql import CHUNK, NAME, Script
from wepp_backup.programs import full
from wepp_backup.server import Session, is_lost, plain

TABLE = rb"(?:" + NAME + rb"\.)?" + NAME
BATCHED = (b"INSERT INTO ", b"SELECT pg_catalog.lo")
# pg_dump --clean begins with dropping, for which it makes some views anew: of no use where nothing is.
CLEANING = re.compile(
    rb"DROP |ALTER (?:FOREIGN TABLE|TABLE|DOMAIN|PUBLICATION) |SELECT pg_catalog\.lo_unlink\(|CREATE OR REPLACE VIEW "
)
# A new database has this schema, and every session of this program that setting.
NEEDLESS = re.compile(rb'(?:CREATE|DROP) SCHEMA (?:IF EXISTS )?"?public"?;|SET transaction_timeout = 0;')
# The server would take any bytes for text then.
UNCHECKED = b"SET client_encoding = 'SQL_ASCII';"
CHECKED = b"SELECT pg_catalog.set_config('client_encoding', current_setting('server_encoding'), false);"
# A number that servers from 17.12 on keep among a column's options for themselves. An older pg_dump takes it for
# something that somebody has set and writes it out, and no older server takes it in.
MARKED = re.compile(rb"(?s)(ALTER (?:FOREIGN )?TABLE .* ALTER COLUMN .* SET \()(.*)\);")
MARK = b"pg_attver="
# Of sessions, also a superuser's: nothing of the dump is called in these.
SETTING = re.compile(
    rb"SET [a-z_]+ = [^;]*;|SELECT pg_catalog\.set_config\('search_path', '[^'\\]*', false\);"
)
AUTHORIZATION = re.compile(rb"SET SESSION AUTHORIZATION (?!DEFAULT;).*;")
NO_AUTHORIZATION = re.compile(rb"(?:RE)?SET SESSION AUTHORIZATION(?: DEFAULT)?;")
# What takes the application's role a right over something that it is to load yet. Of what ALTER TABLE and its like can
# do, and GRANT, only what is about owners and this database: the rest might run functions, or make somebody powerful.
# An event trigger on login would fire for the sessions that compare what was loaded.
LAST = re.compile(
    rb"(?s)ALTER (?:(?:FOREIGN )?TABLE|(?:MATERIALIZED )?VIEW|SEQUENCE) %b OWNER TO %b;|"
    rb"ALTER (?!FOREIGN TABLE|TABLE|MATERIALIZED|VIEW|SEQUENCE|INDEX|ROLE|USER|SYSTEM)[A-Z ]+ .* OWNER TO %b;|"
    rb"ALTER TABLE (?:ONLY )?%b FORCE ROW LEVEL SECURITY;|ALTER DEFAULT PRIVILEGES .*|SECURITY LABEL .*|"
    rb"(?:GRANT|REVOKE) (?:[A-Z, ]|\((?:%b(?:, ?)?)+\))+? ON (?!PARAMETER|TABLESPACE).*|"
    rb"CREATE EVENT TRIGGER %b ON (?!login).*|(?:ALTER|COMMENT ON) EVENT TRIGGER .*"
    % (TABLE, NAME, NAME, TABLE, NAME, NAME)
)
EVENT_TRIGGER = re.compile(rb"[A-Z ]+ EVENT TRIGGER ")
# What a superuser runs where the application's role may not: nothing of the dump is called in it.
PRIVILEGED = re.compile(
    rb"COMMENT ON |(?:CREATE|ALTER) (?:EXTENSION|PUBLICATION|SERVER|USER MAPPING) |"
    rb"SELECT pg_catalog\.setval\('(?:[^']|'')*+', -?[0-9]+, (?:true|false)\);"
)
# In an archive, as this program's own backups are, also what a superuser had made: a function in C, an operator class.
PRIVILEGED_OF_ARCHIVES = re.compile(
    rb"CREATE (?!(?:OR REPLACE )?(?:AGGREGATE|DOMAIN|(?:UNIQUE )?INDEX|MATERIALIZED|(?:UNLOGGED )?TABLE|VIEW) )|"
    rb"ALTER (?!DOMAIN|TABLE)|" + PRIVILEGED.pattern
)
OF_EXTENSION = b"""
SELECT FROM pg_catalog.pg_depend WHERE classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND deptype = 'e'
  AND objid = '%b'::pg_catalog.regclass"""
LOOK = "SELECT pg_catalog.set_config('search_path', %s, %s)"
MISSING = {"3F000", "42P01", "42703", "42704", "42883"}  # schema, table, column, object or function


class Runner:
    """Runs statements of a dump. session: of the application's role; superuser: the same where that is one itself.

    Both are in autocommit mode. search_path: of the dumped database, tried where a statement fails without one, as
    pg_dump sets it.
    """

    def __init__(
        self, path: Path, session: Session, superuser: Session, search_path: str, *, is_archive: bool = True
    ) -> None:
        self.path, self.session, self.superuser, self.search_path = path, session, superuser, search_path
        self._privileged = PRIVILEGED_OF_ARCHIVES if is_archive else PRIVILEGED
        self._last: list[bytes] = []
        self._authorization = b""

    def run(self, script: Script, copy_in: Callable[[bytes, Script], None] | None = None) -> None:
        """Run all statements of a script; copy_in: loads rows. Raise Problem with the line that fails."""
        batch: list[bytes] = []
        size, line, is_cleaning = 0, 0, True
        try:
            for statement in chain(script.statements(), [b""]):
                if batch and (size > CHUNK or not statement.startswith(BATCHED)):
                    self.session.execute(b"".join(batch))
                    batch, size = [], 0
                line = script.line
                if is_cleaning and CLEANING.match(statement):
                    continue
                is_cleaning = is_cleaning and not statement.startswith((b"CREATE ", b"COPY "))
                if statement.startswith(BATCHED):
                    batch.append(statement)
                    size += len(statement)
                elif statement.startswith(b"COPY "):
                    (copy_in or self.copy)(statement, script)
                elif statement:
                    self._execute(statement)
        except psycopg.Error as error:
            raise self.problem(f"line {line}", error) from error

    def execute(self, statement: bytes) -> None:
        """Run one statement. Raise Problem."""
        try:
            self._execute(statement)
        except psycopg.Error as error:
            raise self.problem(statement.decode(errors="replace"), error) from error

    def copy(self, statement: bytes, script: Script) -> None:
        """Send the rows of the COPY statement that the script has just returned."""
        try:
            copy_rows(self.session, statement, script)
        except errors.InsufficientPrivilege:
            # Nobody but an extension has a table that the application's role does not own yet.
            query = OF_EXTENSION % script.table.replace(b"'", b"''")
            if self.superuser is self.session or not self.superuser.execute(query).fetchone():
                raise
            copy_rows(self.superuser, statement, script)

    def finish(self) -> None:
        """Give everything to the role that had it, with its rights, and make the event triggers. Raise Problem."""
        for statement in sorted(self._last, key=lambda each: EVENT_TRIGGER.match(each) is not None):
            try:
                self._run(self.superuser, statement)
            except psycopg.Error as error:
                raise self.problem(statement.decode(errors="replace"), error) from error

    def problem(self, what: str, error: psycopg.Error) -> Problem:
        """Return the problem of something of the dump that the server does not take."""
        if is_lost(self.session, error) or is_lost(self.superuser, error):
            return fail(f"the server went away: {plain(error)}", "see the server's log, then run it again")
        if error.sqlstate == "22021":
            return refuse(
                f"{self.path} cannot be loaded: {what} holds text in another encoding than the dump says, or it says "
                f"none (SQL_ASCII): {plain(error)}",
                "dump it with the encoding that its text has: pg_dump --encoding=LATIN1",
            )
        fix = "choose another dump, or fix what the server says"
        return full(error) or refuse(f"{self.path} cannot be loaded: {what}: {plain(error)}", fix)

    def _execute(self, statement: bytes) -> None:
        if NEEDLESS.fullmatch(statement):
            return
        if AUTHORIZATION.fullmatch(statement):
            self._authorization = statement
            return
        if NO_AUTHORIZATION.fullmatch(statement):
            self._authorization = b""
        if LAST.fullmatch(statement):
            # pg_dump says so of what somebody granted who is not the owner.
            grantor = self._authorization
            self._last += [grantor, statement, b"RESET SESSION AUTHORIZATION;"] if grantor else [statement]
            return
        if self._authorization:
            self._run(self.session, self._authorization)
        if statement == UNCHECKED:
            statement = CHECKED
        if MARK in statement and (marked := MARKED.fullmatch(statement)):
            options = [each for each in marked[2].split(b", ") if not each.startswith(MARK)]
            if not options:
                return
            statement = marked[1] + b", ".join(options) + b");"
        try:
            self._run(self.session, statement)
        except errors.InsufficientPrivilege:
            if self.session is self.superuser or not self._privileged.match(statement):
                raise
            self._run(self.superuser, statement)
        if SETTING.fullmatch(statement) or statement == CHECKED:
            self._run(self.superuser, statement)

    def _run(self, session: Session, statement: bytes) -> None:
        # Asked for binary answers, the server takes one statement at a time only, wherever it sees its end.
        try:
            session.execute(statement, binary=True)
        except psycopg.Error as error:
            if error.sqlstate not in MISSING:
                raise
            with session.transaction():
                session.execute(LOOK, [self.search_path, True])
                session.execute(statement, binary=True)


def copy_rows(session: Session, statement: bytes, script: Script) -> None:
    """Send the rows of the COPY statement that the script has just returned."""
    with session.cursor().copy(statement) as copy:
        for piece in script.rows():
            copy.write(piece)
