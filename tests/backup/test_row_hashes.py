"""Hashes of all rows: equal exactly when the contents are, whatever order the rows lie in."""

from __future__ import annotations

import pytest
from psycopg import sql
from wepp_backup.row_hashes import hashes
from wepp_backup.server import Server, Session, execute

ZOO = """
CREATE TYPE mood AS ENUM ('calm', 'wild'); CREATE DOMAIN share AS numeric CHECK (VALUE < 2);
CREATE TABLE zoo (
  id bigint PRIMARY KEY, small int2, number int4, flag bool, word text, short varchar(9), padded char(5), exact numeric,
  near float8, real float4, at timestamptz, local timestamp, day date, span interval, one uuid, raw bytea, doc json,
  docb jsonb, tags text[], kind mood, part share, place point, net inet, spread int4range);
INSERT INTO zoo SELECT g, g % 7, -g, g % 2 = 0, 'word ' || g, 'v' || g % 9, 'p' || g % 9, g / 3.0, sqrt(g), sqrt(g),
  '2026-03-29 01:30+00'::timestamptz + g * interval '1 hour', '2026-01-01'::timestamp + g * interval '1 us',
  '2026-01-01'::date + g, g * interval '1 day 3 us', md5(g::text)::uuid, decode(md5(g::text), 'hex'), '{"a":  1}',
  '{"a": 1}', ARRAY['a b', NULL, ''], (ARRAY['calm', 'wild'])[1 + g % 2]::mood, 0.5, point(g, -g), '10.0.0.1',
  int4range(g, g + 9) FROM generate_series(1, 500) g;
INSERT INTO zoo (id) VALUES (0);
"""


@pytest.fixture(autouse=True)
def path(live: Session) -> None:
    execute(live, "SET search_path = public")


@pytest.mark.parametrize(
    "change",
    [
        "small = small + 1", "number = number + 1", "id = id + 1000000", "flag = NOT flag", "word = word || ' '",
        "word = NULL", "short = 'other'", "padded = 'q'", "exact = exact + 0.0000001",
        "exact = exact::numeric(99, 30)", "near = near + 1e-9", "real = -real",
        "at = at + interval '1 us'", "local = local - interval '1 us'", "day = day + 1",
        "span = span + interval '1 us'", "one = gen_random_uuid()", "raw = raw || '\\x00'", "doc = '{\"a\": 1}'",
        "docb = '{\"a\": 2}'", "tags = ARRAY['a b', '', NULL]", "kind = 'calm'", "part = 0.50", "place = point(0, 0)",
        "net = '10.0.0.2'", "spread = 'empty'",
    ],
)  # fmt: skip
def test_any_change_of_a_single_value_is_seen(live: Session, change: str) -> None:
    execute(live, ZOO)
    before = hashes(live)
    live.execute(sql.SQL(f"UPDATE zoo SET {change} WHERE id = 17"))
    assert before.differences(hashes(live)) == ["public.zoo has other contents in its 501 rows"]


def test_null_the_empty_text_and_swapped_columns_differ(live: Session) -> None:
    found = set()
    values = ("NULL, ''", "'', NULL", "NULL, NULL", "'', ''", "'a', 'b'", "'b', 'a'", "'ab', ''", "'', 'ab'")
    for pair in values:
        execute(
            live, f"DROP TABLE IF EXISTS t; CREATE TABLE t (x text, y text); INSERT INTO t VALUES ({pair})"
        )
        found.add(hashes(live).sums["public.t"])
    assert len(found) == len(values)


def test_neither_the_order_of_rows_nor_of_columns_counts_nor_do_the_sessions_settings(
    server: Server, live: Session
) -> None:
    execute(live, ZOO)
    before = hashes(live)
    execute(live, "CREATE TABLE copy AS SELECT * FROM zoo ORDER BY word DESC; DROP TABLE zoo")
    execute(live, "ALTER TABLE copy RENAME TO zoo; ALTER TABLE zoo RENAME number TO n")
    execute(live, "ALTER TABLE zoo ADD number int4; UPDATE zoo SET number = n; ALTER TABLE zoo DROP n")
    with server.connect("wepppy") as other:
        assert before.differences(hashes(live, other)) == []


def test_rows_sequences_and_large_objects_that_differ_are_named(live: Session) -> None:
    execute(live, "CREATE TABLE a (id int); CREATE SEQUENCE s; CREATE SEQUENCE gone; CREATE TABLE b (id int)")
    execute(
        live, "SELECT lo_from_bytea(4711, repeat('x', 3000000)::bytea), lo_from_bytea(4712, ''), nextval('s')"
    )
    before = hashes(live)
    assert (before.large_objects, before.sequences["public.s"]) == (2, "1, true")
    execute(live, "INSERT INTO a VALUES (1); DROP SEQUENCE gone; SELECT nextval('s'); DROP TABLE b")
    execute(live, "CREATE TABLE c AS SELECT 1 AS x; SELECT lo_put(4711, 2999999, 'y')")
    assert before.differences(hashes(live)) == [
        "public.a has 1 rows instead of 0",
        "public.b is missing (0 rows)",
        "public.c is too much (1 rows)",
        "the sequence public.gone is missing",
        "the sequence public.s stands at 2, true instead of 1, true",
        "the 2 large objects have other contents",
    ]


def test_many_tables_with_many_indexes_and_columns_need_few_locks(server: Server, live: Session) -> None:
    columns = ", ".join(f"c{number} int" for number in range(1590))
    execute(live, f"CREATE TABLE wide ({columns}); INSERT INTO wide (c0, c1589) VALUES (1, 2)")
    execute(live, f"CREATE TABLE texts ({columns.replace(' int', ' text')})")
    for number in range(120):
        execute(live, f"CREATE TABLE t{number} (a int PRIMARY KEY, b int UNIQUE, c int UNIQUE)")
    live.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert len(hashes(live).tables) == 122
    held = live.execute("SELECT count(*) FROM pg_locks WHERE relation >= 16384 AND pid = pg_backend_pid()")
    assert held.fetchall() == [(0,)]
    live.execute("ROLLBACK")


def test_index_expressions_find_their_functions_and_none_of_the_databases_own_stands_in_for_the_servers(
    live: Session,
) -> None:
    execute(
        live,
        """CREATE FUNCTION inner_one(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
        CREATE FUNCTION outer_one(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT public.inner_one($1)';
        CREATE TABLE t (id int); CREATE INDEX ON t (outer_one(id)) WHERE outer_one(1) = 2; INSERT INTO t VALUES (7);
        CREATE OR REPLACE FUNCTION outer_one(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT inner_one($1)';
        CREATE FUNCTION hashint4extended(int, int) RETURNS int8 LANGUAGE plpgsql AS $$BEGIN RAISE 'planted'; END$$;
        ALTER DATABASE wepppy SET search_path = public, pg_catalog; SET search_path = pg_catalog""",
    )
    assert hashes(live).tables["public.t"] == 1
