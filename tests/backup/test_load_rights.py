"""Who runs and owns what is loaded: nothing of a dump runs as a superuser, and everything has its owner again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from wepp_backup import load
from wepp_backup.dump_file import open_dump, unwrapped
from wepp_backup.events import Problem, Reporter
from wepp_backup.server import Server, Session, column, execute, value
from wepp_backup.staging import Lock, Staging, locale_of
from wepp_backup.verify import verify

from tests.backup.loading import FORMS, dumped, loaded, require_equal, run


@pytest.fixture
def application(server: Server, live: Session) -> Server:
    """The server as a role that owns the live database and is no superuser."""
    execute(live, "DROP ROLE IF EXISTS app; CREATE ROLE app LOGIN; ALTER DATABASE wepppy OWNER TO app")
    return Server(server.host, server.port, "app")


def test_the_applications_role_loads_all_rows_and_owns_only_what_it_owned(
    server: Server, live: Session, application: Server, lock: Lock, report: Reporter, tmp_path: Path
) -> None:
    run(live, """
        CREATE TABLE who (theirs bool, role text);
        CREATE FUNCTION who() RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT session_user::text';
        CREATE TABLE a (id int PRIMARY KEY, w text GENERATED ALWAYS AS (who()) STORED); CREATE INDEX ON a (w);
        CREATE TABLE "of another" (id int PRIMARY KEY, w text GENERATED ALWAYS AS (who()) STORED);
        ALTER TABLE a OWNER TO app; INSERT INTO a VALUES (1); INSERT INTO "of another" VALUES (1)""")  # fmt: skip
    path = dumped(server, tmp_path / "dump", "-Fc")
    made, counts = loaded(lock, path, report, application=application)
    assert counts == {"public.a": 1, 'public."of another"': 1, "public.who": 0}
    with made.connect() as inside:
        assert column(inside, "SELECT w FROM public.a") == ["app"]
        assert column(inside, 'SELECT w FROM public."of another"') == ["app"]
        owner = "SELECT relowner::regrole::text FROM pg_class WHERE relname = 'of another'"
        assert column(inside, owner) == ["wepppy"]
        assert (
            value(
                inside, "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
            )
            == "app"
        )


# Runs as whoever stores or checks a row, and refuses to where it can become the superuser. The argument of said_row
# makes its constraint depend on its own table, so that it comes after the rows.
PLANTED = """
CREATE FUNCTION said(word text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
  BEGIN PERFORM set_config('role', 'wepppy', true); EXCEPTION WHEN insufficient_privilege THEN RETURN word; END;
  RAISE EXCEPTION 'what was planted became the superuser, logged in as %', session_user;
END $$;
CREATE DOMAIN said_word AS text CHECK (said(VALUE) = VALUE);
CREATE TABLE planted (id int PRIMARY KEY, word text CHECK (said(word) = word), again text
  GENERATED ALWAYS AS (said(word)) STORED, domain said_word);
CREATE FUNCTION said_row(planted) RETURNS bool LANGUAGE sql AS $$ SELECT public.said($1.word) = $1.word $$;
ALTER TABLE planted ADD CONSTRAINT late CHECK (said_row(planted));
CREATE INDEX ON planted (said(word));
CREATE MATERIALIZED VIEW gathered AS SELECT said(word) FROM planted;
INSERT INTO planted (id, word, domain) SELECT n, md5(n::text), n FROM generate_series(1, 100) n;
REFRESH MATERIALIZED VIEW gathered;
"""
OTHERS = """
CREATE TABLE of_superuser (id int PRIMARY KEY, word text);
INSERT INTO of_superuser VALUES (1, 'one');
CREATE EXTENSION dblink;
CREATE TABLE referring AS SELECT * FROM of_superuser;
ALTER TABLE referring OWNER TO app;
GRANT REFERENCES ON of_superuser TO app;
GRANT SELECT ON of_superuser TO pg_monitor;
GRANT UPDATE ON of_superuser TO app WITH GRANT OPTION;
SET SESSION AUTHORIZATION app; GRANT UPDATE ON of_superuser TO pg_monitor; RESET SESSION AUTHORIZATION;
ALTER TABLE referring ADD FOREIGN KEY (id) REFERENCES of_superuser;
CREATE VIEW of_superuser_too AS SELECT * FROM of_superuser;
SELECT lo_from_bytea(77, 'mine'), lo_from_bytea(78, 'not mine');
ALTER LARGE OBJECT 77 OWNER TO app;
"""


@pytest.fixture
def planted(application: Server, live: Session) -> Iterator[Server]:
    """The same; things of both are in the live database."""
    with application.connect("wepppy") as session:
        run(session, PLANTED + "CREATE EXTENSION pg_trgm")
    run(live, OTHERS)
    yield application
    execute(live, "DROP OWNED BY app; ALTER DATABASE wepppy OWNER TO wepppy")


@pytest.mark.parametrize("form", [*FORMS, "plain, INSERTs"])
def test_what_was_planted_in_a_database_does_not_run_as_a_superuser(
    server: Server, planted: Server, lock: Lock, report: Reporter, tmp_path: Path, form: str
) -> None:
    options, jobs = FORMS.get(form, (["-Fp", "--inserts"], 1))
    path = dumped(server, tmp_path / "planted.dump", *options)
    made = Staging.create(lock, locale_of(lock.session, "wepppy"))
    with unwrapped(open_dump(path), report) as dump:
        load.load(made, dump, verify(dump, report), jobs, report, application=planted)
    require_equal(server, "wepppy", made.name)


RELATIONS = """
SELECT DISTINCT relowner::regrole::text FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind <> 'c' AND relname NOT LIKE 'of_superuser%'"""
EXTENSIONS = "SELECT extname::text, extowner::regrole::text FROM pg_extension WHERE oid > 16384 ORDER BY 1"


@pytest.mark.parametrize("form", ["-Fc", "-Fp"])
def test_what_the_application_may_make_becomes_its_own(
    server: Server, planted: Server, lock: Lock, report: Reporter, tmp_path: Path, form: str
) -> None:
    path = dumped(server, tmp_path / "ownerless.dump", form, "--no-owner", "--no-acl")
    made = Staging.create(lock, locale_of(lock.session, "wepppy"))
    with unwrapped(open_dump(path), report) as dump:
        load.load(made, dump, verify(dump, report), 2, report, application=planted)
    with made.connect() as session:
        assert session.execute(RELATIONS).fetchall() == [("app",)]
        assert session.execute(EXTENSIONS).fetchall() == [("dblink", "wepppy"), ("pg_trgm", "app")]


# Has a statement refused to whoever is no superuser, for it may be tried by one then.
BAIT = """
CREATE FUNCTION bait(word text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
  IF current_database() <> 'wepppy' AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
    CREATE ROLE taken;
  ELSIF current_database() <> 'wepppy' THEN
    RAISE insufficient_privilege;
  END IF;
  RETURN true;
END $$;
CREATE DOMAIN baited AS text CHECK (bait(VALUE));
"""
BAITED = {
    "a CHECK": "CREATE TABLE a (word text CHECK (bait(word)))",
    "a CHECK behind the rows": """
      CREATE TABLE a (word text); CREATE FUNCTION bait(a) RETURNS bool LANGUAGE sql AS 'SELECT public.bait($1.word)';
      ALTER TABLE a ADD CHECK (bait(a))""",
    "an aggregate's first state": """
      CREATE FUNCTION more(baited, text) RETURNS baited LANGUAGE sql AS 'SELECT $1';
      CREATE AGGREGATE every(text) (SFUNC = more, STYPE = baited, INITCOND = ''); CREATE TABLE a (word text)""",
}  # fmt: skip


@pytest.mark.parametrize("kind", BAITED)
@pytest.mark.parametrize("options", [["-Fc"], ["-Fp"], ["-Fp", "--inserts"]])
def test_a_function_that_refuses_to_run_is_not_run_by_a_superuser(
    server: Server,
    live: Session,
    application: Server,
    lock: Lock,
    report: Reporter,
    tmp_path: Path,
    kind: str,
    options: list[str],
) -> None:
    with application.connect("wepppy") as session:
        run(
            session,
            f"{BAIT}; {BAITED[kind]}; INSERT INTO a SELECT repeat('x', 99) FROM generate_series(1, 9999)",
        )
    with suppress(Problem):
        loaded(lock, dumped(server, tmp_path / "dump", *options), report, application=application)
    assert column(live, "SELECT 1 FROM pg_roles WHERE rolname = 'taken'") == []


SEVERAL_OWNERS = """
CREATE TABLE log (id serial, tag text);
CREATE TABLE theirs (id serial PRIMARY KEY, word text); INSERT INTO theirs (word) VALUES ('one'), ('two');
CREATE MATERIALIZED VIEW gathered AS SELECT count(*) FROM theirs; CREATE INDEX ON gathered (count);
ALTER TABLE theirs ENABLE ROW LEVEL SECURITY; ALTER TABLE theirs FORCE ROW LEVEL SECURITY;
CREATE SEQUENCE counter; SELECT setval('counter', 7); CREATE TYPE mood AS ENUM ('fine');
ALTER TABLE theirs OWNER TO other; ALTER MATERIALIZED VIEW gathered OWNER TO other;
ALTER SEQUENCE counter OWNER TO other; ALTER TYPE mood OWNER TO other; GRANT CREATE ON SCHEMA public TO other;
ALTER DEFAULT PRIVILEGES FOR ROLE other GRANT SELECT ON TABLES TO app;
GRANT SELECT (id), INSERT ON theirs TO app WITH GRANT OPTION;
SET SESSION AUTHORIZATION app; GRANT SELECT (id) ON theirs TO PUBLIC; RESET SESSION AUTHORIZATION;
CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS
  'BEGIN INSERT INTO public.log (tag) VALUES (tg_tag); END';
CREATE EVENT TRIGGER noting ON ddl_command_end EXECUTE FUNCTION note(); ALTER EVENT TRIGGER noting ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER noting IS 'ours'; CREATE TABLE noted (id int)
"""


@pytest.mark.parametrize("options", [["-Fc"], ["-Ft"], ["-Fp"], ["-Fp", "--inserts"], ["-Fp", "--clean"]])
def test_things_of_several_roles_are_loaded_and_no_event_trigger_fires_for_them(
    server: Server,
    live: Session,
    application: Server,
    lock: Lock,
    report: Reporter,
    tmp_path: Path,
    options: list[str],
) -> None:
    execute(live, "DROP ROLE IF EXISTS other; CREATE ROLE other")
    run(live, SEVERAL_OWNERS)
    path = dumped(server, tmp_path / "dump", *options)
    made, _ = loaded(lock, path, report, application=application)
    require_equal(server, "wepppy", made.name)


@pytest.mark.parametrize(
    "statement",
    [
        "GRANT pg_execute_server_program TO app;",
        'GRANT "pg_execute_server_program" TO "x ON y", app;',
        "GRANT SET ON PARAMETER session_preload_libraries TO app;",
        "ALTER TABLE a ALTER COLUMN w TYPE bool USING bait(w), OWNER TO app;",
        "CREATE FUNCTION reads(text) RETURNS text LANGUAGE internal AS 'pg_read_file';",
        "SELECT pg_catalog.set_config('search_path', bait('')::text, false);",
        "CREATE FUNCTION enter() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM public.bait(NULL); END';\n"
        'CREATE EVENT TRIGGER "x ON ddl_command_end" ON login EXECUTE FUNCTION public.enter();',
        "COMMENT ON TABLE a IS 'a\\''; SELECT bait(''); --';",
        "SET standard_conforming_strings = false;\nCOMMENT ON TYPE baited IS 'a\\''; SELECT public.bait(''); --';",
    ],
)
def test_a_statement_by_which_plain_sql_would_gain_power_is_not_run_by_a_superuser(
    server: Server,
    live: Session,
    application: Server,
    lock: Lock,
    report: Reporter,
    tmp_path: Path,
    statement: str,
) -> None:
    run(live, BAIT)
    path = dumped(server, tmp_path / "dump", "-Fp", "--no-owner")
    end = "--\n-- PostgreSQL database dump complete"
    table = "CREATE TABLE public.a (w text); INSERT INTO public.a VALUES ('w');\nSET search_path = public;\n"
    path.write_text(path.read_text().replace(end, f"{table}{statement}\n{end}"))
    with suppress(Problem):
        loaded(lock, path, report, application=application)
    assert column(live, "SELECT 1 FROM pg_auth_members WHERE member = 'app'::regrole") == []
    assert column(live, "SELECT 1 FROM pg_parameter_acl") == []
    for name in column(live, "SELECT datname::text FROM pg_database WHERE datname LIKE '%incoming%'"):
        with server.connect(name) as session:
            assert column(session, "SELECT 1 FROM pg_proc WHERE proname = 'reads'") == []
    assert column(live, "SELECT 1 FROM pg_roles WHERE rolname = 'taken'") == []
