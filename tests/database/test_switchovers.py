"""Switchovers under load: nobody is stopped, nobody is away for long, and what does not work goes back by itself."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.database.running import Running
from tests.database.sidecar import SIDECAR, until
from tests.database.stack import LightStack
from tests.engine.stack import ROOT

# Four writers, each of which connects anew every 5 ms; told at the end: how often each wrote, its longest gap in
# seconds, and how often it was turned away. Runs in the application's container, as the application would.
WRITERS = r"""
import json, os, sys, threading, time
import psycopg
password = open(os.environ["POSTGRES_PASSWORD_FILE"]).read().strip()
ended, told = threading.Event(), []
def write(number):
    written = failed = 0
    last, longest = time.monotonic(), 0.0
    while not ended.is_set():
        try:
            session = psycopg.connect(host=os.environ["POSTGRES_HOST"], user="wepppy", dbname="wepppy",
                                       password=password, application_name="writer")
            try:
                with session, session.cursor() as cursor:
                    cursor.execute("INSERT INTO tick VALUES (%s)", [number])
            finally:
                session.close()
            written += 1
            now = time.monotonic()
            last, longest = now, max(longest, now - last)
        except psycopg.Error:
            failed += 1
        time.sleep(0.005)
    told.append({"written": written, "failed": failed, "longest": longest})
writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
for each in writers:
    each.start()
print("writing", flush=True)
sys.stdin.read()
ended.set()
for each in writers:
    each.join()
