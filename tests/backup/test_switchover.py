"""The switchover: the old or the new database is live, whole, whatever happens, and what is told is true."""

from __future__ import annotations

import io
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from wepp_backup import database_properties, switchover
from wepp_backup import server as servers
from wepp_backup.events import FAILED, REFUSED, UNKNOWN, Problem, Reporter
from wepp_backup.markers import list_kept
from wepp_backup.server import Server, Session, execute, quote, value
from wepp_backup.staging import Lock, Staging, take_lock
from wepp_backup.switchover import refuse_foreign, switch_over

from tests.backup.conftest import start, stop
from tests.backup.cutting import Between, cutting

LONG = "データベース名の長い長い長い長い名前eu"  # 17 characters of three bytes and more: 59 bytes


@pytest.fixture
def prepared(server: Server, live: Session, report: Reporter) -> Iterator[tuple[Lock, Staging, Between]]:
    """A lock at a server that is reached through something that cuts, and a staging database with a table `new`."""
    live.close()
    with cutting(server) as (through, between):
        lock = take_lock(through, "wepppy", report)
        yield lock, staging_of(lock), between
        lock.session.close()


def staging_of(lock: Lock) -> Staging:
    staging = Staging.create(lock, None)
    with staging.connect() as session:
        execute(session, "CREATE TABLE public.new ()")
    return staging


def new_is_live(lock: Lock) -> bool:
    """Whether the new database is live; what is told of it must fit."""
    with lock.server.connect(lock.live) as session:
        there = bool(value(session, "SELECT to_regclass('public.new') IS NOT NULL"))
        assert there == bool(list_kept(session, lock.live))
    return there


def test_the_new_database_is_live_and_the_one_from_before_is_kept(
    prepared: tuple[Lock, Staging, Between],
) -> None:
    lock, staging, _ = prepared
    before = switchover.live_oid(lock.session, "wepppy")
    switched = switch_over(lock, staging.name, about="a test")
    assert new_is_live(lock)
    assert switchover.live_oid(lock.session, switched.kept) == before
    (found,) = list_kept(lock.session, "wepppy")
    assert (found.name, found.about) == (switched.kept, "a test")
    assert 0 < switched.seconds < 5


def test_without_a_database_from_before_nothing_is_kept(prepared: tuple[Lock, Staging, Between]) -> None:
    lock, staging, _ = prepared
    execute(lock.session, "DROP DATABASE wepppy")
    assert switch_over(lock, staging.name, about="a test").kept == ""
    found = database_properties.read(lock.session, "wepppy")
    assert found
    assert (found.connection_limit, found.comment) == (-1, None)
    marks = (
        "SELECT datconnlimit, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'wepppy'"
    )
    assert lock.session.execute(marks).fetchall() == [(-1, None)]


def test_settings_grants_and_comment_go_over_and_come_back(prepared: tuple[Lock, Staging, Between]) -> None:
    lock, staging, _ = prepared
    for statement in (
        "ALTER DATABASE wepppy SET work_mem TO '7MB'",
        "REVOKE CONNECT ON DATABASE wepppy FROM PUBLIC",
        "COMMENT ON DATABASE wepppy IS 'runs of 2026'",
        "ALTER DATABASE wepppy CONNECTION LIMIT 77",
    ):
        execute(lock.session, statement)
    own = database_properties.read(lock.session, "wepppy")
    assert own
    assert own.grants
    switched = switch_over(lock, staging.name, about="a test", properties=own)
    assert database_properties.read(lock.session, "wepppy") == own
    back = switch_over(lock, switched.kept, about="a test")
    assert database_properties.read(lock.session, "wepppy") == own
    comment = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
    assert value(lock.session, comment, ["wepppy"]) == "runs of 2026"
    assert [each.name for each in list_kept(lock.session, "wepppy")] == [back.kept]
    # And the other way once more: the one that was tried has the comment as well.
    switch_over(lock, back.kept, about="a test")
    assert value(lock.session, comment, ["wepppy"]) == "runs of 2026"


def test_a_session_lost_in_the_commit_is_no_failure_when_the_server_committed(
    prepared: tuple[Lock, Staging, Between],
) -> None:
    lock, staging, between = prepared
    between.cut_at("COMMIT", passes=True)
    assert switch_over(lock, staging.name, about="a test").kept
    assert new_is_live(lock)


