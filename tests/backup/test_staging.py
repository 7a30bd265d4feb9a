"""The lock on a server's databases, and staging databases: made, marked, found again and dropped."""

from __future__ import annotations

import io
import time
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from wepp_backup import markers, staging
from wepp_backup.events import REFUSED, Problem, Reporter
from wepp_backup.server import Server, Session, column, execute, literal, quote, value
from wepp_backup.staging import Locale, Staging, locale_of, take_lock

from tests.backup.conftest import start, stop

NOW = datetime(2026, 11, 29, 3, 10, tzinfo=UTC)
LONG = ("wepppy_prod_eu_" + "n" * 48, "wepppy_прод_" + "д" * 25 + "x", "県" * 21, "a\N{GRINNING FACE}" * 12)


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be NOW for staging databases that are made."""

    class Frozen(datetime):
        @classmethod
        def now(cls, tz: object = None) -> Frozen:
            return cls.fromtimestamp(NOW.timestamp(), UTC)

    monkeypatch.setattr(staging, "datetime", Frozen)


def names(session: Session) -> list[str]:
    return column(session, "SELECT datname::text FROM pg_database WHERE datname ~ 'incoming' ORDER BY 1")


def lines(report: Reporter) -> str:
    assert isinstance(report.out, io.StringIO)
    return report.out.getvalue()


def test_a_staging_database_is_marked_and_made_like_the_live_one(
    server: Server, live: Session, report: Reporter, frozen: None
) -> None:
    lock = take_lock(server, "wepppy", report)
    locale = locale_of(live, "wepppy")
    made = Staging.create(lock, locale)
    assert made.name == f"wepppy_incoming_{int(NOW.timestamp() * 1000)}"
    assert locale_of(live, made.name) == locale
    with made.connect() as inside:
        assert (
            value(inside, "SELECT datconnlimit FROM pg_database WHERE datname = current_database()") == 77657
        )
        marker = markers.parse(value(inside, "SELECT shobj_description(oid, 'pg_database') FROM pg_database "
                                             "WHERE datname = current_database()"))  # fmt: skip
    assert marker == markers.Marker("staging", "wepppy", made=NOW.isoformat())
    made.drop()
    assert names(live) == []
    lock.release()


@pytest.mark.parametrize(
    "words",
    ["ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'de-u-co-phonebk' ICU_RULES '&a < g' LOCALE 'C'",
     "ENCODING 'UTF8' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'",
     "ENCODING 'SQL_ASCII' LOCALE 'C'", "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'POSIX'"],
)  # fmt: skip
def test_every_kind_of_locale_is_made_again(
    server: Server, live: Session, report: Reporter, words: str
) -> None:
    execute(live, f"CREATE DATABASE other TEMPLATE template0 {words}")
    locale = locale_of(live, "other")
    assert isinstance(locale, Locale)
    lock = take_lock(server, "wepppy", report)
    made = Staging.create(lock, locale)
    assert locale_of(live, made.name) == locale
    lock.release()


def test_there_is_no_locale_of_no_database(live: Session) -> None:
    assert locale_of(live, "nothing") is None


@pytest.mark.parametrize("name", LONG)
def test_any_name_of_63_bytes_has_staging_databases_that_are_found_again(
    server: Server, live: Session, report: Reporter, name: str
) -> None:
    lock = take_lock(server, name, report)
    made = Staging.create(lock, None)
    assert len(made.name.encode()) <= 63
    time.sleep(0.002)  # they are named by the millisecond
    unmarked = Staging.create(lock, None)
    execute(live, f"COMMENT ON DATABASE {quote(unmarked.name)} IS NULL")
    assert names(live) == sorted([made.name, unmarked.name])
    lock.release()
    take_lock(server, name, report).release()
    assert names(live) == []


def test_what_a_killed_run_left_is_removed_even_with_subscriptions_and_sessions(
    server: Server, live: Session, report: Reporter
) -> None:
    lock = take_lock(server, "wepppy", report)
    made = Staging.create(lock, None)
    with made.connect() as inside:
        execute(
            inside,
            "CREATE SUBSCRIPTION \"it's\" CONNECTION 'host=nowhere.invalid' PUBLICATION p WITH (connect = false)",
        )
        lock.release()
        take_lock(server, "wepppy", report).release()
        assert names(live) == []
        with pytest.raises(psycopg.Error):
            inside.execute("SELECT")
    assert f"removing {made.name}, which an interrupted run left" in lines(report)


STRANGERS = {
    "without a mark": ("wepppy_incoming_2024", -1, None),
    "with a comment of its own": ("wepppy_incoming_1764385800000", markers.CONNECTION_LIMIT, "the 2024 runs"),
    "of another live database": ("wepppy_incoming_1764385800000", markers.CONNECTION_LIMIT,
                                 markers.Marker("staging", "wepppy_eu").text()),
    "of another, unmarked": ("wepppy_eu_incoming_1764385800000", markers.CONNECTION_LIMIT, None),
    "of the Go program": ("wepppy_incoming_1764385800000", -1, None),
    "kept": ("wepppy_incoming_1764385800000", -1, markers.Marker("kept", "wepppy").text()),
    "renamed by a person": ("investigated", markers.CONNECTION_LIMIT, markers.Marker("staging", "wepppy").text()),
}  # fmt: skip


@pytest.mark.parametrize("tables", [True, False])
@pytest.mark.parametrize("kind", STRANGERS)
def test_a_database_that_is_not_a_staging_database_of_this_one_survives_every_task(
    server: Server, live: Session, report: Reporter, kind: str, tables: bool
) -> None:
    name, limit, comment = STRANGERS[kind]
    execute(live, f"CREATE DATABASE {quote(name)} CONNECTION LIMIT {limit}")
    if comment:
        execute(live, f"COMMENT ON DATABASE {quote(name)} IS {literal(comment)}")
    if tables:
        with server.connect(name) as inside:
            execute(inside, "CREATE TABLE public.theirs AS SELECT 1 AS id")
    lock = take_lock(server, "wepppy", report)
    staging_one = Staging.create(lock, None)
    Staging(name, lock).drop()
    staging_one.drop()
    lock.release()
    take_lock(server, "wepppy", report, trial=True).release()
    with server.connect(name) as inside:
        assert value(inside, "SELECT count(*) FROM pg_class WHERE relname = 'theirs'") == tables
    told = name.startswith("wepppy_incoming_")
    assert ("looks like a staging database" in lines(report)) == told


def test_the_live_database_itself_is_never_dropped_whatever_its_marks(
    server: Server, live: Session, report: Reporter
) -> None:
    name = "wepppy_incoming_1764385800000"
    execute(live, f"CREATE DATABASE {name} CONNECTION LIMIT {markers.CONNECTION_LIMIT}")
    execute(live, f"COMMENT ON DATABASE {name} IS {literal(markers.Marker('staging', name).text())}")
    take_lock(server, name, report).release()
    assert names(live) == [name]


def test_the_lock_is_one_holders_at_a_time_and_whoever_waits_is_told(
    server: Server, live: Session, report: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = take_lock(server, "wepppy", report)
    monkeypatch.setattr(staging, "LOCK_SECONDS", 0)
    with pytest.raises(Problem, match=r"under way on this server since \d{4}.*from a socket") as caught:
        take_lock(server, "another", report)
    assert caught.value.exit_code == REFUSED
    with server.connect("postgres") as session:
        assert staging.is_held(session)
        monkeypatch.undo()
        monkeypatch.setattr("time.sleep", lambda _: lock.release())
        take_lock(server, "wepppy", report).release()
        assert "or being undone; waiting" in lines(report)
        execute(session, "SELECT pg_sleep(0)")


def test_an_advisory_lock_of_the_application_with_the_same_number_is_not_ours(
    server: Server, live: Session, report: Reporter
) -> None:
    execute(live, f"SELECT pg_advisory_lock({staging.KEY})")
    take_lock(server, "wepppy", report).release()
    with server.connect("postgres") as session:
        assert not staging.is_held(session)


def test_a_restore_test_gives_way_to_a_task_and_not_to_another_restore_test(
    server: Server, live: Session, report: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = take_lock(server, "wepppy", report, trial=True)
    made = Staging.create(lock, None)
    with monkeypatch.context() as patched:
        patched.setattr(staging, "LOCK_SECONDS", 0)
        with pytest.raises(Problem, match="under way"):
            take_lock(server, "wepppy", report, trial=True)
    task = take_lock(server, "wepppy", report)
    assert "it gives way" in lines(report)
    assert names(live) == []
    with pytest.raises(psycopg.Error):
        Staging.create(lock, None)
    made.drop()
    assert '"lost"' not in lines(report)
    task.release()


def test_a_user_who_may_make_no_databases_is_told_what_to_do(
    server: Server, live: Session, report: Reporter
) -> None:
    execute(live, "DROP ROLE IF EXISTS poor")
    execute(live, "CREATE ROLE poor LOGIN")
    lock = take_lock(Server(server.host, server.port, "poor"), "wepppy", report)
    with pytest.raises(Problem, match="poor may not make databases") as caught:
        Staging.create(lock, None)
    assert "ALTER ROLE poor CREATEDB" in caught.value.fix
    lock.release()


def test_a_server_that_crashes_is_waited_for_with_the_lock_taken_anew_and_the_staging_database_dropped(
    tmp_path: Path, report: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(tmp_path)
    try:
        lock = take_lock(server, "wepppy", report)
        made = Staging.create(lock, None)
        stop(tmp_path)
        with monkeypatch.context() as patched:
            patched.setattr("time.sleep", lambda _: start(tmp_path))
            lock.renew()
        assert staging.is_held(lock.session)
        assert '"lost"' in lines(report)
        again = lock.session
        lock.renew()
        assert lock.session is again
        execute(server.connect("postgres"), f"SELECT pg_terminate_backend({lock.session.info.backend_pid})")
        other = take_lock(server, "another", report)
        with pytest.raises(Problem, match="under way"):
            lock.renew()
        made.drop()
        assert names(other.session) == []
    finally:
        stop(tmp_path)


def test_a_name_that_somebody_else_has_is_not_taken_from_him(
    server: Server, live: Session, report: Reporter, frozen: None
) -> None:
    name = f"wepppy_incoming_{int(NOW.timestamp() * 1000)}"
    execute(live, f"CREATE DATABASE {name}")
    lock = take_lock(server, "wepppy", report)
    with pytest.raises(psycopg.errors.DuplicateDatabase):
        Staging.create(lock, None)
    assert names(live) == [name]
    lock.release()
