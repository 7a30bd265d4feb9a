"""Live migrations that do not come to their end: the source is as it was, and what a killed one left is removed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psycopg
import pytest
from wepp_backup.events import Problem, Reporter, unknown
from wepp_backup.live_source import closed, sweep
from wepp_backup.server import Server, Session, column, execute, value
from wepp_backup.staging import Lock, remove_leftovers

from tests.backup.conftest import SOURCE
from tests.backup.live import LEFTOVERS, TABLES, copied, migration, moved, reach, require_open

pytestmark = pytest.mark.usefixtures("before")


class Stopped(Exception):  # noqa: N818
    """What ends a migration in a test."""


@pytest.mark.parametrize("moment", ["begun", "following", "locked", "closed"])
def test_a_migration_that_ends_before_the_switchover_leaves_the_source_as_it_was(
    source: Session, source_server: Server, lock: Lock, report: Reporter, moment: str
) -> None:
    execute(source, TABLES)
    with pytest.raises(Stopped), migration(source_server, lock, report) as live:  # noqa: PT012
        reach(live, source_server, lock, moment)
        raise Stopped
    require_open(source_server)
    assert value(lock.session, "SELECT count(*) FROM pg_subscription") == 0
    assert [
        each
        for each in Path(lock.server.host).iterdir()
        if each.name.startswith(".s.PGSQL.") and each.suffix not in (".5432", ".lock")
    ] == []


def test_a_source_whose_database_may_be_live_by_now_stays_closed(
    source: Session, source_server: Server, lock: Lock, report: Reporter
) -> None:
    execute(source, TABLES)
    with pytest.raises(Problem), migration(source_server, lock, report) as live:  # noqa: PT012
        reach(live, source_server, lock, "closed")
        raise unknown("whether it was switched over is not known", "")
    with source_server.connect(SOURCE) as session, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        execute(session, "BEGIN READ WRITE; INSERT INTO public.run VALUES (7000, 'on')")
    assert "stays closed to writes" in report.out.getvalue()  # type: ignore[union-attr]


@pytest.mark.parametrize("moment", ["begun", "following", "locked", "closed"])
def test_what_a_killed_migration_left_is_removed_by_the_next(
    source: Session, source_server: Server, lock: Lock, report: Reporter, moment: str
) -> None:
    execute(source, TABLES)
    child = os.fork()
    if not child:
        try:
            reach(migration(source_server, lock, report), source_server, lock, moment)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert column(source, LEFTOVERS) != []
    if moment != "closed":
        execute(source, "INSERT INTO run VALUES (6999, 'not held up')")
    remove_leftovers(lock)
    with source_server.connect(SOURCE) as session:
        assert closed(session, lock.session) == ""
        sweep(session, lock.session, report)
        assert "an interrupted move left on the source" in report.out.getvalue()  # type: ignore[union-attr]
    require_open(source_server)


def test_a_source_that_was_closed_for_good_is_told_and_stays_closed(
    source: Session, source_server: Server, lock: Lock, report: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wepp_backup.live_source.LOCK_SECONDS", 1)
    execute(source, TABLES)
    _, undo = moved(source_server, lock, report)
    with source_server.connect(SOURCE) as session:
        sweep(session, lock.session, report)
        assert closed(session, lock.session) == undo
        with source_server.connect(SOURCE) as other, pytest.raises(Problem, match="another move"):
            sweep(other, lock.session, report)


def test_publications_and_slots_of_others_are_left_alone(
    source: Session, source_server: Server, lock: Lock, report: Reporter
) -> None:
    execute(
        source, TABLES + "CREATE PUBLICATION wepp_move_1234567890123; CREATE SCHEMA wepp_move_1234567890124;"
    )
    value(source, "SELECT pg_create_logical_replication_slot('wepp_move_1234567890123', 'pgoutput')")
    before = column(source, LEFTOVERS)
    with source_server.connect(SOURCE) as session:
        sweep(session, lock.session, report)
        assert column(session, LEFTOVERS) == before


@pytest.mark.parametrize("moment", ["begun", "following"])
def test_it_gives_up_when_the_source_has_to_keep_too_much_of_its_log(
    source: Session,
    source_server: Server,
    lock: Lock,
    report: Reporter,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    execute(source, TABLES)
    monkeypatch.setattr("wepp_backup.live_migration.CEILING", 1 << 20)
    with (  # noqa: PT012
        pytest.raises(Problem, match="had to keep more than 1 MiB"),
        migration(source_server, lock, report) as live,
    ):
        staging = reach(live, source_server, lock, moment)
        if staging:
            execute(
                lock.session,
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_subscription WHERE subname = '{live.name}'",
            )
            with staging.connect() as inside:
                execute(inside, f"ALTER SUBSCRIPTION {live.name} DISABLE")
        execute(source, "INSERT INTO run SELECT g, repeat('x', 100) FROM generate_series(10000, 40000) g")
        live._watcher.join()
        require_open(source_server)
        live.lag()


def test_it_gives_up_when_the_copy_does_not_catch_up(
    source: Session, source_server: Server, lock: Lock, report: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(source, TABLES)
    monkeypatch.setattr("wepp_backup.live_migration.STALL_SECONDS", 0.5)
    monkeypatch.setattr("wepp_backup.live_migration.SMALL_LAG", 1000)
    with migration(source_server, lock, report) as live:
        staging = copied(source_server, lock, live.begin())
        execute(source, "INSERT INTO run SELECT g, 'more' FROM generate_series(10000, 11000) g")
        with staging.connect() as holding:
            execute(holding, "BEGIN; LOCK TABLE public.run IN SHARE MODE")
            with pytest.raises(Problem, match="does not catch up"):
                live.follow(staging)
    require_open(source_server)


def test_changes_that_the_copy_refuses_end_it_at_once(
    source: Session, source_server: Server, lock: Lock, report: Reporter
) -> None:
    execute(source, TABLES)
    with migration(source_server, lock, report) as live:
        staging = copied(source_server, lock, live.begin())
        with staging.connect() as inside:
            execute(inside, "ALTER TABLE public.run ADD CHECK (id < 5000)")
        execute(source, "INSERT INTO run VALUES (5000, 'too large')")
        with pytest.raises(Problem, match="cannot apply the source's changes"):
            live.follow(staging)
    require_open(source_server)


def test_a_dropped_key_ends_it_and_updates_work_again(
    source: Session, source_server: Server, lock: Lock, report: Reporter
) -> None:
    execute(source, TABLES)
    with pytest.raises(Problem, match="schema was changed"), migration(source_server, lock, report) as live:  # noqa: PT012
        live.begin()
        execute(source, "ALTER TABLE run DROP CONSTRAINT run_pkey")
        live._watcher.join()
        execute(source, "UPDATE run SET name = 'on'")
        live.lag()
    require_open(source_server)


def test_a_table_that_is_made_meanwhile_can_be_updated_without_a_key(
    source: Session, source_server: Server, lock: Lock, report: Reporter
) -> None:
    execute(source, TABLES)
    with pytest.raises(Problem, match="schema was changed"), migration(source_server, lock, report) as live:  # noqa: PT012
        live.begin()
        execute(source, "CREATE TABLE later (a int); INSERT INTO later VALUES (1)")
        execute(source, "UPDATE later SET a = 2")
        live._watcher.join()
        live.lag()


def test_a_change_of_definitions_that_the_watch_had_no_time_to_see_is_named_too(
    source: Session, source_server: Server, lock: Lock, report: Reporter
) -> None:
    execute(source, TABLES)
    with pytest.raises(Problem, match="schema was changed"), migration(source_server, lock, report) as live:  # noqa: PT012
        reach(live, source_server, lock, "following")
        live._watched.set()
        execute(source, "CREATE TABLE later (id int PRIMARY KEY)")
        live.lock_source("")
    require_open(source_server)
