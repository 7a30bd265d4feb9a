"""What the plan of a live migration refuses."""

from __future__ import annotations

import pytest
from wepp_backup.server import Server, Session, execute
from wepp_backup.staging import Lock

from tests.backup.live import obstacles

pytestmark = pytest.mark.usefixtures("before")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("CREATE TABLE t (a int)", "cannot tell the rows of these tables apart"),
        ("CREATE TABLE t (a int PRIMARY KEY); ALTER TABLE t REPLICA IDENTITY NOTHING", "cannot tell the rows"),
        ("CREATE TABLE t (a int PRIMARY KEY DEFERRABLE)", "not DEFERRABLE"),
        ("CREATE TABLE t (a int NOT NULL UNIQUE, b int PRIMARY KEY); ALTER TABLE t REPLICA IDENTITY USING INDEX "
         "t_a_key; ALTER TABLE t DROP CONSTRAINT t_a_key", "cannot tell the rows"),
        ("CREATE TABLE t (a json); ALTER TABLE t REPLICA IDENTITY FULL", "t.a (json)"),
        ("CREATE TABLE t (a int, b point[]); ALTER TABLE t REPLICA IDENTITY FULL", "t.b (point[])"),
        ("CREATE TABLE t (a xml, k int PRIMARY KEY DEFERRABLE); ALTER TABLE t REPLICA IDENTITY FULL", "t.a (xml)"),
        ("CREATE TYPE pair AS (a int, b json); CREATE TABLE t (a pair); ALTER TABLE t REPLICA IDENTITY FULL", "pair"),
        ("CREATE TABLE t (a int, g int GENERATED ALWAYS AS (a) STORED PRIMARY KEY)", "generated columns"),
        ("CREATE UNLOGGED TABLE t (a int PRIMARY KEY)", "unlogged"),
        ("CREATE TABLE t (a int PRIMARY KEY); CREATE TRIGGER x BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION "
         "suppress_redundant_updates_trigger(); ALTER TABLE t ENABLE ALWAYS TRIGGER x", "fire a second time"),
        ("SELECT lo_create(0)", "large objects"),
        ("DROP EXTENSION plpgsql", "has no plpgsql"),
        ("CREATE ROLE app LOGIN; CREATE TABLE t (a int PRIMARY KEY)", ""),
    ],
)  # fmt: skip
def test_what_either_server_would_refuse_later_is_refused_in_the_plan(
    source: Session, source_server: Server, lock: Lock, statement: str, words: str
) -> None:
    execute(source, statement)
    found = obstacles(source_server, lock)
    assert len(found) == (1 if words else 0), found
    assert words in "".join(found)


def test_a_user_who_may_not_replicate_or_owns_nothing_is_refused(
    source: Session, source_server: Server, lock: Lock
) -> None:
    execute(source, "CREATE ROLE app LOGIN; CREATE TABLE t (a int PRIMARY KEY)")
    found = " ".join(obstacles(Server(source_server.host, source_server.port, "app"), lock))
    for words in ("may not open replication sessions", "does not own the database", "does not own public.t"):
        assert words in found
