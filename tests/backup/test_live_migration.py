"""Live migrations between two servers: nothing that was acknowledged is lost, and nobody's statements fail before."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import psycopg
import pytest
from wepp_backup.events import Reporter
from wepp_backup.row_counts import count
from wepp_backup.server import Server, Session, column, execute, rows, value
from wepp_backup.staging import Lock
from wepp_backup.switchover import switch_over

from tests.backup.conftest import DATABASE, SOURCE
from tests.backup.live import LEFTOVERS, TABLES, copied, migration, moved, obstacles

pytestmark = pytest.mark.usefixtures("before")


class Writer:
    """A client that reconnects for ever and knows what was acknowledged."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.acknowledged: list[int] = []
        self.refused: list[str] = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.write, daemon=True)
        self.thread.start()

    def write(self) -> None:
        number = 1000
        while not self.ended.is_set():
            try:
                with psycopg.connect(
                    host=self.server.host, user=self.server.user, dbname=SOURCE, autocommit=True
                ) as session:
                    session.execute(
                        "SET session_replication_role = replica; SET default_transaction_read_only = off"
                    )
                    while not self.ended.is_set():
                        number += 1
                        session.execute("BEGIN READ WRITE")
                        session.execute("INSERT INTO run VALUES (%s, 'written')", [number])
                        session.execute("UPDATE whole SET word = %s WHERE word <> 'b'", [str(number)])
                        session.execute(
                            "DELETE FROM flow WHERE (day, site) IN (SELECT day, site FROM flow LIMIT 1)"
                        )
                        session.execute("COMMIT")
                        self.acknowledged.append(number)
            except psycopg.Error as error:
                self.refused.append(str(error))

    def stop(self) -> None:
        self.ended.set()
        self.thread.join()


