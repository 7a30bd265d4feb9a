"""Migrations between two servers: equal to the last bit, refused with a reason, and nothing left behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from wepp_backup.server import Server, column, execute, value

from tests.backup.conftest import start, stop
from tests.backup.migrating import Program, names, psql, roles

HOLDINGS = (Path(__file__).parents[1] / "database" / "migrate" / "holdings.sql").read_text()
LARGE_OBJECTS = (Path(__file__).parents[1] / "database" / "migrate" / "large_objects.sql").read_text()
CONTENT = r"""
SELECT format('SELECT %L, count(*), coalesce(sum(hashtextextended(t::text COLLATE "C", 0)), 0) FROM ONLY %I.%I t',
              n.nspname || '.' || c.relname, n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1 \gexec
SELECT format('SELECT %L, last_value, is_called FROM %I.%I', c.relname, n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S' ORDER BY 1 \gexec
SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY 1;
"""


@pytest.fixture(scope="session")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The source server; of an older major where OLD_SERVER names the folder of its programs."""
    folder = tmp_path_factory.mktemp("old")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "PATH", os.pathsep.join((*filter(None, [os.environ.get("OLD_SERVER")]), os.environ["PATH"]))
        )
        yield start(folder)
    stop(folder)


@pytest.fixture
def moving(old: Server) -> Iterator[Server]:
    """The source server with a database `moving` of everything that is hard to move."""
    psql(old, "CREATE DATABASE moving TEMPLATE template0", "postgres")
    psql(old, HOLDINGS, "moving")
    yield old
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'moving'"
    psql(old, f"{end}; DROP DATABASE moving", "postgres")
    for role in ('"Odd ""Owner"""', "archivist", "reader"):
        psql(old, f"DROP ROLE IF EXISTS {role}", "postgres")


@pytest.fixture(autouse=True)
def clean(server: Server, before: None) -> Iterator[None]:
    """The live database has one table; afterwards no role of a migration stays."""
    yield
    with server.connect("postgres") as session:
        for name in column(session, "SELECT datname::text FROM pg_database WHERE datname LIKE 'wepppy%'"):
            execute(session, f'DROP DATABASE "{name}" WITH (FORCE)')
        for name in column(
            session, "SELECT rolname::text FROM pg_roles WHERE rolname !~ '^pg_' AND rolname <> 'wepppy'"
        ):
            execute(session, f'DROP ROLE "{name.replace(chr(34), chr(34) * 2)}"')


@pytest.fixture
def program(moving: Server, server: Server, tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Start a migration of `moving`."""
    started = []

    def begin(*flags: str) -> Program:
        started.append(Program(moving, server, tmp_path, *flags))
        return started[-1]

    yield begin
    for each in started:
        each.process.kill()
        each.process.wait()


def test_everything_arrives_equal_and_the_source_is_as_before(
    server: Server, moving: Server, program: Callable[..., Program]
) -> None:
    psql(moving, LARGE_OBJECTS, "moving")
    psql(moving, "ALTER DATABASE moving SET work_mem = '9MB'", "postgres")
    before = psql(moving, CONTENT, "moving")
    answer = program().run()
    assert psql(server, CONTENT) == before == psql(moving, CONTENT, "moving")
    assert answer["roles_made"] == ['Odd "Owner"', "archivist", "reader"]
    assert (answer["tables"]["public.run"]["rows"], answer["large_objects"] > 0) == (5000, True)
    assert psql(server, "SHOW work_mem") == "9MB\n"
    assert (
        psql(server, "SELECT count(*) FROM pg_shdescription WHERE classoid = 'pg_authid'::regclass") == "0\n"
    )
    assert names(server) == ["postgres", "wepppy", answer["kept"]]
    assert psql(server, "SELECT count(*) FROM before", answer["kept"]) == "0\n"
    psql(moving, "INSERT INTO ddl_log (tag) VALUES ('later')", "moving")


def test_a_large_table_of_every_kind_comes_frozen_and_equal(
    server: Server, moving: Server, program: Callable[..., Program]
) -> None:
    psql(
        moving,
        """CREATE TYPE pair AS (a int, b text);
        CREATE TABLE "Lä""rge" (id int PRIMARY KEY, "two words" text, kind mood, share share, pairs pair[],
          made timestamptz DEFAULT now(), gone int, twice int GENERATED ALWAYS AS (id * 2) STORED);
        ALTER TABLE "Lä""rge" DROP gone; INSERT INTO "Lä""rge" SELECT g, E'tab\\t\\\\ ' || g, 'calm', 0.25,
        ARRAY[(g, NULL)::pair] FROM generate_series(1, 20000) g;
        CREATE TABLE binary_one AS SELECT g, md5(g::text) m, g::float8 / 7 f, ARRAY[g, NULL] a
        FROM generate_series(1, 20000) g""",
        "moving",
    )
    before = psql(moving, CONTENT, "moving")
    program().run()
    assert psql(server, CONTENT) == before
    for table in ('"Lä""rge"', "binary_one"):
        psql(server, "CREATE EXTENSION IF NOT EXISTS pg_visibility")
        told = psql(server, f"SELECT avg(all_frozen::int) > 0.9 FROM pg_visibility('{table}')")
        assert told == "t\n", table


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("INSERT INTO ddl_log (tag) VALUES ('meanwhile')", "waits to write"),
        ("UPDATE run SET slope = 0 WHERE id = 1", "waits to write"),
    ],
)
@pytest.mark.parametrize("moment", ["dumping", "comparing", "prepared"])
def test_whoever_writes_meanwhile_waits_and_the_migration_is_refused(
    server: Server, moving: Server, program: Callable[..., Program], statement: str, words: str, moment: str
) -> None:
    begun = program()
    with moving.connect("moving") as writer:
        execute(writer, "SET search_path = public")
        begun.hear()
        begun.say("go")
        if moment == "prepared":
            begun.hear()
        else:
            begun.hear("progress", lambda event: event["phase"] == moment)
        writing = threading.Thread(target=lambda: writer.execute(statement))
        writing.start()
        with moving.connect("postgres") as looking:
            while not value(looking, "SELECT count(*) FROM pg_locks WHERE NOT granted"):
                pass
        if moment == "prepared":
            begun.say("switch")
        problem = begun.problem()
        writing.join()
    assert (problem["exit"], words in problem["what"]) == (4, True), problem
    assert (names(server), roles(server)) == (["postgres", "wepppy"], ["wepppy"])
    assert psql(server, "SELECT count(*) FROM before") == "0\n"


def test_what_takes_no_lock_is_noticed_before_the_switchover(
    server: Server, moving: Server, program: Callable[..., Program]
) -> None:
    begun = program()
    begun.hear()
    begun.say("go")
    begun.hear()
    psql(moving, """SELECT nextval('"Counter"')""", "moving")
    begun.say("switch")
    assert 'the sequence public."Counter" was changed' in begun.problem()["what"]
    assert names(server) == ["postgres", "wepppy"]


def test_with_force_what_is_written_meanwhile_is_left_behind(
    server: Server, moving: Server, program: Callable[..., Program]
) -> None:
    begun = program("--force")
    begun.hear()
    begun.say("go")
    begun.hear("progress", lambda event: event["phase"] == "dumping")
    psql(moving, "INSERT INTO ddl_log (tag) VALUES ('left behind')", "moving")
    begun.hear()
    begun.say("switch")
    begun.hear()
    begun.say("keep")
    begun.hear("result")
    assert psql(server, "SELECT count(*) FROM ddl_log WHERE tag = 'left behind'") == "0\n"


@pytest.mark.parametrize("moment", ["plan", "dumping", "loading", "comparing", "prepared"])
@pytest.mark.parametrize("how", ["input ends", "killed"])
def test_whatever_ends_it_the_source_can_be_written_and_the_next_one_finds_all_as_it_was(
    server: Server, moving: Server, program: Callable[..., Program], moment: str, how: str
) -> None:
    begun = program()
    begun.hear()
    if moment != "plan":
        begun.say("go")
        if moment == "prepared":
            begun.hear()
        else:
            begun.hear("progress", lambda event: event["phase"] == moment)
    if how == "killed":
        begun.process.kill()
    else:
        assert begun.process.stdin
        begun.process.stdin.close()
    assert begun.process.wait() != 0
    psql(moving, "SET lock_timeout = '20s'; UPDATE run SET slope = slope", "moving")
    if how != "killed":
        assert (names(server), roles(server)) == (["postgres", "wepppy"], ["wepppy"])
    next_one = program()
    next_one.hear()
    assert (names(server), roles(server)) == (["postgres", "wepppy"], ["wepppy"])


def test_the_way_back_of_a_killed_live_migration_is_removed_by_the_next_one_of_either_kind(
    server: Server, program: Callable[..., Program]
) -> None:
    number = psql(server, "SELECT system_identifier FROM pg_control_system()").strip()
    passfile, way = Path(f"/dev/shm/wepp-way-back-{number}-1"), Path(server.host, ".s.PGSQL.12345")
    of_another_server = Path("/dev/shm/wepp-way-back-1-1")
    for each in (passfile, of_another_server):
        each.write_text("*:*:*:*:secret\n")
    way.touch()
    begun = program()
    for word in ("go", "switch"):
        begun.hear()
        begun.say(word)
    assert not passfile.exists()
    assert not way.exists()
    assert of_another_server.exists()
    of_another_server.unlink()


def test_with_the_word_back_the_database_from_before_is_live_again(
    server: Server, program: Callable[..., Program]
) -> None:
    begun = program()
    for word in ("go", "switch", "back"):
        begun.hear()
        begun.say(word)
    begun.hear("result")
    assert psql(server, "SELECT count(*) FROM before") == "0\n"


def test_all_that_stands_in_the_way_is_told_at_once(
    server: Server, moving: Server, program: Callable[..., Program]
) -> None:
    psql(moving, "CREATE ROLE limited LOGIN", "postgres")
    psql(moving, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO limited", "moving")
    try:
        found = Program(
            Server(moving.host, "5432", "limited"), server, Path("/tmp"), database="moving"
        ).problem()
    finally:
        psql(moving, "DROP OWNED BY limited; DROP ROLE limited", "moving")
    assert found["exit"] == 4
    for words in ("limited may not read", "limited may not lock", "which takes the right to UPDATE"):
        assert words in found["what"]


def test_the_stacks_own_server_is_no_source(server: Server, tmp_path: Path) -> None:
    found = Program(server, server, tmp_path, database="postgres").problem()
    assert "is the stack's own" in found["what"]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_another_encoding_is_refused_and_a_dump_recommended(
    server: Server, old: Server, tmp_path: Path, encoding: str
) -> None:
    made = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
    psql(old, f"CREATE DATABASE another TEMPLATE template0 {made}", "postgres")
    try:
        found = Program(old, server, tmp_path, database="another").problem()
    finally:
        psql(old, "DROP DATABASE another", "postgres")
    assert f"encoded in {encoding} and the stack in UTF8" in found["what"]
    assert "pg_dump --format=custom --encoding=UTF8" in found["fix"]
    assert names(server) == ["postgres", "wepppy"]


@pytest.mark.parametrize("lost", ["alembic_version", "run"])
def test_a_database_without_the_applications_tables_is_refused_in_the_plan(
    moving: Server, server: Server, tmp_path: Path, lost: str
) -> None:
    psql(
        server, "CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('two')"
    )
    psql(server, "CREATE TABLE run (runid text)")
    psql(moving, f"ALTER TABLE run ADD runid text; DROP TABLE {lost} CASCADE", "moving")
    program = Program(moving, server, tmp_path)
    problem = program.hear("problem")
    assert f"the database moving holds no table {'public.run' if lost == 'run' else lost}," in problem["what"]
    assert "--dbname" in problem["fix"]
    assert program.process.wait() == 4
