"""Restore tests: what they find, what they say nothing about, and that they leave nothing behind."""

from __future__ import annotations

import threading
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from wepp_backup import catalog, database_properties, restore_test, row_counts
from wepp_backup.catalog import Manifest, RestoreTest
from wepp_backup.events import FAILED, Problem, Reporter
from wepp_backup.server import Server, Session, column, execute
from wepp_backup.staging import take_lock

from tests.backup.loading import dumped

NOW = datetime(2026, 11, 29, 3, 10, tzinfo=UTC)


def fill(session: Session) -> None:
    execute(session, "SET search_path = public")
    execute(session, "CREATE TABLE run AS SELECT g AS id FROM generate_series(1, 1002) g")
    execute(
        session, "CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('abc')"
    )


def dump(server: Server, session: Session, path: Path) -> Path:
    """Dump the live database and write its manifest."""
    dumped(server, path, "-Fc")
    counts, properties = row_counts.count(session), database_properties.read(session, "wepppy")
    assert properties
    manifest = Manifest(
        NOW, rows=counts.rows, tables=counts.tables, large_objects=counts.large_objects,
        revision=row_counts.revision(session), database_properties=asdict(properties),
    )  # fmt: skip
    catalog.write_json(Path(f"{path}.json"), manifest)
    return path


def change(path: Path, **fields: object) -> None:
    manifest = catalog.read_manifest(path)
    assert manifest
    catalog.write_json(Path(f"{path}.json"), manifest._replace(**fields))  # type: ignore[arg-type]


def run(server: Server, path: Path, report: Reporter) -> RestoreTest:
    app: Any = SimpleNamespace(
        server=server, application=server, report=report, settings=SimpleNamespace(database="wepppy")
    )
    return restore_test.run(app, path)


def staging_databases(session: Session) -> list[str]:
    return column(session, "SELECT datname::text FROM pg_database WHERE datname ~ 'incoming'")


def test_a_good_dump_passes_and_nothing_stays_behind(
    server: Server, live: Session, report: Reporter, tmp_path: Path
) -> None:
    fill(live)
    execute(live, "ALTER DATABASE wepppy SET work_mem = '7MB'; COMMENT ON DATABASE wepppy IS 'live'")
    outcome = run(server, dump(server, live, tmp_path / "a.dump"), report)
    assert outcome.ok, outcome.problem
    assert outcome.rows == 1003
    assert staging_databases(live) == []


def test_what_differs_from_the_manifest_fails_the_test(
    server: Server, live: Session, report: Reporter, tmp_path: Path
) -> None:
    fill(live)
    path = dump(server, live, tmp_path / "a.dump")
    wrong: dict[str, dict[str, Any]] = {
        "public.run has 1002 rows instead of 1003": {
            "tables": {"public.run": 1003, "public.alembic_version": 1}
        },
        "instead of 7": {"large_objects": 7},
        "revision is abc instead of abd": {"revision": "abd"},
        "properties cannot be set": {
            "database_properties": {"owner": "wepppy", "settings": [["", "no such", "1"]]}
        },
    }
    for words, fields in wrong.items():
        dump(server, live, path)
        change(path, **fields)
        outcome = run(server, path, report)
        assert not outcome.ok
        assert words in outcome.problem
    assert staging_databases(live) == []


def test_a_dump_that_holds_nothing_is_no_success(
    server: Server, live: Session, report: Reporter, tmp_path: Path
) -> None:
    outcome = run(server, dump(server, live, tmp_path / "a.dump"), report)
    assert not outcome.ok
    assert "nothing could be compared" in outcome.problem


def test_a_dump_that_cannot_be_restored_names_what_stands_in_the_way(
    server: Server, live: Session, report: Reporter, tmp_path: Path
) -> None:
    fill(live)
    execute(live, "CREATE FUNCTION public.odd(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS "
                  "$$ BEGIN IF current_database() ~ 'incoming' THEN RAISE 'not here'; END IF; RETURN 1; END $$;"
                  "CREATE INDEX oddly ON run (public.odd(id))")  # fmt: skip
    outcome = run(server, dump(server, live, tmp_path / "a.dump"), report)
    assert not outcome.ok
    assert "INDEX oddly ON public.run" in outcome.problem
    assert "not here" in outcome.problem
    assert staging_databases(live) == []


def test_a_restore_test_gives_way_to_a_task_and_is_no_verdict_on_the_dump(
    server: Server, live: Session, report: Reporter, tmp_path: Path
) -> None:
    fill(live)
    # An index that is never done where the staging database is.
    execute(live, "CREATE FUNCTION public.slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS "
                  "$$ BEGIN IF current_database() ~ 'incoming' THEN PERFORM pg_sleep(600); END IF; RETURN 1; END $$;"
                  "CREATE INDEX ON run (public.slow(id))")  # fmt: skip
    path = dump(server, live, tmp_path / "a.dump")
    raised: list[Problem] = []

    def test() -> None:
        try:
            run(server, path, report)
        except Problem as problem:
            raised.append(problem)

    thread = threading.Thread(target=test)
    thread.start()
    while not column(
        live, "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND datname ~ 'incoming'"
    ):
        pass
    task = take_lock(server, "wepppy", report)
    thread.join()
    task.release()
    assert raised[0].exit_code == FAILED
    assert "gave way" in raised[0].what
    assert staging_databases(live) == []


@pytest.mark.parametrize(
    ("statement", "risky"),
    [
        ("", False),
        ("CREATE TABLE t (id int CHECK (id > 0), twice int GENERATED ALWAYS AS (abs(id)) STORED)", False),
        ("CREATE TABLE t (id int CHECK (f(id) > 0))", True),
        ("CREATE TABLE t (id int, g int GENERATED ALWAYS AS (f(id)) STORED)", True),
        ("CREATE TABLE t (id int); CREATE INDEX ON t (f(id))", True),
        ("CREATE DOMAIN d AS int CHECK (f(VALUE) > 0)", True),
        ("CREATE MATERIALIZED VIEW m AS SELECT f(1)", True),
        ("CREATE EXTENSION pg_trgm; CREATE TABLE t (w text CHECK (similarity(w, 'a') >= 0))", False),
    ],
)
def test_a_database_is_risky_when_code_of_its_own_runs_while_it_is_loaded(
    live: Session, statement: str, risky: bool
) -> None:
    execute(live, "SET search_path = public")
    execute(live, "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'")
    if statement:
        execute(live, statement)
    assert restore_test.is_risky(live) == risky
