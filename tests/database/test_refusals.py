"""What cannot be restored is refused with the reason, exit status 4, and nothing has changed."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.database.running import Running
from tests.database.stack import LightStack

SLOW = "CREATE TABLE slow AS SELECT n, repeat(md5(n::text), 20) AS word FROM generate_series(1, 300000) n"


@pytest.fixture(autouse=True, scope="module")
def good(light: LightStack) -> None:
    light.wait_until_idle()
    light.dump("good.dump")


@contextmanager
def nothing_changes(stack: LightStack) -> Iterator[None]:
    before, databases, roles = stack.content(), stack.databases(), stack.roles()
    started = stack.started()
    yield
    assert stack.started() == started
    assert stack.content() == before
    assert stack.databases() == databases
    assert stack.roles() == roles
    assert stack.left_behind() == []
    assert stack.down() == []


def refused(stack: LightStack, dump: object, *flags: str) -> str:
    """What the task says while it refuses the dump."""
    with nothing_changes(stack):
        done = stack.task("db-restore", f"--dump={dump}", "--yes", *flags)
    assert done.returncode == 4, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stderr


def test_an_empty_file_is_refused(stack: LightStack) -> None:
    path = stack.backups / "empty.dump"
    path.touch()
    assert "is empty" in refused(stack, path)


def test_a_folder_that_is_no_dump_is_refused(stack: LightStack) -> None:
    folder = stack.backups / "folder"
    folder.mkdir(exist_ok=True)
    assert "no dump of Postgres" in refused(stack, folder)


def test_a_text_that_is_no_dump_is_refused(stack: LightStack) -> None:
    path = stack.backups / "text.sql"
    path.write_text("DROP TABLE run;\n")
    assert "is not a dump of Postgres" in refused(stack, path)


def test_a_dump_that_is_not_there_is_refused(stack: LightStack) -> None:
    assert "there is no dump" in refused(stack, stack.backups / "missing.dump")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_dump_that_may_not_be_read_is_refused(stack: LightStack) -> None:
    path = stack.backups / "private.dump"
    path.write_bytes((stack.backups / "good.dump").read_bytes())
    path.chmod(0)
    assert "may not be read" in refused(stack, path)


def test_a_dump_that_the_sidecar_may_not_read_is_refused(stack: LightStack) -> None:
    stack.in_sidecar(
        "sh", "-c", "cp /backups/good.dump /backups/private.dump && chmod 0 /backups/private.dump"
    )
    assert "may not be read" in refused(stack, "private.dump")


def test_a_dump_of_another_database_is_refused(stack: LightStack) -> None:
    stack.psql("CREATE DATABASE other", "postgres")
    try:
        stack.dump("other.dump", "-Fc", "-d", "other")
        assert "of the database other" in refused(stack, "other.dump")
    finally:
        stack.psql("DROP DATABASE other", "postgres")


def test_an_archive_of_a_newer_version_is_refused(stack: LightStack) -> None:
    content = bytearray((stack.backups / "good.dump").read_bytes())
    content[6] += 9  # the minor of the archive's version, after PGDMP and the major
    path = stack.backups / "newer.dump"
    path.write_bytes(content)
    assert re.search(r"newer|version", refused(stack, path))


def test_a_missing_extension_is_refused(stack: LightStack) -> None:
    stack.in_sidecar("sh", "-c", "pg_dump -Fp >/backups/extension.sql")
    path = stack.backups / "extension.sql"
    text = path.read_text().replace(
        "SET default_tablespace", "CREATE EXTENSION no_such_extension;\nSET default_tablespace", 1
    )
    path.unlink()
    path.write_text(text)
    assert "no_such_extension" in refused(stack, path)


def test_a_missing_role_is_refused(stack: LightStack) -> None:
    stack.psql("CREATE ROLE leaves; CREATE TABLE owned (id int); ALTER TABLE owned OWNER TO leaves")
    try:
        stack.dump("role.dump")
    finally:
        stack.psql("DROP TABLE owned; DROP ROLE leaves")
    assert "leaves" in refused(stack, "role.dump")


def test_without_yes_and_without_anybody_to_ask_nothing_happens(stack: LightStack) -> None:
    with nothing_changes(stack):
        assert stack.task("db-restore", "--dump=good.dump").returncode == 4


def test_two_restores_at_once_do_not_meet(stack: LightStack) -> None:
    stack.psql(SLOW)
    stack.dump("slow.dump")
    first = Running(stack, "db-restore", "--dump=slow.dump", "--yes")
    first.wait_for_lines(2)
    second = stack.task("db-restore", "--dump=good.dump", "--yes")
    assert second.returncode == 4
    assert "another task" in second.stderr
    assert first.wait() == 0, first.output
    stack.psql("DROP TABLE slow")


def test_a_restore_during_a_dump_leaves_both_whole(stack: LightStack) -> None:
    stack.psql(SLOW)
    before = stack.content()
    stack.dump("slow.dump")
    dumping = threading.Thread(target=stack.dump, args=("beside.dump",))
    dumping.start()
    done = stack.task("db-restore", "--dump=slow.dump", "--yes")
    dumping.join()
    # The dump's session is foreign to the switchover: refused, or over by then.
    assert done.returncode in (0, 4), done.stderr
    assert stack.content() == before
    assert stack.left_behind() == []
    stack.must("db-verify", "--dump=beside.dump")
    stack.psql("DROP TABLE slow")


def test_a_name_with_blanks_and_quotes_is_restored(stack: LightStack) -> None:
    path = stack.backups / 'it\'s a "dump" $(of) mine.dump'
    path.write_bytes((stack.backups / "good.dump").read_bytes())
    stack.must("db-restore", f"--dump={path}", "--yes")
    elsewhere = stack.env_file.parent / "a folder" / path.name
    elsewhere.parent.mkdir(exist_ok=True)
    path.rename(elsewhere)
    stack.must("db-restore", f"--dump={elsewhere}", "--yes")


@contextmanager
def session(stack: LightStack, sql: str) -> Iterator[subprocess.Popen[str]]:
    """A foreign session in the database, which has said `sql` and stays."""
    command = [
        "docker",
        "exec",
        "-i",
        stack.container("postgres"),
        "psql",
        "-XqAt",
        "-U",
        "wepppy",
        "-d",
        "wepppy",
    ]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{sql};\nSELECT pg_backend_pid();\n")
    process.stdin.flush()
    assert process.stdout.readline().strip()
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_foreign_session_is_refused_and_ended_by_force(stack: LightStack) -> None:
    with session(stack, "BEGIN"):
        assert "psql" in refused(stack, "good.dump")
        stack.must("db-restore", "--dump=good.dump", "--yes", "--force")


def test_foreign_sessions_that_reconnect_in_a_loop_are_refused_and_ended_by_force(stack: LightStack) -> None:
    stop = threading.Event()

    def reconnect(seconds: int) -> None:
        while not stop.is_set():
            stack.docker(
                "exec", stack.container("postgres"), "psql", "-XqAt", "-U", "wepppy", "-d", "wepppy", "-c",
                f"SELECT pg_sleep({seconds})", check=False,
            )  # fmt: skip

    # Their lives do not end together: somebody is there at any moment.
    loops = [threading.Thread(target=reconnect, args=(seconds,)) for seconds in (20, 31)]
    for each in loops:
        each.start()
    try:
        time.sleep(1)
        refused(stack, "good.dump")
        stack.must("db-restore", "--dump=good.dump", "--yes", "--force")
    finally:
        stop.set()
        stack.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'",
            "postgres",
        )
        for each in loops:
            each.join()


def test_a_backend_that_hangs_is_told_of_and_the_application_goes_on(stack: LightStack) -> None:
    before = stack.content()
    with session(stack, "BEGIN"):
        number = stack.psql(
            "SELECT pid FROM pg_stat_activity WHERE state = 'idle in transaction' LIMIT 1", "postgres"
        ).strip()
        stack.docker("exec", stack.container("postgres"), "bash", "-c", f"kill -STOP {number}")
        try:
            started = stack.started()
            done = stack.task("db-restore", "--dump=good.dump", "--yes", "--force")
            assert done.returncode == 4, done.stderr
            assert "sessions that do not end hold wepppy" in done.stderr
            assert (stack.started(), stack.down()) == (started, [])
            assert stack.content() == before
        finally:
            stack.docker("exec", stack.container("postgres"), "bash", "-c", f"kill -CONT {number}")
    # DROP DATABASE too waits for every backend of the server: the next run removes what could not be removed.
    stack.must("db-restore", "--dump=good.dump", "--yes", "--force")
    assert stack.left_behind() == []


def test_what_was_written_before_the_switchover_is_live_again_after_a_rollback(stack: LightStack) -> None:
    stack.psql("CREATE TABLE written (id int); INSERT INTO written VALUES (1)")
    before = stack.content()
    stack.must("db-restore", "--dump=good.dump", "--yes")
    assert "written" not in stack.content()
    kept = next(name for name in stack.databases() if "_before_" in name)
    assert stack.content(kept) == before
    stack.must("db-rollback", "--yes")
    assert stack.content() == before
    stack.psql("DROP TABLE written")
