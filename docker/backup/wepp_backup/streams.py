"""Rows that travel from server to server as they are read: two psql with a pipe between them, several tables at a time.

They are loaded into a table that is emptied in the same transaction: they need no log where the server keeps none for
such, and come frozen: no later reader has to mark in each row that it is there, which with checksums would send every
page through the log and to disk again.
"""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from typing import NamedTuple

from wepp_backup import programs
from wepp_backup.programs import Child, ProgramError, explained
from wepp_backup.server import Server, Session, conninfo, rows
from wepp_backup.source import LOCK_SECONDS, Held

# From which size on a table travels so; a smaller one is sooner dumped and loaded with the others.
BYTES = 128 << 10
# Types whose binary form (src/backend/utils/adt, *send and *recv) names nothing that has other numbers on another
# server, and has not changed since version 12. Domains and all others go as text.
ALIKE = [
    "bool", "bpchar", "bytea", "char", "date", "float4", "float8", "int2", "int4", "int8", "interval", "json", "jsonb",
    "name", "numeric", "text", "time", "timestamp", "timestamptz", "timetz", "uuid", "varchar",
]  # fmt: skip
# The rest is left to pg_dump: extensions' tables, whose rows are dumped in part; tables with row security; hash
# partitions, whose rows may belong elsewhere on another server; a database that is not in UTF8, for its texts may be
# none in any encoding. Every name is quoted: the other server may reserve more words.
TABLES = """
SELECT format('"%%s"."%%s"', replace(n.nspname, '"', '""'), replace(c.relname, '"', '""')),
  a.columns, a.binary,
  coalesce(pg_table_size(c.oid), 0)::int8 AS bytes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
  LATERAL (SELECT string_agg(format('"%%s"', replace(attname, '"', '""')), ', ' ORDER BY attnum) AS columns,
    bool_and(t.typtype <> 'd' AND coalesce(CASE WHEN t.typcategory = 'A' THEN e.oid ELSE t.oid END < 10000
      AND CASE WHEN t.typcategory = 'A' THEN e.typname ELSE t.typname END = ANY (%s), false)) AS binary
    FROM pg_attribute JOIN pg_type t ON t.oid = atttypid LEFT JOIN pg_type e ON e.oid = t.typelem
    WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '') a
WHERE current_setting('server_encoding') = 'UTF8' AND c.relkind = 'r' AND c.relpersistence = 'p'
  AND NOT c.relrowsecurity AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND a.columns IS NOT NULL
  AND pg_table_size(c.oid) >= %s
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
  AND NOT EXISTS (SELECT FROM pg_partition_ancestors(c.oid) r JOIN pg_partitioned_table p ON p.partrelid = r.relid
    WHERE p.partstrat = 'h')
ORDER BY bytes DESC"""
PSQL = ["psql", "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1"]
# Limits of the servers' owners; those of later majors are lifted by their own programs.
UNLIMITED = "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c extra_float_digits=1"
UNLIMITED += " -c DateStyle=ISO,YMD -c IntervalStyle=postgres -c client_encoding=UTF8"


class Table(NamedTuple):
    """A table whose rows travel so. name: quoted; binary: each column's form is the same on all servers."""

    name: str
    columns: str  # quoted, those that are stored
    binary: bool
    bytes: int


def tables(session: Session) -> list[Table]:
    """Return the tables of the source that travel so, the largest first."""
    return [Table(*each) for each in rows(session, TABLES, [ALIKE, BYTES])]


def copy(held: Held, wanted: list[Table], jobs: int, target: Server, database: str) -> None:
    """Copy all rows of tables in one snapshot of the source, the largest table first. Raise Problem.

    target: as the application's role, which owns all tables of the database as yet. Whatever ends it ends the programs.
    """
    children: list[Child] = []

    def work(table: Table) -> None:
        try:
            _copy(held, table, target, database, children)
        except ProgramError as error:
            what = f"the rows of {table.name} could not be copied"
            fix = "see the logs of both servers, then run it again"
            raise explained(error, fix, what) from error

    with ThreadPoolExecutor(jobs) as pool:
        try:
            for done in as_completed([pool.submit(work, each) for each in wanted]):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in list(children):
                programs.stop(child)
            raise


def _copy(held: Held, table: Table, target: Server, database: str, children: list[Child]) -> None:
    form = "(FORMAT binary{})" if table.binary else "(FORMAT text{})"
    read = [
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", f"SET TRANSACTION SNAPSHOT '{held.snapshot}'",
        f"COPY {table.name} ({table.columns}) TO STDOUT {form.format('')}",
    ]  # fmt: skip
    write = [
        "BEGIN", f"TRUNCATE ONLY {table.name}",
        f"COPY {table.name} ({table.columns}) FROM STDIN {form.format(', FREEZE')}", "COMMIT",
    ]  # fmt: skip
    options = f"{UNLIMITED} -c lock_timeout={LOCK_SECONDS}s", f"{UNLIMITED} -c synchronous_commit=off"
    with programs.running(
        _psql(held.database, read), held.server, options=options[0], stdout=subprocess.PIPE
    ) as reading:
        children.append(reading)
        assert reading.stdout  # noqa: S101 - a pipe was asked for
        try:
            with programs.running(
                _psql(database, write), target, options=options[1], stdin=reading.stdout
            ) as writing:
                children.append(writing)
        except ProgramError:
            # A reader that failed ends the writer, too; else it is the writer's own trouble.
            with suppress(subprocess.TimeoutExpired):
                reading.wait(0.5)
            if not reading.returncode:
                raise


def _psql(database: str, statements: list[str]) -> list[str]:
    return [*PSQL, f"--dbname={conninfo(database)}", *(f"--command={each}" for each in statements)]
