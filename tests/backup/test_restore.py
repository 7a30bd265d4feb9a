"""Restore, as a task on the host asks for it: the plan, the load beside, the word, the switchover, the last word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from wepp_backup.events import FAILED, REFUSED
from wepp_backup.markers import list_kept
from wepp_backup.server import Server, Session, column, execute, value

from tests.backup.loading import dumped
from tests.backup.program import Program, program

MADE = """
CREATE TABLE public.alembic_version (version_num varchar(32) PRIMARY KEY);
INSERT INTO public.alembic_version VALUES ('0001');
CREATE TABLE public.run (id int PRIMARY KEY, runid text UNIQUE, date_created timestamptz, last_modified timestamptz);
INSERT INTO public.run SELECT n, 'run-' || n, now() - n * interval '1 day' FROM generate_series(1, 500) n;
"""


@pytest.fixture
def dump(server: Server, live: Session, tmp_path: Path) -> Path:
    """A dump of the live database as it was; one run was made since, and one deleted."""
    execute(live, MADE)
    path = dumped(server, tmp_path / "a.dump", "-Fc")
    execute(
        live, "INSERT INTO public.run VALUES (501, 'made-since', now()); DELETE FROM public.run WHERE id = 1"
    )
    live.close()
    return path


def restoring(server: Server, dump: Path, *flags: str) -> Program:
    return Program(server, "restore", f"--dump={dump}", *flags, BACKUP_DIR=str(dump.parent))


@pytest.fixture
def run(server: Server, dump: Path) -> Iterator[Program]:
    """A restore that waits for its first word."""
    with program(server, "restore", f"--dump={dump}", "--jobs=2", BACKUP_DIR=str(dump.parent)) as made:
        yield made


def content(server: Server, database: str = "wepppy") -> tuple[int, bool]:
    """Runs, and whether the one is there that was made since the dump."""
    with server.connect(database) as session:
        there = value(session, "SELECT count(*) FROM public.run WHERE runid = 'made-since'")
        return int(value(session, "SELECT count(*) FROM public.run")), bool(there)


def databases(server: Server) -> list[str]:
    with server.connect("postgres") as session:
        return column(
            session, "SELECT datname::text FROM pg_database WHERE datname LIKE 'wepppy%' ORDER BY 1"
        )


def test_a_dump_is_loaded_beside_and_made_live(server: Server, run: Program) -> None:
    plan = run.hear("ready")
    assert (plan["kind"], plan["rows"], plan["database"]) == ("custom", -1, "wepppy")
    assert content(server) == (500, True)
    run.say("go")
    prepared = run.hear("ready")
    assert (prepared["rows"], prepared["revision"], prepared["live_revision"]) == (501, "0001", "0001")
    assert content(server) == (500, True)
    assert content(server, prepared["staging"]) == (500, False)
    run.say("switch")
    switched = run.hear("ready")
    assert content(server) == (500, False)
    run.say("keep")
    answer = run.hear("result")
    assert answer["kept"] == switched["kept"]
    assert answer["missing_runs"] == {"count": 1, "newest": ["made-since"]}
    assert run.child.wait() == 0
    assert databases(server) == ["wepppy", switched["kept"]]
    with server.connect("wepppy") as session:
        (found,) = list_kept(session, "wepppy")
        assert found.about.startswith("replaced by a restore of /")


def test_told_to_drop_the_one_from_before_it_says_first_what_is_missing(server: Server, run: Program) -> None:
    switched(run)
    run.say("drop")
    answer = run.hear("result")
    assert (answer["kept"], answer["missing_runs"]["count"]) == ("", 1)
    assert databases(server) == ["wepppy"]


def switched(run: Program) -> str:
    """Switch over; return the name of the kept database."""
    run.hear("ready")
    run.say("go")
    run.hear("ready")
    run.say("switch")
    return str(run.hear("ready")["kept"])


def test_told_to_go_back_it_counts_what_was_written_meanwhile(server: Server, run: Program) -> None:
    switched(run)
    with server.connect("wepppy") as session:
        execute(session, "INSERT INTO public.run SELECT n, 'late-' || n FROM generate_series(1000, 1006) n")
    run.say("back")
    answer = run.hear("result")
    assert answer["rows_written"] == 7
    assert content(server) == (500, True)
    assert content(server, answer["kept"]) == (507, False)


def test_rows_that_the_schemas_upgrade_writes_are_not_taken_for_the_applications(
    server: Server, run: Program
) -> None:
    run.hear("ready")
    run.say("go")
    prepared = run.hear("ready")
    with server.connect(prepared["staging"]) as session:
        execute(session, "UPDATE public.alembic_version SET version_num = '0002'")
        execute(session, "CREATE TABLE public.role AS SELECT 'admin' AS name")
    run.say("switch")
    run.hear("ready")
    run.say("back")
    assert run.hear("result")["rows_written"] == 0


@pytest.mark.parametrize("words", [[], ["go"]])
def test_a_caller_that_is_gone_before_the_switchover_leaves_nothing(
    server: Server, run: Program, words: list[str]
) -> None:
    run.hear("ready")
    for word in words:
        run.say(word)
        run.hear("ready")
    assert run.leave() == FAILED
    assert content(server) == (500, True)
    assert databases(server) == ["wepppy"]


def test_a_caller_that_is_gone_after_it_leaves_the_new_one_live_and_the_old_one_kept(
    server: Server, run: Program
) -> None:
    name = switched(run)
    run.leave()
    assert content(server) == (500, False)
    assert databases(server) == ["wepppy", name]


def test_another_word_calls_it_off(server: Server, run: Program) -> None:
    run.hear("ready")
    run.say("swap")
    assert "nothing was changed" in run.hear("problem")["what"]
    assert run.child.wait() == REFUSED
    assert databases(server) == ["wepppy"]


def test_a_foreign_session_is_told_with_the_plan_and_refuses_the_switchover(
    server: Server, run: Program
) -> None:
    with server.connect("wepppy", application_name="psql"):
        run.hear("ready")
        run.say("go")
        run.hear("ready")
        run.say("switch")
        assert "none of the stack's services" in run.hear("problem")["what"]
    assert run.child.wait() == REFUSED
    assert content(server) == (500, True)
    assert databases(server) == ["wepppy"]
    assert any("the switchover needs --force" in each.get("text", "") for each in run.heard)


def test_who_is_there_from_elsewhere_is_told_before_anything_is_loaded(server: Server, dump: Path) -> None:
    with server.connect("wepppy", application_name="psql"):
        run = restoring(server, dump, "--clients=10.0.0.1")
        run.hear("ready")
        run.leave()
    assert any("unless it ends by then" in each.get("text", "") for each in run.heard)


def test_a_dump_of_another_database_is_refused_unless_forced(server: Server, dump: Path) -> None:
    with server.connect("postgres") as session:
        execute(session, "CREATE DATABASE wepppy_other TEMPLATE wepppy")
    other = dumped(server, dump.with_name("other.dump"), "-Fc", database="wepppy_other")
    with program(server, "restore", f"--dump={other}") as run:
        assert "is a dump of the database wepppy_other, not of wepppy" in run.hear("problem")["what"]
    with program(server, "restore", f"--dump={other}", "--force") as run:
        assert run.hear("ready")["database"] == "wepppy"


def test_a_dump_without_a_revision_is_refused_where_the_live_database_has_one(
    server: Server, dump: Path
) -> None:
    with server.connect("wepppy") as session:
        execute(session, "TRUNCATE public.alembic_version")
    bare = dumped(server, dump.with_name("bare.dump"), "-Fc")
    with server.connect("wepppy") as session:
        execute(session, "INSERT INTO public.alembic_version VALUES ('0001')")
    with program(server, "restore", f"--dump={bare}") as run:
        run.hear("ready")
        run.say("go")
        assert "holds 0 rows in alembic_version" in run.hear("problem")["what"]
        assert run.child.wait() == REFUSED
    assert databases(server) == ["wepppy"]


@pytest.mark.parametrize(
    ("lost", "told"),
    [("alembic_version", "no table alembic_version,"), ("run", "no table public.run,"),
     ("run, alembic_version", "no table alembic_version and no public.run,")],
)  # fmt: skip
def test_a_dump_without_the_applications_tables_is_refused_before_it_is_loaded(
    server: Server, dump: Path, lost: str, told: str
) -> None:
    with server.connect("wepppy") as session:
        for name in lost.split(", "):
            execute(session, f"ALTER TABLE public.{name} RENAME TO other_{name}")
        other = dumped(server, dump.with_name("other.dump"), "-Fc")
        for name in lost.split(", "):
            execute(session, f"ALTER TABLE public.other_{name} RENAME TO {name}")
    with program(server, "restore", f"--dump={other}") as run:
        said = run.hear("problem")["what"]
        assert told in said
        assert "which the application's database has" in said
        assert run.child.wait() == REFUSED
    assert databases(server) == ["wepppy"]


def test_a_dump_that_lacks_rows_of_its_manifest_is_refused(server: Server, dump: Path) -> None:
    manifest = {
        "format": 1, "created": "2026-11-24T00:00:00Z", "bytes": dump.stat().st_size, "rows": 502,
        "tables": {"public.alembic_version": 1, "public.run": 500, "public.gone": 1}, "views": {}, "large_objects": 0,
    }  # fmt: skip
    Path(f"{dump}.json").write_text(json.dumps(manifest))
    with program(server, "restore", f"--dump={dump}") as run:
        assert "public.gone" in run.hear("problem")["what"]
    assert databases(server) == ["wepppy"]


def test_where_the_database_has_no_settings_of_its_own_those_of_the_dump_come_back(
    server: Server, dump: Path
) -> None:
    properties = {
        "owner": "nobody here", "comment": "runs of 2026", "settings": [["", "work_mem", "7MB"]],
        "grants": [["wepppy", "CONNECT", False], ["wepppy", "CREATE", False]],
    }  # fmt: skip
    manifest = {
        "format": 1, "created": "2026-11-24T00:00:00Z", "bytes": dump.stat().st_size, "rows": 501,
        "tables": {"public.alembic_version": 1, "public.run": 500}, "database_properties": properties,
    }  # fmt: skip
    Path(f"{dump}.json").write_text(json.dumps(manifest))

    def restored() -> tuple[str, str | None, bool]:
        with program(server, "restore", f"--dump={dump}") as run:
            switched(run)
            run.say("keep")
            run.hear("result")
        with server.connect("wepppy") as session:
            comment = value(session, "SELECT shobj_description(oid, 'pg_database') FROM pg_database "
                                     "WHERE datname = current_database()")  # fmt: skip
            public = value(session, "SELECT datacl::text LIKE '{=%' OR datacl IS NULL FROM pg_database "
                                    "WHERE datname = current_database()")  # fmt: skip
            return value(session, "SHOW work_mem"), comment, bool(public)

    assert restored() == ("7MB", "runs of 2026", False)
    with server.connect("wepppy") as session:
        execute(session, "ALTER DATABASE wepppy SET work_mem TO '9MB'")
    # The live database has its own now.
    assert restored() == ("9MB", "runs of 2026", False)


@pytest.mark.parametrize("jobs", ["0", "65"])
def test_a_number_of_jobs_that_makes_no_sense_is_refused(server: Server, dump: Path, jobs: str) -> None:
    with program(server, "restore", f"--dump={dump}", f"--jobs={jobs}") as run:
        assert "makes no sense" in run.hear("problem")["what"]


def test_the_new_database_is_its_owners_while_it_is_loaded_and_afterwards(server: Server, dump: Path) -> None:
    owner = "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = %s"
    with server.connect("postgres") as session:
        execute(session, "CREATE ROLE owning LOGIN; ALTER DATABASE wepppy OWNER TO owning")
        for expected in ("owning", server.user):
            with program(server, "restore", f"--dump={dump}") as run:
                run.hear("ready")
                run.say("go")
                assert value(session, owner, [run.hear("ready")["staging"]]) == expected
                run.say("switch")
                run.hear("ready")
                run.say("keep")
                run.hear("result")
            assert value(session, owner, ["wepppy"]) == expected
            # Where there is no live database, the new one is the application's.
            execute(session, "DROP DATABASE wepppy WITH (FORCE)")
        execute(session, "DROP OWNED BY owning")
        for (name,) in session.execute(
            "SELECT datname::text FROM pg_database WHERE datname LIKE 'wepppy_%'"
        ).fetchall():
            execute(session, f'DROP DATABASE "{name}" WITH (FORCE)')
        execute(session, "DROP ROLE owning")
