"""Rows per table of a database, to be compared with those of its dump or its copy.

Tables are ordinary ones and leaves of partitions, each by itself. Materialised views stand apart: loading a dump
computes them anew, so one that was stale when it was dumped rightly differs afterwards. Left out are system and
temporary tables and what an extension brings along (unless it marks a table as the user's, to be dumped whole).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wepp_backup.server import Session, execute, quote, rows, value

# Tables in one statement: few round trips with 5,000 tables, and yet few locks at a time.
BATCH = 20
RELATIONS = """
SELECT n.nspname::text, c.relname::text, c.relkind = 'm', columns.names, columns.kinds
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, LATERAL (
  SELECT coalesce(array_agg(a.attname::text ORDER BY a.attname COLLATE "C"), '{}') AS names,
    coalesce(array_agg(a.atttypid ORDER BY a.attname COLLATE "C"), '{}') AS kinds
  FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
WHERE (c.relkind = 'r' OR (c.relkind = 'm' AND c.relispopulated))
  AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (
    SELECT FROM pg_depend d LEFT JOIN pg_extension e ON e.oid = d.refobjid
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0 AND d.deptype = 'e'
      AND coalesce(e.extcondition[array_position(e.extconfig, c.oid)], 'x') <> '')
ORDER BY 1, 2"""
# The search_path of sessions that choose none: the role's in this database, the role's, the database's, the built-in.
SEARCH_PATH = """
SELECT coalesce((
  SELECT substr(setting, length('search_path=') + 1) FROM pg_db_role_setting s, unnest(setconfig) AS setting
  WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = current_user))
    AND starts_with(setting, 'search_path=')
  ORDER BY setrole <> 0 AND setdatabase <> 0 DESC, setrole <> 0 DESC, setdatabase <> 0 DESC LIMIT 1
), (SELECT boot_val FROM pg_settings WHERE name = 'search_path'))"""
REVISION = """
SELECT n.nspname::text, c.relname::text FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relname = 'alembic_version' AND c.relkind = 'r' AND a.attname = 'version_num'
  AND a.atttypid IN ('text'::regtype, 'varchar'::regtype) -- another type may bring code of its own
  AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
