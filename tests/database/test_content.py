"""Whatever a database may hold survives dump, restore and dump: the two dumps are the same text."""

from __future__ import annotations

import difflib
from pathlib import Path

from tests.database.stack import LightStack

ZOO = (Path(__file__).parent / "zoo.sql").read_text(encoding="utf-8")
TABLES = """
SELECT format('CREATE TABLE many.t%s (id int PRIMARY KEY, word text); INSERT INTO many.t%s VALUES (%s, %L)', n, n, n, n)
FROM generate_series(1, 5000) n \\gexec
"""


def text_of(stack: LightStack) -> list[str]:
    """The database as SQL, without the words that pg_dump makes up anew each time (CVE-2025-8714)."""
    lines = stack.in_sidecar("pg_dump", "-U", "postgres", "-Fp", "--serializable-deferrable").splitlines()
    return [line for line in lines if not line.startswith(("\\restrict", "\\unrestrict"))]


def require_equal(stack: LightStack) -> None:
    before = text_of(stack)
    stack.dump("zoo.dump")
    stack.must("db-restore", "--dump=zoo.dump", "--yes", "--no-keep", timeout=900)
    difference = list(difflib.unified_diff(before, text_of(stack), lineterm="", n=0))
    assert difference == [], "\n".join(difference[:40])
    assert not any("_before_" in name for name in stack.databases())


def test_everything_a_database_may_hold_is_the_same_after_a_restore(stack: LightStack) -> None:
    stack.psql(ZOO)
    try:
        require_equal(stack)
    finally:
        stack.psql(
            "DROP EVENT TRIGGER watching; DROP SCHEMA zoo CASCADE;"
            "SELECT count(lo_unlink(oid)) FROM pg_largeobject_metadata;"
            'DROP OWNED BY "odd owner"; DROP ROLE "odd owner"'
        )


def test_restored_rows_are_frozen_so_that_no_reader_has_to_mark_them(stack: LightStack) -> None:
    # In the catalogue's own words: pages of which everybody sees every row. Else only a vacuum marks such.
    marked = "SELECT relallvisible FROM pg_class WHERE oid = 'loaded'::regclass"
    stack.psql(
        "CREATE TABLE loaded WITH (autovacuum_enabled = false) AS SELECT g AS id FROM generate_series(1, 9000) g;"
        "ANALYZE loaded"
    )
    try:
        assert stack.psql(marked).strip() == "0"
        stack.dump("frozen.dump")
        stack.must("db-restore", "--dump=frozen.dump", "--jobs=2", "--yes", "--no-keep")
        assert int(stack.psql(marked)) > 0
    finally:
        stack.psql("DROP TABLE loaded")


def test_five_thousand_tables_are_the_same_after_a_restore(stack: LightStack) -> None:
    stack.psql("CREATE SCHEMA many")
    stack.psql(TABLES)
    require_equal(stack)
    for first in range(1, 5001, 500):
        names = ", ".join(f"many.t{n}" for n in range(first, first + 500))
        stack.psql(f"DROP TABLE {names}")
    stack.psql("DROP SCHEMA many")