print(json.dumps(told))
"""


@dataclass
class Written:
    """What the writers told at their end."""

    writers: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def writers(stack: LightStack) -> Iterator[Written]:
    """Let the writers write while the block runs."""
    command = ["docker", "exec", "-i", stack.container("weppcloud"), "/opt/venv/bin/python", "-c", WRITERS]
    found = Written()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "writing\n"
        try:
            yield found
        finally:
            told, _ = process.communicate()
            found.writers += json.loads(told)


# Writers hardly leave a processor to the restores.
@pytest.mark.parametrize("restores", [4, pytest.param(20, marks=pytest.mark.full)])
def test_nobody_is_stopped_through_restores_and_writers_that_reconnect_are_let_in_again(
    restores: int, stack: LightStack, record_property: Callable[[str, object], None]
) -> None:
    stack.psql("CREATE TABLE tick (writer int); GRANT ALL ON tick TO PUBLIC")
    stack.dump("ticking.dump")
    before, away = stack.started(), []
    with writers(stack) as found:
        for number in range(restores):
            told = json.loads(stack.must("db-restore", "--dump=ticking.dump", "--yes", "--json"))
            away.append(told["seconds"]["downtime"])
            # Whoever writes now writes into the new database.
            until(lambda: stack.psql("SELECT count(*) FROM tick") != "0\n", f"a row after restore {number}")
            stack.drop_kept()
    assert stack.started() == before
    assert stack.down() == []
    assert stack.left_behind() == []
    assert len(found.writers) == 4
    for each in found.writers:
        assert each["written"] > restores
    record_property(
        f"{restores} restores",
        f"nobody let in for {min(away):.3f} to {max(away):.3f} s, the longest gap of a writer "
        f"{max(each['longest'] for each in found.writers):.3f} s, "
        f"{sum(each['written'] for each in found.writers)} rows written, "
        f"{sum(each['failed'] for each in found.writers)} attempts turned away",
    )
    stack.psql("DROP TABLE tick")


def test_an_application_that_does_not_work_with_it_has_the_database_from_before_again(
    stack: LightStack,
) -> None:
    before, started = stack.content(), stack.started()
    stack.psql("ALTER TABLE run RENAME name TO elsewhere")
    stack.dump("broken.dump")
    stack.psql("ALTER TABLE run RENAME elsewhere TO name")
    done = stack.task("db-restore", "--dump=broken.dump", "--yes", "--json")
    assert done.returncode == 5, done.stderr
    error = json.loads(done.stdout)["error"]
    assert "the database from before is live again" in error["what"]
    assert "weppcloud" in error["what"]
    assert error["tried"] in stack.databases()
    assert stack.content() == before
    assert (stack.started(), stack.down()) == (started, [])
    assert stack.left_behind() == []


def revision(stack: LightStack, name: str = "") -> str:
    """Revision of the live schema, changed to `name` unless that is empty."""
    if name:
        stack.psql(f"UPDATE alembic_version SET version_num = '{name}'")  # noqa: S608 - the test's own word
    return stack.psql("SELECT version_num FROM alembic_version").strip()


def test_the_schema_is_brought_up_to_date_beside_and_never_in_the_live_database(stack: LightStack) -> None:
    newest = revision(stack)
    stack.dump("known.dump")
    # Whoever upgraded the live one would not find its revision.
    revision(stack, "not in the tree")
    stack.must("db-restore", "--dump=known.dump", "--yes")
    assert revision(stack) == newest


def test_a_schema_that_the_tree_does_not_know_is_never_live(stack: LightStack) -> None:
    newest = revision(stack)
    revision(stack, "not in the tree")
    stack.dump("unknown.dump")
    revision(stack, newest)
    before, started = stack.content(), stack.started()
    done = stack.task("db-restore", "--dump=unknown.dump", "--yes")
    assert done.returncode == 5, done.stderr
    assert "nothing was switched over" in done.stderr
    assert (stack.content(), stack.started()) == (before, started)
    assert stack.left_behind() == []


def test_quiesce_stops_the_writers_for_the_switchover_alone(stack: LightStack) -> None:
    stack.dump("quiet.dump")
    before = stack.started()
    stack.must("db-restore", "--dump=quiet.dump", "--yes", "--quiesce")
    now = stack.started()
    assert {name for name in before if now[name] != before[name]} == {stack.container("weppcloud")}
    assert stack.down() == []
    assert stack.left_behind() == []


def test_writers_that_a_killed_task_left_stopped_are_started_by_the_next_one(stack: LightStack) -> None:
    stack.dump("quiet.dump")
    task = Running(stack, "db-restore", "--dump=quiet.dump", "--yes", "--quiesce")
    until(lambda: "weppcloud" in "".join(stack.down()), "the stop")
    task.process.kill()
    task.wait()
    until(lambda: not stack.programs(), "the end of the program")
    stack.must("db-prune", "--dry-run")
    until(lambda: not stack.down(), "the application")
    assert stack.left_behind() == []


def test_a_backup_container_that_dies_during_the_load_fails_the_task_and_changes_nothing(
    stack: LightStack,
) -> None:
    stack.psql(
        "CREATE TABLE long AS SELECT n, repeat(md5(n::text), 20) AS word FROM generate_series(1, 300000) n"
    )
    try:
        stack.dump("long.dump")
        before = stack.content()
        task = Running(stack, "db-restore", "--dump=long.dump", "--yes")
        until(lambda: [name for name in stack.databases() if "_incoming_" in name], "the load")
        stack.docker("kill", stack.container(SIDECAR))
        assert task.wait() == 5, task.output
        assert "without an answer" in task.output
        assert "Traceback" not in task.output
        assert stack.content() == before
    finally:
        stack.docker("start", stack.container(SIDECAR))
    # The next task removes what the killed one could not.
    stack.must("db-restore", "--dump=long.dump", "--yes")
    assert stack.left_behind() == []
    stack.psql("DROP TABLE long")


def test_a_report_that_cannot_be_written_says_what_is_live(stack: LightStack) -> None:
    stack.dump("told.dump")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            ["invoke", "db-restore", "--dump=told.dump", "--yes", "--json"], cwd=ROOT, env=stack.task_environment,
            stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True, timeout=300, check=False,
        )  # fmt: skip
    assert done.returncode == 5, done.stderr
    assert "the new wepppy is live now" in done.stderr
    assert "Traceback" not in done.stderr
