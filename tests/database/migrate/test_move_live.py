"""Live moves: nothing that was acknowledged is lost, preconditions are told at once, and slots never stay behind."""

from __future__ import annotations

import re
import threading

import pytest

from tests.database.migrate.bare import BareServer, docker
from tests.database.migrate.target import MAY_BE_MOVED, READ_ONLY, Moving, Target, flags, open_again
from tests.database.stack import CONTENT

pytestmark = pytest.mark.timeout(300, func_only=True)


class Writer:
    """A client of the source that writes without pause until it is shut out, and knows what was acknowledged."""

    SQL = """
        INSERT INTO run (name, slope, made) VALUES ('written ' || clock_timestamp(), 1, now()) RETURNING id;
        UPDATE run SET slope = slope + 1 WHERE id = 1 + (random() * 4000)::int;
        DELETE FROM flow WHERE (day, site) IN (SELECT day, site FROM flow LIMIT 1);
        INSERT INTO flow SELECT date '2030-01-01' + (random() * 9999)::int, 7 ON CONFLICT DO NOTHING;
        SELECT nextval('"Counter"') IS NULL;
    """

    def __init__(self, server: BareServer, database: str) -> None:
        self.server, self.database = server, database
        self.acknowledged: set[str] = set()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        # Many statements in one session, each a transaction of its own; a session that is ended ends the loop.
        for _ in range(10_000):
            told = docker(
                "exec", "-i", self.server.name, "/usr/lib/postgresql/15/bin/psql", "-XqAt", "-h", "/sockets",
                "-p", str(self.server.port), "-U", "nobody", "-d", self.database, stdin=self.SQL * 200, check=False,
            )  # fmt: skip
            lines = {line for line in told.split() if line.isdigit()}
            if not lines:
                return
            self.acknowledged |= lines

    def wait(self) -> None:
        """Returns when it was shut out."""
        self._thread.join(60)
        assert not self._thread.is_alive()


def test_under_a_writing_load_nothing_that_was_acknowledged_is_lost(
    target: Target, localhost_only: BareServer, moving: str
) -> None:
    # What an application may have been given, and what opens a source that is only set to be read-only.
    localhost_only.psql("ALTER ROLE nobody SET default_transaction_read_only = off")
    writer = Writer(localhost_only, moving)
    task = Moving(target, *flags(localhost_only, moving, "password"), "--yes", "--live")
    try:
        assert task.wait() == 0, task.output
    finally:
        localhost_only.psql("ALTER ROLE nobody RESET default_transaction_read_only")
    assert "give up on the move while it loads (max_slot_wal_keep_size = 64GB)" in task.output
    writer.wait()
    assert len(writer.acknowledged) > 100
    there = set(target.psql("SELECT id FROM run").split())
    assert writer.acknowledged <= there
    # The source is shut, so the two can be compared at leisure; only its stale materialised views differ.
    same = "flow_by_day", "wettest"
    for sql in (f"REFRESH MATERIALIZED VIEW {name}" for name in same):
        alone = "SET default_transaction_read_only = off; SET session_replication_role = replica"
        localhost_only.psql(f"{alone}; {sql}", moving)
        target.psql(f"SET event_triggers = off; {sql}")
    # A sequence is no row: whoever has switched read-only off goes on to draw numbers for rows that are refused.
    here, expected = (
        [line for line in text.splitlines() if "ddl_log" not in line and not re.search(r"\|\d+\|[tf]$", line)]
        for text in (target.content(), localhost_only.psql(CONTENT, moving))
    )
    assert here == expected
    assert localhost_only.psql(READ_ONLY) == "1\n"
    late = "BEGIN READ WRITE; UPDATE run SET slope = 0 RETURNING id; COMMIT"
    assert localhost_only.psql(late, moving, check=False) == ""
    (opening,) = re.findall(r"BEGIN READ WRITE; DROP SCHEMA .*?COMMIT;", task.output)[:1]
    assert "RESET default_transaction_read_only" in opening
    localhost_only.psql(opening, moving)
    localhost_only.psql("UPDATE run SET slope = 0", moving)
    target.wait_until_clean(localhost_only)
    assert target.psql("SELECT count(*) FROM pg_subscription") == "0\n"


def test_everything_that_stands_in_the_way_is_told_at_once_with_its_fix(
    target: Target, socket_only: BareServer
) -> None:
    socket_only.create("moving", "holdings.sql", "large_objects.sql")
    socket_only.psql(
        "CREATE TABLE nokey (a int); CREATE UNLOGGED TABLE fleeting (a int PRIMARY KEY); "
        "CREATE TABLE later (a int PRIMARY KEY DEFERRABLE); CREATE TABLE whole (a json); "
        "ALTER TABLE whole REPLICA IDENTITY FULL",
        "moving",
    )
    try:
        named = flags(socket_only, "moving", "peer")
        done = target.invoke("bare-metal-migrate", *named, "--live", "--dry-run", check=False)
    finally:
        socket_only.drop("moving")
    assert done.returncode == 4
    for words in ("wal_level is replica", "public.nokey", "large objects", "public.fleeting", "SET wal_level = logical",
                  "public.later", "public.whole.a (json)",
                  "REPLICA IDENTITY FULL"):  # fmt: skip
        assert words in done.stderr, (words, done.stderr)


def test_a_schema_change_meanwhile_is_refused_and_the_source_is_as_before(
    target: Target, localhost_only: BareServer, moving: str
) -> None:
    task = Moving(target, *flags(localhost_only, moving, "peer"), "--yes", "--live")
    task.wait_for("dumping")
    localhost_only.psql("CREATE TABLE later (id int PRIMARY KEY)", moving)
    assert task.wait() == 5, task.output
    assert "schema was changed" in task.output
    localhost_only.psql("INSERT INTO later VALUES (1)", moving)
    assert (localhost_only.leftovers(), target.leftovers()) == ("", [])
    assert target.names() == (["wepppy"], ["wepppy"])


@pytest.mark.parametrize(
    ("live", "moment"),
    [
        ("", "dumping"), ("", "loading"), ("", "comparing"),
        ("--live", "dumping"), ("--live", "loading"), ("--live", "following"), ("--live", "switching over"),
    ],
)  # fmt: skip
def test_a_killed_task_leaves_nothing_on_either_side(
    target: Target, localhost_only: BareServer, moving: str, live: str, moment: str
) -> None:
    task = Moving(target, *flags(localhost_only, moving, "peer"), "--yes", *filter(None, [live]))
    task.wait_for(moment)
    task.process.kill()
    task.process.wait()
    target.wait_until_clean(localhost_only)
    swapped = target.psql("SELECT count(*) FROM pg_tables WHERE tablename = 'run'") == "1\n"
    if swapped:
        assert moment in MAY_BE_MOVED
        assert target.psql("SELECT count(*) FROM run") == "5000\n"
        open_again(localhost_only, moving)
    else:
        assert target.names() == (["wepppy"], ["wepppy"])
        assert target.psql("SELECT id FROM before") == "1\n"
        localhost_only.psql("INSERT INTO ddl_log (tag) VALUES ('the source can be written')", moving)
    # And the next one works.
    target.invoke(
        "bare-metal-migrate", *flags(localhost_only, moving, "peer"), "--yes", *filter(None, [live])
    )
    assert target.psql("SELECT count(*) FROM run") == "5000\n"