def test_under_load_nothing_that_was_acknowledged_is_lost_whatever_the_writer_sets(
    source: Session,
    source_server: Server,
    lock: Lock,
    report: Reporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    execute(source, TABLES)
    execute(source, f"ALTER ROLE {source_server.user} SET default_transaction_read_only = off")
    writer = Writer(source_server)
    try:
        while len(writer.acknowledged) < 20:
            time.sleep(0.01)
        equal, _ = moved(source_server, lock, report)
        before = len(writer.refused)
        while len(writer.refused) < before + 20:
            time.sleep(0.01)
    finally:
        writer.stop()
        execute(source, f"ALTER ROLE {source_server.user} RESET default_transaction_read_only")
    assert equal == "rows and hashes of every table, at the cutover"
    with lock.server.connect(DATABASE) as there:
        assert set(writer.acknowledged) <= set(column(there, "SELECT id FROM public.run"))
        assert count(there).tables == count(source).tables
    assert "closed to writes by a migration" in writer.refused[-1]


WRITES = {
    "a superuser's insert": "INSERT INTO run VALUES (5000, 'late')",
    "an update": "UPDATE run SET name = 'late' WHERE id = 1",
    "a delete": "DELETE FROM whole",
    "an insert through a partitioned table": "INSERT INTO flow VALUES ('2026-05-05', 1, 1)",
    "a truncation": "TRUNCATE flow",
    "an upsert": "INSERT INTO run VALUES (1, 'late') ON CONFLICT (id) DO UPDATE SET name = 'late'",
    "rows that are copied in": "COPY run FROM PROGRAM 'printf \"6000\tlate\\n\"'",
    "a new table": "CREATE TABLE late AS SELECT 1 AS one",
    "triggers switched off": "ALTER TABLE run DISABLE TRIGGER ALL",
}


def test_after_the_cutover_every_write_fails_at_the_source_until_it_is_opened(
    source: Session, source_server: Server, lock: Lock, report: Reporter
) -> None:
    execute(source, TABLES)
    with source_server.connect(SOURCE, application_name="app") as old:
        _, undo = moved(source_server, lock, report)
        with pytest.raises(psycopg.OperationalError):
            execute(old, "INSERT INTO public.run VALUES (5001, 'late')")
    with source_server.connect(SOURCE) as session:
        execute(session, "SET search_path = public; SET default_transaction_read_only = off")
        for role in ("origin", "replica", "local"):
            execute(session, f"SET session_replication_role = {role}")
            for name, statement in WRITES.items():
                with pytest.raises(psycopg.errors.ReadOnlySqlTransaction, match="closed to writes") as caught:
                    execute(session, statement)
                assert undo in str(caught.value.diag.message_hint), name
        execute(session, undo)
    with source_server.connect(SOURCE) as session:
        execute(session, "SET search_path = public; " + "; ".join(WRITES.values()))
        assert column(session, LEFTOVERS) == []


def test_the_copy_has_sequences_and_views_as_of_the_cutover(
    source: Session, source_server: Server, lock: Lock, report: Reporter
) -> None:
    execute(source, TABLES)

    def write() -> None:
        execute(
            source, "SELECT nextval('numbers'); INSERT INTO flow VALUES ('2026-06-06', 77, 5); TRUNCATE whole"
        )

    moved(source_server, lock, report, write)
    with lock.server.connect(DATABASE) as there:
        assert value(there, "SELECT nextval('public.numbers')") == 3
        assert value(there, "SELECT sum FROM public.per_site WHERE site = 77") == 5
        assert value(there, "SELECT count(*) FROM public.whole") == 0
        assert value(there, """INSERT INTO public."odd "" name" DEFAULT VALUES RETURNING id""") == 51


def test_a_forgotten_transaction_does_not_hold_up_the_cutover_and_loses_nothing_it_was_told(
    source: Session, source_server: Server, lock: Lock, report: Reporter
) -> None:
    execute(source, TABLES)
    with source_server.connect(SOURCE, application_name="app") as forgotten:

        def forget() -> None:
            execute(forgotten, "BEGIN; INSERT INTO public.run VALUES (9000, 'never committed')")

        moved(source_server, lock, report, forget)
        with pytest.raises(psycopg.OperationalError):
            execute(forgotten, "COMMIT")
    with lock.server.connect(DATABASE) as there:
        assert count(there).tables == count(source).tables
        assert value(there, "SELECT count(*) FROM public.run") == 1000


def test_an_owner_without_other_rights_can_migrate(
    source: Session, source_server: Server, lock: Lock, report: Reporter
) -> None:
    execute(source, f"CREATE ROLE owner LOGIN REPLICATION; ALTER DATABASE {SOURCE} OWNER TO owner; SET ROLE owner; "
                    f"CREATE SCHEMA own; SET search_path = own; {TABLES}; RESET ROLE")  # fmt: skip
    execute(lock.session, "DO $$BEGIN CREATE ROLE owner; EXCEPTION WHEN duplicate_object THEN END$$")
    owner = Server(source_server.host, source_server.port, "owner")
    assert obstacles(owner, lock) == []
    _, undo = moved(owner, lock, report)
    with owner.connect(SOURCE) as session:
        execute(session, "SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            execute(session, "DELETE FROM own.run")
        execute(session, undo)
        execute(session, "DELETE FROM own.run")


def test_the_password_is_in_no_catalog_and_no_log_and_its_file_goes(
    source: Session, source_server: Server, lock: Lock, report: Reporter, tmp_path: Path
) -> None:
    password = "it's a \\ secret: of 42"
    execute(source, TABLES)
    execute(source, "CREATE ROLE keyed SUPERUSER LOGIN PASSWORD " + "E'it''s a \\\\ secret: of 42'")
    rules = Path(source_server.host) / "data/pg_hba.conf"
    before = rules.read_text()
    rules.write_text("local all keyed scram-sha-256\nlocal replication keyed scram-sha-256\n" + before)
    passfile = tmp_path / "passfile"
    passfile.write_text("*:*:*:*:it's a \\\\ secret\\: of 42\n")
    passfile.chmod(0o600)
    execute(lock.session, "ALTER SYSTEM SET log_statement = 'all'; ")
    try:
        for each in (source, lock.session):
            execute(each, "SELECT pg_reload_conf()")
        keyed = Server(source_server.host, source_server.port, "keyed", str(passfile))
        with migration(keyed, lock, report) as live:
            staging = copied(keyed, lock, live.begin())
            live.follow(staging)
            told = value(lock.session, "SELECT subconninfo FROM pg_subscription")
            assert "secret" not in told
            assert Path(live.way.passfile).stat().st_mode & 0o077 == 0
            live.lock_source("")
            live.close_source()
            switch_over(lock, staging.name, about="")
            live.finished = True
        assert not Path(live.way.passfile).exists()
    finally:
        rules.write_text(before)
        execute(lock.session, "ALTER SYSTEM RESET log_statement")
        for each in (source, lock.session):
            execute(each, "SELECT pg_reload_conf()")
    log = (Path(lock.server.host) / "log").read_text()
    assert "CREATE SUBSCRIPTION" in log
    assert "secret" not in log
    assert "c2VjcmV0" not in log
    assert password not in log


def test_rows_found_by_a_key_need_no_types_that_can_be_compared(
    source: Session, source_server: Server, lock: Lock, report: Reporter
) -> None:
    execute(source, "CREATE TABLE t (k int PRIMARY KEY, a json, b point, c xml); ALTER TABLE t REPLICA IDENTITY FULL; "
                    "CREATE TABLE d (a int, u int UNIQUE DEFERRABLE INITIALLY DEFERRED, word text); "
                    "ALTER TABLE d REPLICA IDENTITY FULL; INSERT INTO d SELECT g, g, 'x' FROM generate_series(1, 9) g; "
                    "INSERT INTO t SELECT g, '{}', '(1,2)', '<a/>' FROM generate_series(1, 9) g")  # fmt: skip
    assert obstacles(source_server, lock) == []

    def write() -> None:
        execute(source, "UPDATE t SET a = '[1]', b = '(3,4)' WHERE k < 5; DELETE FROM t WHERE k > 7; "
                        "UPDATE d SET u = 10 - u; DELETE FROM d WHERE a = 3")  # fmt: skip

    moved(source_server, lock, report, write)
    ask = "SELECT md5(string_agg(r::text, ',' ORDER BY r::text)) FROM (SELECT * FROM {}) r"
    with lock.server.connect(DATABASE) as there:
        for table in ("public.t", "public.d"):
            assert rows(there, ask.format(table)) == rows(source, ask.format(table))
