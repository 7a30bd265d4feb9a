"""Dumps of every form are loaded into a staging database: it holds the same, whatever a database may hold."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fcntl import F_SETPIPE_SZ, fcntl
from pathlib import Path

import pytest
from wepp_backup import load, row_counts
from wepp_backup.dump_file import open_dump
from wepp_backup.events import REFUSED, Problem, Reporter
from wepp_backup.server import Server, Session, column, execute, value
from wepp_backup.staging import Lock, Staging, locale_of, remove_leftovers
from wepp_backup.verify import verify

from tests.backup.loading import FORMS, dumped, loaded, require_equal, run

ROOT = Path(__file__).parents[2]
ZOO = (ROOT / "tests/database/zoo.sql").read_text(encoding="utf-8")
NAME = "県\n\"quoted'" + "д" * 24
MORE = f"""
CREATE UNLOGGED TABLE zoo.unlogged AS SELECT g AS id FROM generate_series(1, 10) g;
CREATE TABLE zoo."{NAME.replace('"', '""')}" ("a
b" int PRIMARY KEY, "COPY x FROM stdin;" text);
INSERT INTO zoo."{NAME.replace('"', '""')}" VALUES (1, E'\\\\.\\n\\t'), (2, NULL), (3, '');
CREATE TABLE zoo.no_columns ();
INSERT INTO zoo.no_columns DEFAULT VALUES;
CREATE TABLE zoo.referring (id int REFERENCES zoo."{NAME.replace('"', '""')}" DEFERRABLE, r int4range,
  EXCLUDE USING gist (r WITH &&));
