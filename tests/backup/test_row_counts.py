"""Rows per table as one snapshot shows them, for databases with whatever they may hold."""

from __future__ import annotations

import pytest
from psycopg import errors
from wepp_backup.row_counts import Counts, count, is_filled, lock_tables, table_name
from wepp_backup.server import Server, Session, execute, value

# Everything that a table can be, and what is none.
ZOO = r"""
SET search_path = public;
CREATE TABLE plain (id int PRIMARY KEY, r text); INSERT INTO plain SELECT g, 'x' || g FROM generate_series(1, 10) g;
CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE parent (id int); CREATE TABLE child () INHERITS (parent);
INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2), (3);
CREATE TABLE parted (id int) PARTITION BY RANGE (id); CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE high PARTITION OF parted FOR VALUES FROM (10) TO (20); INSERT INTO parted VALUES (1), (11), (12);
CREATE UNLOGGED TABLE unlogged (id int); INSERT INTO unlogged VALUES (1);
CREATE TEMPORARY TABLE passing (id int);
CREATE TABLE secured (id int); INSERT INTO secured VALUES (1);
ALTER TABLE secured ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE MATERIALIZED VIEW seen AS SELECT * FROM plain;
CREATE MATERIALIZED VIEW unseen AS SELECT * FROM plain WITH NO DATA;
CREATE VIEW view AS SELECT * FROM plain;
CREATE SCHEMA "Odd.""schema"; CREATE TABLE "Odd.""schema"."a
b" ("c
d" int GENERATED ALWAYS AS IDENTITY);
INSERT INTO "Odd.""schema"."a
b" DEFAULT VALUES;
SELECT lo_from_bytea(0, 'x'); SELECT lo_from_bytea(0, '');
RESET search_path;
"""
COUNTED = {
    '"Odd.""schema"."a\nb"': 1, "public.child": 2, "public.high": 2, "public.low": 1, "public.nothing": 1,
    "public.parent": 1, "public.plain": 10, "public.secured": 1, "public.unlogged": 1,
}  # fmt: skip


def test_every_table_is_counted_once(live: Session) -> None:
    execute(live, ZOO)
    assert count(live) == Counts(COUNTED, {"public.seen": 10}, 2)
    assert value(live, "SHOW search_path") == "pg_catalog"


def test_counting_in_a_transaction_keeps_no_locks(live: Session) -> None:
    execute(live, ZOO)
    execute(live, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    lock_tables(live, 1000)
    held = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'"
    before = value(live, held)
    assert count(live).rows == sum(COUNTED.values())
    # The catalogues that were asked are among them from then on.
    assert value(live, held + " AND relation >= 16384") <= before
    execute(live, "ROLLBACK")


def test_a_table_that_somebody_holds_is_waited_for_no_longer_than_given(
    server: Server, live: Session
) -> None:
    execute(live, "CREATE TABLE public.held ()")
    execute(live, "BEGIN; LOCK TABLE public.held")
    with server.connect("wepppy") as other:
        execute(other, "BEGIN")
        with pytest.raises(errors.LockNotAvailable):
            lock_tables(other, 50)


@pytest.mark.parametrize("where", ["DATABASE wepppy", "ROLE wepppy IN DATABASE wepppy", "ROLE wepppy"])
def test_a_search_path_that_was_set_for_the_application_is_that_of_the_count(
    server: Server, live: Session, where: str
) -> None:
    execute(
        live,
        "CREATE SCHEMA helpers; CREATE TABLE public.one AS SELECT 'a'::text AS word;"
        "CREATE FUNCTION helpers.inner(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';"
        "CREATE FUNCTION public.outer(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT pg_catalog.lower($1)';"
        "CREATE INDEX ON public.one (public.outer(word));"
        # As a server up to 16 lets one be made: it looks for `inner` where the session does.
        "SET check_function_bodies = off;"
        "CREATE OR REPLACE FUNCTION public.outer(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT inner($1)';"
        f'ALTER {where} SET search_path = helpers, "Odd, path"',
    )
    try:
        with server.connect("wepppy") as session:
            assert count(session).tables == {"public.one": 1}
    finally:
        execute(live, f"ALTER {where} RESET search_path")


def test_a_database_is_filled_from_its_first_table_on(live: Session) -> None:
    execute(live, "CREATE VIEW public.view AS SELECT 1")
    assert not is_filled(live)
    execute(live, "CREATE TABLE public.one ()")
    assert is_filled(live)


def test_differences_are_told() -> None:
    wanted = Counts({"public.a": 1, "public.b": 2, "public.c": 3}, {"public.v": 9}, 1)
    other = Counts({"public.a": 1, "public.b": 1, "public.d": 0}, {"public.v": 10}, 0)
    assert wanted.differences(other) == [
        "public.b has 1 rows instead of 2", "public.c is missing (3 rows)", "public.d is too much (0 rows)",
        "there are 0 large objects instead of 1",
    ]  # fmt: skip
    assert wanted.differences(wanted) == []


def test_no_two_tables_have_the_same_name() -> None:
    assert table_name("a.b", "c") != table_name("a", "b.c")
    assert table_name("public", "user") == "public.user"
