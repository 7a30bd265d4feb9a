"""Whether a database is the application's at all: what it shares with the live one, whatever their revisions.

The application's own migrations bring an older schema up to date; a database that they never made they cannot.
"""

from __future__ import annotations

from collections.abc import Collection

from wepp_backup import row_counts
from wepp_backup.server import Session, value

VERSION_TABLE = "alembic_version"
RUN_TABLE = "public.run"
HAS_RUNS = """
SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('public.run') AND attname = 'runid'
  AND has_table_privilege(attrelid, 'SELECT'))"""


def has_runs(session: Session) -> bool:
    """Return whether the database holds the application's runs."""
    return bool(value(session, HAS_RUNS))


def needed(live: Session) -> list[str]:
    """Return which of the tables that every state of the application's database has the live one has."""
    if not row_counts.revision(live):
        return []
    return [VERSION_TABLE, *([RUN_TABLE] if has_runs(live) else [])]


def lacking(wanted: Collection[str], tables: Collection[str]) -> list[str]:
    """Return which of the needed tables are not among these, named by row_counts.table_name."""
    names = {*tables, *(each.rpartition(".")[2] for each in tables if each.endswith(f".{VERSION_TABLE}"))}
    return [each for each in wanted if each not in names]


def lacking_in(wanted: Collection[str], session: Session) -> list[str]:
    """Return which of the needed tables the database lacks, or may not be read by this session's role."""
    held = [VERSION_TABLE] if row_counts.revision(session) else []
    held += [RUN_TABLE] if has_runs(session) else []
    return [each for each in wanted if each not in held]