@pytest.mark.parametrize("word", ["RENAME TO", "COMMIT", "SET LOCAL"])
def test_a_session_lost_before_the_commit_leaves_the_old_one_live(
    prepared: tuple[Lock, Staging, Between], word: str
) -> None:
    lock, staging, between = prepared
    between.cut_at(word, passes=False)
    with pytest.raises(Problem, match="did not take place") as told:
        switch_over(lock, staging.name, about="a test")
    assert told.value.exit_code == FAILED
    assert not new_is_live(lock)


def test_what_is_still_being_committed_is_waited_for(prepared: tuple[Lock, Staging, Between]) -> None:
    lock, staging, between = prepared
    with lock.server.connect("postgres") as session:
        # The commit waits for a standby that does not exist, until its session is ended.
        execute(session, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        execute(session, "SELECT pg_reload_conf()")
        try:
            between.cut_at("COMMIT", passes=True)
            assert switch_over(lock, staging.name, about="a test").kept
            assert new_is_live(lock)
        finally:
            execute(session, "ALTER SYSTEM RESET synchronous_standby_names")
            execute(session, "SELECT pg_reload_conf()")


def test_while_the_server_stays_away_nothing_is_claimed(
    prepared: tuple[Lock, Staging, Between], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, staging, between = prepared
    monkeypatch.setattr(servers, "AWAY_SECONDS", 2.5)
    between.cut_at("COMMIT", passes=True, closes=True)
    with pytest.raises(Problem, match="not known") as told:
        switch_over(lock, staging.name, about="a test")
    assert told.value.exit_code == UNKNOWN
    assert isinstance(lock.report.out, io.StringIO)
    assert lock.report.out.getvalue().count("waiting for it") >= 2
    between.away = False
    assert new_is_live(lock)


def test_a_lock_whose_session_was_lost_switches_over_once_it_is_renewed(
    prepared: tuple[Lock, Staging, Between],
) -> None:
    lock, staging, between = prepared
    switched = switch_over(lock, staging.name, about="a test")
    between.cut_at("RENAME TO", passes=False)
    with pytest.raises(Problem, match="did not take place"):
        switch_over(lock, switched.kept, about="a test")
    assert new_is_live(lock)
    lock.renew()
    switch_over(lock, switched.kept, about="a test")
    with lock.server.connect("wepppy") as session:
        assert not value(session, "SELECT to_regclass('public.new') IS NOT NULL")


def test_writers_that_connect_without_a_pause_are_let_in_again_at_once(
    prepared: tuple[Lock, Staging, Between], server: Server
) -> None:
    lock, staging, _ = prepared
    ended = threading.Event()
    gaps: list[float] = []

    def write() -> None:
        last = time.monotonic()
        while not ended.is_set():
            try:
                with psycopg.connect(host=server.host, user="wepppy", dbname="wepppy") as session:
                    session.execute("SELECT pg_sleep(0.01)")
            except psycopg.Error:
                continue
            gaps.append(time.monotonic() - last)
            last = time.monotonic()

    writers = [threading.Thread(target=write) for _ in range(8)]
    for each in writers:
        each.start()
    name = staging.name
    try:
        for _ in range(10):
            wanted = switchover.live_oid(lock.session, name)
            switched = switch_over(lock, name, about="a test")
            name = switched.kept
            assert switchover.live_oid(lock.session, "wepppy") == wanted
    finally:
        ended.set()
        for each in writers:
            each.join()
    print(f"10 switchovers, {len(gaps)} sessions; the longest gap of a writer: {max(gaps):.3f} s")


def test_a_switchover_that_was_told_outlasts_a_crash_of_a_server_that_commits_late(
    tmp_path: Path, report: Reporter
) -> None:
    # Late commits reach the disk only when the log's writer wakes up.
    server = start(tmp_path, synchronous_commit="off", wal_writer_delay="10s", fsync="on")
    try:
        with server.connect("postgres") as session:
            execute(session, "CREATE DATABASE wepppy")
        lock = take_lock(server, "wepppy", report)
        staging = staging_of(lock)
        switch_over(lock, staging.name, about="a test")
        stop(tmp_path)
        start_again(tmp_path)
        assert new_is_live(lock)
    finally:
        stop(tmp_path)


def start_again(folder: Path) -> None:
    options = f"-c listen_addresses= -c unix_socket_directories={folder}"
    command = [
        "pg_ctl",
        "start",
        "--wait",
        "--silent",
        "--pgdata",
        str(folder / "data"),
        "--options",
        options,
    ]
    subprocess.run([*command, "--log", str(folder / "log")], check=True, stdout=subprocess.DEVNULL)


def test_a_prepared_transaction_refuses_whatever_force_says(tmp_path: Path, report: Reporter) -> None:
    server = start(tmp_path, max_prepared_transactions="2")
    try:
        with server.connect("postgres") as session:
            execute(session, "CREATE DATABASE wepppy")
        with server.connect("wepppy") as session:
            execute(session, "BEGIN; CREATE TABLE public.t (); PREPARE TRANSACTION 'half'")
        lock = take_lock(server, "wepppy", report)
        with pytest.raises(Problem, match="1 prepared transactions hold wepppy") as told:
            refuse_foreign(lock, None, force=True)
        assert told.value.exit_code == REFUSED
    finally:
        stop(tmp_path)


@pytest.mark.parametrize(
    ("application", "clients", "foreign"),
    [
        ("pg_isready", [], False),
        ("wepp-backup", [], False),
        ("psql", None, True),
        ("pgAdmin 4 - DB:wepppy", None, True),
        ("PostgreSQL JDBC Driver", None, True),
        ("", None, False),
        ("gunicorn", None, False),
        # Over a socket: none of the containers'.
        ("gunicorn", ["172.18.0.3"], True),
    ],
)
def test_sessions_of_people_are_foreign_and_the_stacks_own_are_not(
    server: Server,
    live: Session,
    report: Reporter,
    application: str,
    clients: list[str] | None,
    foreign: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(switchover, "LEAVE_SECONDS", 0)
    lock = take_lock(server, "wepppy", report)
    live.execute("SELECT set_config('application_name', %s, false)", [application])

    def attempt(force: bool) -> None:
        refuse_foreign(lock, clients, force)

    attempt(force=True)
    if foreign:
        with pytest.raises(Problem, match="1 sessions that are none of the stack's services hold wepppy"):
            attempt(force=False)
    else:
        attempt(force=False)
    lock.release()


def test_an_address_of_the_stacks_is_not_foreign_and_another_is(tmp_path: Path, report: Reporter) -> None:
    server = start(tmp_path, listen_addresses="127.0.0.1", port="5433", unix_socket_directories="")
    over_tcp = Server("127.0.0.1", "5433", "wepppy")
    try:
        with over_tcp.connect("postgres") as session:
            execute(session, "CREATE DATABASE wepppy")
            with over_tcp.connect("wepppy", application_name="app"):
                assert switchover.foreign_sessions(session, "wepppy", ["127.0.0.1"]) == []
                (found,) = switchover.foreign_sessions(session, "wepppy", ["10.0.0.7"])
                assert found.startswith("app of wepppy at 127.0.0.1 (process ")
        assert server
    finally:
        stop(tmp_path)


def test_a_session_that_the_user_may_not_end_refuses_and_the_others_are_ended_all_the_same(
    server: Server, live: Session, report: Reporter
) -> None:
    execute(live, "CREATE ROLE owner_only LOGIN CREATEDB")
    execute(live, "ALTER DATABASE wepppy OWNER TO owner_only")
    owner = Server(server.host, server.port, "owner_only")
    lock = take_lock(owner, "wepppy", report)
    staging = staging_of(lock)
    with owner.connect("wepppy") as mine:
        with pytest.raises(Problem, match="sessions that do not end hold wepppy") as told:
            switch_over(lock, staging.name, about="a test")
        assert told.value.exit_code == REFUSED
        with pytest.raises(psycopg.Error):
            execute(mine, "SELECT")
    live.close()
    assert switch_over(lock, staging.name, about="a test").kept
    assert new_is_live(lock)
    lock.release()


def test_names_of_63_bytes_in_any_script_are_kept_and_come_back(
    server: Server, live: Session, report: Reporter
) -> None:
    live.close()
    for name in (LONG, "wepppy_production_of_the_forest_service_region_number_six_prodeu", "q" * 63):
        with server.connect("postgres") as session:
            execute(session, f"CREATE DATABASE {quote(name)}")
        lock = take_lock(server, name, report)
        staging = staging_of(lock)
        switched = switch_over(lock, staging.name, about="a test")
        assert len(switched.kept.encode()) <= 63
        assert new_is_live(lock)
        switch_over(lock, switched.kept, about="a test")
        lock.release()
