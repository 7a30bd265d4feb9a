"""Live migrations as tasks run them: a source that is killed, and a schema of another revision than the stack's."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from wepp_backup.server import Server, Session, execute

from tests.backup.conftest import SOURCE, start
from tests.backup.live import LEFTOVERS
from tests.backup.migrating import Program, names, psql

TABLES = """
CREATE TABLE run (id int PRIMARY KEY, word text);
INSERT INTO run SELECT g, md5(g::text) FROM generate_series(1, 100000) g;
CREATE TABLE alembic_version (version_num text PRIMARY KEY); INSERT INTO alembic_version VALUES ('one');
"""
RESTART_SECONDS = 20.0


@pytest.fixture
def leaving(source_server: Server) -> Server:
    """The server with a database to move; the stack's is of another revision."""
    psql(source_server, f"DROP DATABASE IF EXISTS {SOURCE} WITH (FORCE)", "postgres")
    psql(source_server, f"CREATE DATABASE {SOURCE} TEMPLATE template0", "postgres")
    psql(source_server, TABLES, SOURCE)
    return source_server


@pytest.fixture(autouse=True)
def other_revision(live: Session) -> None:
    execute(live, "CREATE TABLE public.alembic_version (version_num text PRIMARY KEY)")
    execute(live, "INSERT INTO public.alembic_version VALUES ('two')")


@pytest.fixture
def begun(leaving: Server, server: Server, tmp_path: Path) -> Iterator[Program]:
    """A live migration whose plan was told."""
    program = Program(leaving, server, tmp_path, "--live", database=SOURCE)
    program.hear()
    yield program
    program.process.kill()
    program.process.wait()


def kill(server: Server) -> None:
    """Kill the server and start it again, as whatever looks after it does."""
    folder = Path(server.host)
    os.kill(int((folder / "data/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    until = time.monotonic() + RESTART_SECONDS
    while True:
        try:
            start(folder)
            return
        except (
            subprocess.CalledProcessError
        ):  # its memory is in use until the last of its processes has ended
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


@pytest.mark.parametrize("moment", ["dumping", "comparing", "following", "locked"])
def test_a_source_that_dies_leaves_the_old_database_live_and_keeps_nothing(
    server: Server, leaving: Server, begun: Program, tmp_path: Path, moment: str
) -> None:
    begun.say("go")
    if moment == "locked":
        begun.hear()
        begun.say("lock")
        begun.hear()
    else:
        begun.hear("progress", lambda event: event["phase"] == moment)
    kill(leaving)
    if moment == "locked":
        begun.say("switch")
    problem = begun.problem()
    assert problem["exit"] == 5, problem
    assert names(server) == ["postgres", "wepppy"]
    assert psql(server, "SELECT version_num FROM alembic_version") == "two\n"
    # What was not undone while it was away the next task undoes.
    Program(leaving, server, tmp_path, "--clean", database=SOURCE).hear("result")
    assert psql(leaving, LEFTOVERS, SOURCE) == ""
    psql(leaving, "INSERT INTO run VALUES (0, 'it can be written')", SOURCE)


def test_a_schema_of_another_revision_is_upgraded_once_the_source_is_locked(
    server: Server, leaving: Server, begun: Program
) -> None:
    begun.say("go")
    prepared = begun.hear()["prepared"]
    assert (prepared["revision"], prepared["live_revision"], prepared["upgrade"]) == ("one", "two", True)
    psql(leaving, "INSERT INTO run VALUES (0, 'before the lock')", SOURCE)
    begun.say("lock")
    begun.hear()
    refused: list[str] = []

    def write() -> None:
        with leaving.connect(SOURCE, application_name="late") as late:
            try:
                execute(late, "INSERT INTO public.run VALUES (-1, 'late')")
            except psycopg.Error as error:
                refused.append(str(error))

    writing = threading.Thread(target=write)
    writing.start()
    upgrade = "ALTER TABLE run ADD COLUMN more int DEFAULT 7; UPDATE alembic_version SET version_num = 'two'"
    psql(server, upgrade, prepared["staging"])
    assert refused == []
    begun.say("switch")
    begun.hear()
    begun.say("keep")
    phases = begun.hear("result")["answer"]["phases"]
    assert {*phases} == {"dump", "load", "compare", "follow", "cutover", "downtime"}
    assert phases["cutover"] >= phases["downtime"]
    writing.join()
    assert len(refused) == 1
    assert psql(server, "SELECT count(*), sum(more) FROM run WHERE id <= 0") == "1|7\n"
    assert psql(server, "SELECT count(*) FROM run") == "100001\n"
