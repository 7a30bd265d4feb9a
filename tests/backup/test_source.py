"""The source of a migration: what it needs is seen, and nothing that is committed to it while it is held gets past."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from wepp_backup import source
from wepp_backup.events import FAILED, REFUSED, Problem
from wepp_backup.row_hashes import hashes
from wepp_backup.server import Server, Session, column, execute, rows, value
from wepp_backup.source import LACKING, LOCK, READ, ROLES, Held, hold, look


@pytest.fixture(autouse=True)
def tables(live: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(
        live, "SET search_path = public; CREATE TABLE t (id int); INSERT INTO t VALUES (1); CREATE SEQUENCE s"
    )
    monkeypatch.setattr(source, "LOCK_SECONDS", 2)


@pytest.fixture
def held(server: Server, tables: None) -> Iterator[Held]:
    """The database locked, in a snapshot."""
    one = hold(server, "wepppy", locked=True, superuser=True)
    yield one
    one.session.close()


@contextmanager
def waiting(server: Server, statement: str) -> Iterator[threading.Thread]:
    """A client that was connected before, and runs a statement that has to wait; it ends by itself."""
    with (
        server.connect("wepppy", application_name="writer") as session,
        server.connect("postgres") as looking,
    ):
        execute(session, "SET search_path = public")
        process = session.info.backend_pid

        def write() -> None:
            try:
                execute(session, statement)
            except psycopg.Error as error:
                said.append(error)

        said: list[psycopg.Error] = []
        thread = threading.Thread(target=write)
        thread.start()
        # Until it waits for a lock, or is done.
        while thread.is_alive() and not value(
            looking, "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s", [process]
        ):
            pass
        try:
            yield thread
        finally:
            if thread.is_alive():
                value(looking, "SELECT pg_cancel_backend(%s)", [process])
            thread.join(10)


def test_a_source_that_nobody_writes_is_unchanged_and_can_be_read_by_others_in_its_snapshot(
    held: Held,
) -> None:
    with held.join() as other:
        assert hashes(held.session).differences(hashes(other)) == []
    held.check()
    assert held.changes() == []


@pytest.mark.parametrize(
    "statement",
    ["INSERT INTO t VALUES (2)", "UPDATE t SET id = 3", "DELETE FROM t", "TRUNCATE t", "ALTER TABLE t ADD x int",
     "DROP TABLE t", "SET session_replication_role = replica; INSERT INTO t VALUES (2)"],
)  # fmt: skip
def test_whoever_was_connected_and_writes_has_to_wait_and_is_named_and_refused(
    server: Server, held: Held, statement: str
) -> None:
    with waiting(server, statement) as thread:
        assert thread.is_alive()
        with pytest.raises(
            Problem, match=r"the source was written during the move: writer of wepppy .* waits to write"
        ) as told:
            held.check()
        assert told.value.exit_code == REFUSED
        assert value(held.session, "SELECT sum(id) FROM public.t") == 1


def test_a_write_is_seen_where_the_server_counts_no_statistics(
    server: Server, live: Session, held: Held
) -> None:
    execute(live, "ALTER DATABASE wepppy SET track_counts = off")
    with waiting(server, "UPDATE t SET id = 9"), pytest.raises(Problem, match="waits to write"):
        held.check()


def test_who_waits_may_write_once_the_source_is_let_go(server: Server, live: Session, held: Held) -> None:
    with waiting(server, "INSERT INTO t VALUES (2)") as thread:
        held.session.close()
        thread.join(10)
        assert not thread.is_alive()
    assert value(live, "SELECT count(*) FROM t") == 2


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SELECT nextval('s')", "the sequence public.s was changed"),
        ("CREATE TABLE later AS SELECT 1 AS x", "its schema was changed"),
        ("CREATE INDEX ON t (id)", "its schema was changed"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "its schema was changed"),
        ("GRANT SELECT ON t TO PUBLIC", "its schema was changed"),
    ],
)
def test_what_takes_no_lock_is_seen(live: Session, held: Held, statement: str, words: str) -> None:
    execute(live, statement)
    assert held.changes() == [words]
    with pytest.raises(Problem, match="written during the move"):
        held.check()


def test_reading_maintenance_and_other_databases_are_no_writes(
    server: Server, live: Session, held: Held
) -> None:
    execute(live, "ANALYZE pg_class; SELECT count(*) FROM t")
    execute(live, "SELECT * FROM t FOR KEY SHARE")
    with server.connect("postgres") as other:
        execute(other, "CREATE TABLE public.busy AS SELECT 1 AS x; DROP TABLE public.busy")
    with server.connect("wepppy", application_name="reader") as reader:
        execute(reader, "BEGIN; SELECT * FROM public.t")
        held.check()


def test_a_writer_that_has_not_ended_is_named_and_the_source_is_not_held(
    server: Server, live: Session
) -> None:
    with server.connect("wepppy", application_name="psql") as writer:
        execute(writer, "BEGIN; INSERT INTO public.t VALUES (7)")
        with pytest.raises(
            Problem, match=r"somebody is writing to them: psql of wepppy .*idle in transaction"
        ) as told:
            hold(server, "wepppy", locked=True, superuser=True)
        assert told.value.exit_code == REFUSED
        execute(live, "INSERT INTO t VALUES (8)")
        writer.execute("COMMIT")
    with hold(server, "wepppy", locked=True, superuser=True).session as session:
        assert value(session, "SELECT count(*) FROM public.t") == 3


def test_what_was_committed_while_the_lock_was_waited_for_is_in_the_snapshot(
    server: Server, live: Session
) -> None:
    execute(live, "BEGIN; INSERT INTO t VALUES (2)")
    found: list[Held] = []
    holding = threading.Thread(
        target=lambda: found.append(hold(server, "wepppy", locked=True, superuser=True))
    )
    holding.start()
    with server.connect("postgres") as looking:
        while not value(looking, "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'ShareLock'"):
            pass
    execute(live, "COMMIT")
    holding.join(10)
    with found[0].session as session:
        assert value(session, "SELECT count(*) FROM public.t") == 2


def test_large_objects_can_be_read_until_the_last_look_which_keeps_them(
    server: Server, live: Session
) -> None:
    execute(live, "SELECT lo_from_bytea(4711, 'abc')")
    one = hold(server, "wepppy", locked=True, superuser=True)
    assert value(live, "SELECT lo_get(4711)") == b"abc"
    one.check(last=True)
    with waiting(server, "SELECT lo_put(4711, 0, 'x')") as thread:
        assert thread.is_alive()
        with pytest.raises(Problem, match="waits to write"):
            one.check()
        one.session.close()


@pytest.mark.parametrize(
    "statement", ["SELECT lo_put(4711, 0, 'x')", "SELECT lo_unlink(4711)", "SELECT lo_create(0)"]
)
def test_a_large_object_that_was_changed_is_noticed(server: Server, live: Session, statement: str) -> None:
    execute(live, "SELECT lo_from_bytea(4711, 'abc')")
    one = hold(server, "wepppy", locked=True, superuser=True)
    execute(live, statement)
    with pytest.raises(Problem, match="written during the move"):
        one.check(last=True)
    one.session.close()


@pytest.mark.parametrize(
    "statement", ["SELECT lo_from_bytea(0, 'x')", "SELECT lo_create(0)", "CREATE TABLE later (id int)"]
)
def test_who_has_not_ended_a_transaction_that_writes_is_named(
    server: Server, live: Session, held: Held, statement: str
) -> None:
    execute(live, f"BEGIN; {statement}")
    with pytest.raises(Problem, match=r"wepp-backup of wepppy .*idle in transaction"):
        held.check(last=True)
    execute(live, "ROLLBACK")


def test_a_lost_session_is_no_silence(held: Held, live: Session) -> None:
    live.execute("SELECT pg_terminate_backend(%s, 5000)", [held.session.info.backend_pid])
    with pytest.raises(Problem, match="was lost") as told:
        held.check()
    assert told.value.exit_code == FAILED


def test_without_the_lock_writers_go_on_but_tables_are_not_emptied(server: Server, live: Session) -> None:
    loose = hold(server, "wepppy", locked=False, superuser=True)
    execute(live, "INSERT INTO t VALUES (2)")
    with waiting(server, "TRUNCATE t") as thread:
        assert thread.is_alive()
        assert value(loose.session, "SELECT count(*) FROM public.t") == 1
        loose.check()
        loose.session.close()


def test_the_inventory_tells_size_extensions_roles_and_what_a_user_may_not_do(
    server: Server, live: Session
) -> None:
    execute(
        live,
        "CREATE ROLE maker CREATEDB CONNECTION LIMIT 3; CREATE ROLE reader LOGIN; CREATE ROLE granted IN ROLE reader;"
        "ALTER TABLE t OWNER TO maker; GRANT SELECT ON t TO granted; CREATE EXTENSION pg_trgm;"
        "CREATE TABLE hidden (id int)",
    )
    try:
        found = look(live)
        assert rows(live, ROLES) == [
            ("granted", "CONNECTION LIMIT -1", ["reader"]),
            ("maker", "CREATEDB CONNECTION LIMIT 3", []),
            ("wepppy", "SUPERUSER CREATEROLE CREATEDB REPLICATION BYPASSRLS CONNECTION LIMIT -1", []),
        ]
        assert tuple(found[each] for each in ("tables", "prepared", "standby")) == (2, 0, False)
        assert found["extensions"][0]["name"] == "pg_trgm"
        assert (column(live, LACKING, READ), column(live, LACKING, LOCK)) == ([], [])
        execute(live, "GRANT SELECT ON t TO reader")
        with Server(server.host, server.port, "reader").connect("wepppy") as reader:
            assert column(reader, LACKING, READ) == ["public.hidden", "public.s"]
            assert column(reader, LACKING, LOCK) == ["public.hidden", "public.t"]
    finally:
        execute(live, "DROP TABLE t, hidden; DROP ROLE maker; DROP ROLE granted; DROP ROLE reader")