INSERT INTO zoo.referring VALUES (1, '[1,3)'), (2, '[3,4)');
CREATE TABLE zoo.always (id bigint GENERATED ALWAYS AS IDENTITY, x xml);
INSERT INTO zoo.always (x) VALUES ('<a/>'), ('two <b/> parts');
ALTER TABLE zoo.always REPLICA IDENTITY FULL;
ALTER TABLE zoo.measured CLUSTER ON measured_pkey;
CREATE INDEX expression ON zoo.measured ((size + 1)) WITH (fillfactor = 60);
ALTER INDEX zoo.expression ALTER COLUMN 1 SET STATISTICS 77;
COMMENT ON INDEX zoo.expression IS 'of an expression';
ALTER TABLE zoo.no_columns SET (autovacuum_enabled = false);
CREATE PUBLICATION p FOR TABLE zoo.always;
COMMENT ON LARGE OBJECT %s IS 'large';
"""
LoadIt = Callable[..., dict[str, int]]


def said(report: Reporter) -> str:
    assert isinstance(report.out, io.StringIO)
    return report.out.getvalue()


@pytest.fixture
def zoo(live: Session) -> Iterator[Session]:
    """One of everything in the live database."""
    execute(live, 'DROP ROLE IF EXISTS "odd owner"')
    run(live, ZOO)
    number = value(live, "SELECT min(oid) FROM pg_largeobject_metadata")
    run(live, MORE % number)
    yield live
    run(
        live,
        'DROP EVENT TRIGGER watching; DROP SCHEMA zoo CASCADE; DROP OWNED BY "odd owner"; DROP ROLE "odd owner"',
    )


@pytest.mark.parametrize("form", FORMS)
def test_everything_a_database_may_hold_is_the_same_in_the_staging_database(
    server: Server, zoo: Session, lock: Lock, report: Reporter, tmp_path: Path, form: str
) -> None:
    options, jobs = FORMS[form]
    made, _ = loaded(lock, dumped(server, tmp_path / "dump", *options), report, jobs)
    with made.connect() as inside:
        found = load.analyze_while(made, jobs, lambda: row_counts.count(inside))
        assert row_counts.count(zoo).differences(found) == []
        assert (
            value(inside, "SELECT count(*) FROM pg_stats WHERE schemaname = 'zoo' AND tablename = 'measured'")
            > 10
        )
    require_equal(server, "wepppy", made.name)


# What a dump holds that depends on the source's search_path, or on the order of its tables.
SEARCHING = {
    "a generated column over a function of names without schema": """
      CREATE FUNCTION factor() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 3';
      CREATE FUNCTION times(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * factor()';
      CREATE TABLE a (id int PRIMARY KEY, g int GENERATED ALWAYS AS (times(id)) STORED);
      INSERT INTO a VALUES (1), (2)""",
    "the same in PL/pgSQL": """
      CREATE TABLE factors AS SELECT 3 AS factor;
      CREATE FUNCTION times(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
        'BEGIN RETURN $1 * (SELECT factor FROM factors); END';
      CREATE TABLE a (id int PRIMARY KEY, g int GENERATED ALWAYS AS (times(id)) STORED);
      INSERT INTO a VALUES (1), (2)""",
    "a CHECK that reads another table": """
      CREATE TABLE z (id int PRIMARY KEY);
      CREATE FUNCTION known(int) RETURNS bool LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM public.z WHERE id = $1)';
      CREATE TABLE a (id int, CONSTRAINT is_known CHECK (known(id)));
      INSERT INTO z SELECT generate_series(1, 9); INSERT INTO a SELECT generate_series(1, 9)""",
    "CHECKs that read each other's tables, without schema": """
      CREATE TABLE z (id int); CREATE TABLE a (id int);
      CREATE FUNCTION in_z(int) RETURNS bool LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM z WHERE id = $1)';
      CREATE FUNCTION in_a(int) RETURNS bool LANGUAGE plpgsql AS
        'BEGIN IF NOT EXISTS (SELECT FROM a WHERE id = $1) THEN RAISE ''not in a''; END IF; RETURN true; END';
      INSERT INTO z VALUES (1); INSERT INTO a VALUES (1);
      ALTER TABLE a ADD CONSTRAINT "is in ""z"" !" CHECK (in_z(id)); ALTER TABLE z ADD CHECK (in_a(id));
      CREATE INDEX ON a (id)""",
    "a domain that reads another table": """
      CREATE TABLE z (id int);
      CREATE FUNCTION known(int) RETURNS bool LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM z WHERE id = $1)';
      CREATE DOMAIN known_one AS int CHECK (known(VALUE));
      CREATE TABLE a (id known_one);
      INSERT INTO z VALUES (1); INSERT INTO a VALUES (1)""",
}  # fmt: skip


@pytest.mark.parametrize("options", [["-Fc"], ["-Ft"]])
@pytest.mark.parametrize("kind", SEARCHING)
def test_what_depends_on_the_sources_search_path_or_on_other_tables_is_loaded(
    server: Server, live: Session, lock: Lock, report: Reporter, tmp_path: Path, kind: str, options: list[str]
) -> None:
    run(live, SEARCHING[kind])
    made, counts = loaded(lock, dumped(server, tmp_path / "dump", *options), report)
    assert counts == row_counts.count(live).tables
    require_equal(server, "wepppy", made.name)
    # No dump holds what generated columns are.
    whole = "SELECT a::text FROM public.a ORDER BY 1"
    with made.connect() as inside:
        assert column(inside, whole) == column(live, whole)


def test_the_search_path_is_the_one_that_the_source_had(
    server: Server, live: Session, lock: Lock, report: Reporter, tmp_path: Path
) -> None:
    run(live, """
        CREATE SCHEMA other; CREATE FUNCTION other.factor() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 3';
        SET search_path = public, other;
        CREATE FUNCTION times(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 * factor(); END';
        CREATE TABLE a (id int, g int GENERATED ALWAYS AS (times(id)) STORED); INSERT INTO a VALUES (1);
        ALTER DATABASE wepppy SET search_path = other, public""")  # fmt: skip
    made, _ = loaded(lock, dumped(server, tmp_path / "dump", "-Fc"), report)
    require_equal(server, "wepppy", made.name)


def test_a_check_that_rows_of_the_source_do_not_keep_to_is_set_for_new_rows_and_told(
    server: Server, live: Session, lock: Lock, report: Reporter, tmp_path: Path
) -> None:
    run(live, """
        CREATE FUNCTION here() RETURNS bool LANGUAGE sql AS 'SELECT current_database() = ''wepppy''';
        CREATE TABLE a (id int, CONSTRAINT local CHECK (here())); INSERT INTO a VALUES (1)""")  # fmt: skip
    made, counts = loaded(lock, dumped(server, tmp_path / "dump", "-Fc"), report)
    assert counts == {"public.a": 1}
    assert "do not keep to its local" in said(report)
    with made.connect() as inside:
        assert value(inside, "SELECT convalidated FROM pg_constraint WHERE conname = 'local'") is False


def test_what_stays_impossible_is_refused_with_its_name(
    server: Server, live: Session, lock: Lock, report: Reporter, tmp_path: Path
) -> None:
    run(live, """
        CREATE FUNCTION fails(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
          'BEGIN IF current_database() <> ''wepppy'' THEN RAISE ''not here''; END IF; RETURN 1; END';
        CREATE TABLE "the table" (id int, g int GENERATED ALWAYS AS (fails(id)) STORED);
        INSERT INTO "the table" VALUES (1)""")  # fmt: skip
    path = dumped(server, tmp_path / "dump", "-Fc")
    with pytest.raises(Problem, match=r"the rows of public the table.*not here") as caught:
        loaded(lock, path, report)
    assert caught.value.exit_code == REFUSED


@pytest.mark.parametrize("form", ["-Fc", "-Fp"])
def test_text_without_an_encoding_is_refused_where_it_is_no_text_of_the_databases(
    server: Server, live: Session, lock: Lock, report: Reporter, tmp_path: Path, form: str
) -> None:
    execute(live, "CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    with server.connect("ascii", client_encoding="SQL_ASCII") as session:
        session.execute("CREATE TABLE public.a (w text)")
        session.execute(b"INSERT INTO public.a VALUES ('caf\xc3\xa9')")
        made, _ = loaded(lock, dumped(server, tmp_path / "good", form, database="ascii"), report)
        with made.connect() as inside:
            assert column(inside, "SELECT w FROM public.a") == ["café"]
        session.execute(b"INSERT INTO public.a VALUES ('caf\xe9 au lait')")
    path = dumped(server, tmp_path / "bad", form, database="ascii")
    with pytest.raises(Problem, match=r"holds text in another encoding.*SQL_ASCII") as caught:
        loaded(lock, path, report)
    assert caught.value.exit_code == REFUSED


@pytest.mark.parametrize("encoding", ["LATIN1", "UTF8"])
def test_a_dump_in_another_encoding_than_the_databases_is_translated(
    server: Server, live: Session, lock: Lock, report: Reporter, tmp_path: Path, encoding: str
) -> None:
    run(
        live,
        'CREATE TABLE "tücher" (id int PRIMARY KEY, "größe" text); INSERT INTO "tücher" VALUES (1, \'übel\')',
    )
    made, _ = loaded(lock, dumped(server, tmp_path / "dump", "-Fc", f"--encoding={encoding}"), report)
    require_equal(server, "wepppy", made.name)


@pytest.mark.parametrize("options", [["-Fc", "-npublic"], ["-Fc", "--clean", "-npublic"], ["-Fp", "--clean"]])
def test_schemas_that_are_there_and_drops_of_what_is_not_do_not_matter(
    server: Server, live: Session, lock: Lock, report: Reporter, tmp_path: Path, options: list[str]
) -> None:
    run(live, "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)")
    made, _ = loaded(lock, dumped(server, tmp_path / "dump", *options), report)
    require_equal(server, "wepppy", made.name)


def test_rows_come_frozen(
    server: Server, live: Session, lock: Lock, report: Reporter, tmp_path: Path
) -> None:
    run(live, "CREATE TABLE a WITH (autovacuum_enabled = false) AS SELECT generate_series(1, 9000) AS id")
    made, _ = loaded(lock, dumped(server, tmp_path / "dump", "-Fc"), report)
    with made.connect() as inside:
        execute(inside, "ANALYZE public.a")
        assert value(inside, "SELECT relallvisible = relpages FROM pg_class WHERE relname = 'a'")


@pytest.fixture
def no_larger_pipe() -> Iterator[None]:
    """Pipes of this user that are together as large as all of one user may be (fs.pipe-user-pages-soft)."""

    def fill() -> None:
        for _ in range(500):
            for end in (pipe := os.pipe()):
                ends.callback(os.close, end)
            fcntl(pipe[1], F_SETPIPE_SZ, 1 << 20)

    with ExitStack() as ends:
        with pytest.raises(PermissionError):
            fill()
        yield


def test_rows_are_loaded_where_no_pipe_may_become_larger(
    server: Server, live: Session, lock: Lock, report: Reporter, tmp_path: Path, no_larger_pipe: None
) -> None:
    run(live, "CREATE TABLE a AS SELECT generate_series(1, 9000) AS id")
    made, _ = loaded(lock, dumped(server, tmp_path / "dump", "-Fc"), report)
    require_equal(server, "wepppy", made.name)


def test_rows_that_the_dump_lacks_come_before_their_tables_indexes(
    server: Server, live: Session, lock: Lock, report: Reporter, tmp_path: Path
) -> None:
    run(live, """
        CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY REFERENCES a, w text);
        CREATE INDEX ON b (w); INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (1, 'x')""")  # fmt: skip
    path = dumped(server, tmp_path / "dump", "-Fc", "--exclude-table-data=public.b")
    made = Staging.create(lock, locale_of(lock.session, "wepppy"))

    def bring() -> None:
        with made.connect() as inside:
            assert value(inside, "SELECT count(*) FROM pg_index WHERE indrelid = 'public.b'::regclass") == 0
            execute(inside, "INSERT INTO public.b VALUES (1, 'x')")

    dump = open_dump(path)
    load.load(made, dump, verify(dump, report), 2, report, rows=bring)
    require_equal(server, "wepppy", made.name)


def test_a_load_that_is_called_off_ends_at_once_and_leaves_no_session(
    server: Server, live: Session, lock: Lock, report: Reporter, tmp_path: Path
) -> None:
    run(live, """
        CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
          'BEGIN IF current_database() <> ''wepppy'' THEN PERFORM pg_sleep(600); END IF; RETURN 1; END';
        CREATE TABLE a (id int); CREATE INDEX ON a (slow(id)); INSERT INTO a VALUES (1)""")  # fmt: skip
    path = dumped(server, tmp_path / "dump", "-Fc")
    building = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND datname ~ 'incoming'"

    class Watching(Reporter):
        def progress(self, phase: str, done: int, total: int) -> None:
            if phase == "loading" and column(live, building):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loaded(lock, path, Watching(report.out, as_json=True))
    remove_leftovers(lock)
    assert column(live, building) == []