ORDER BY n.nspname <> 'public', 1 LIMIT 1"""
ORDINARY = re.compile(r"[a-z_][a-z0-9_$]*")


@dataclass(frozen=True)
class Counts:
    """Rows by "schema.table" and by "schema.view" (populated materialised ones), and the number of large objects."""

    tables: dict[str, int] = field(default_factory=dict)
    views: dict[str, int] = field(default_factory=dict)
    large_objects: int = 0

    @property
    def rows(self) -> int:
        """Return the sum over the tables."""
        return sum(self.tables.values())

    def differences(self, other: Counts) -> list[str]:
        """Return what `other` has unlike these expected counts, a sentence each, by name; views are not compared."""
        found = unlike(
            self.tables, other.tables,
            "{0} is missing ({1} rows)", "{0} is too much ({2} rows)", "{0} has {2} rows instead of {1}",
        )  # fmt: skip
        if self.large_objects != other.large_objects:
            found.append(f"there are {other.large_objects} large objects instead of {self.large_objects}")
        return found


def unlike(
    wanted: Mapping[str, object], there: Mapping[str, object], missing: str, surplus: str, other: str
) -> list[str]:
    """Return how `there` differs, a sentence each, by name.

    missing, surplus, other: the sentences, with {0} for the name, {1} for what is wanted and {2} for what is there.
    """
    found = []
    for name in sorted(wanted.keys() | there.keys()):
        expected, have = wanted.get(name), there.get(name)
        if expected != have:
            words = missing if have is None else surplus if expected is None else other
            found.append(words.format(name, expected, have))
    return found


@dataclass(frozen=True)
class Relation:
    """A table or materialised view; columns: (name, OID of the type), in alphabetical order."""

    schema: str
    table: str
    is_view: bool
    columns: tuple[tuple[str, int], ...]

    @property
    def name(self) -> str:
        """Return its name in counts."""
        return table_name(self.schema, self.table)

    @property
    def identifier(self) -> str:
        """Return its name for SQL."""
        return f"{quote(self.schema)}.{quote(self.table)}"


def table_name(schema: str, table: str) -> str:
    """Return "schema.table", each quoted where it is no ordinary lower-case word, so that no two are alike."""
    # Not quote_ident's: that one quotes key words, and which those are differs from major to major.
    return ".".join(each if ORDINARY.fullmatch(each) else quote(each) for each in (schema, table))


def relations(session: Session) -> list[Relation]:
    """Return what has rows to count or compare, in order of the names."""
    # Row level security shall refuse to count rather than count in part, as it does for pg_dump.
    execute(session, "SET row_security = off")
    return [
        Relation(schema, table, is_view, tuple(zip(names, kinds, strict=True)))
        for schema, table, is_view, names, kinds in rows(session, RELATIONS)
    ]


def is_filled(session: Session) -> bool:
    """Return True when the database holds a table."""
    return bool(value(session, f"SELECT EXISTS ({RELATIONS})"))


def revision(session: Session) -> str:
    """Return the schema's revision that the application's migrations (Alembic) wrote down; "" where there is none."""
    found = rows(session, REVISION)
    versions = "SELECT coalesce(string_agg(version_num, ',' ORDER BY version_num), '') FROM {}"
    return str(value(session, versions.format(".".join(map(quote, found[0]))))) if found else ""


def lock_tables(
    session: Session, milliseconds: int, tables: Sequence[Relation] | None = None, mode: str = "ACCESS SHARE"
) -> None:
    """Lock every table (None: those that the session sees) until the transaction ends, by default as pg_dump does.

    What is dumped under the transaction's snapshot can then be counted under it. milliseconds: the longest wait.
    """
    execute(session, f"SET LOCAL lock_timeout = {milliseconds}")
    found = relations(session) if tables is None else tables
    names = [f"ONLY {each.identifier}" for each in found if not each.is_view]
    for start in range(0, len(names), BATCH):
        execute(session, f"LOCK TABLE {', '.join(names[start : start + BATCH])} IN {mode} MODE")


def each_row(session: Session, queries: Sequence[str], search_path: str = "") -> list[tuple[Any, ...]]:
    """Return the row that each query gives ("count(*) FROM a"), with few locks at a time and none afterwards.

    search_path: the application's. Planning reads the expressions of indexes, whose functions may rely on it; with
    pg_catalog before it none of the database's own stands in for one of the server's.
    """
    path = "SELECT set_config('search_path', concat_ws(', ', 'pg_catalog', nullif(%s, '')), true)"
    answers = []
    for start in range(0, len(queries), BATCH):
        parts = [f"SELECT {number}, {each}" for number, each in enumerate(queries[start : start + BATCH])]
        # Planning locks all indexes of a table, and with thousands of tables the server's lock table would be full;
        # rolling back, to a savepoint inside a transaction, frees them at once.
        with session.transaction(force_rollback=True):
            rows(session, path, [search_path])
            answers += [row[1:] for row in sorted(rows(session, " UNION ALL ".join(parts)))]
    return answers


def count(session: Session) -> Counts:
    """Count all rows. Inside a transaction it holds no locks afterwards that were not held before."""
    counts = Counts(large_objects=int(value(session, "SELECT count(*) FROM pg_largeobject_metadata")))
    found = relations(session)
    # ONLY: children by inheritance are counted as tables of their own.
    queries = [f"count(*) FROM ONLY {each.identifier}" for each in found]
    answers = each_row(session, queries, value(session, SEARCH_PATH))
    for each, (many,) in zip(found, answers, strict=True):
        (counts.views if each.is_view else counts.tables)[each.name] = many
    return counts
