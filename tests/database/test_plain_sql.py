"""Dumps of every form and option are restored as they were; what no dump needs is refused before it runs."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.database.stack import LightStack
from tests.database.test_refusals import nothing_changes, refused

# Hashes as the sample's own, defaults and remarks that look like quotes or commands, and one of each thing whose
# definition holds semicolons.
CONTENT = r"""
CREATE TABLE zoo_account (id int PRIMARY KEY, hash text NOT NULL, a text DEFAULT '$eur$', b text DEFAULT '$$');
COMMENT ON TABLE zoo_account IS E'first\n\\! touch /tmp/was-run\nCREATE DATABASE x;\n\\connect x';
CREATE FUNCTION zoo_two(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC
  SELECT 1; SELECT CASE WHEN a > 0 THEN 1 ELSE 2 END; END;
CREATE FUNCTION zoo_text() RETURNS text LANGUAGE sql AS $_$ SELECT '$a$; \! true'; $_$;
CREATE TABLE zoo_log (id int);
CREATE RULE zoo_rule AS ON UPDATE TO zoo_account DO ALSO (INSERT INTO zoo_log VALUES (1); SELECT 2);
"""
ROWS = r"""
DELETE FROM zoo_account;
INSERT INTO zoo_account SELECT n, 'pbkdf2:sha256:600000$salt$' || md5(n::text) FROM generate_series(1, 200) n;
INSERT INTO zoo_account VALUES (500, '$2b$12$abcdefghijklmnopqrstuv');
INSERT INTO zoo_account VALUES (501, E'\n\\! touch /tmp/was-run\nCREATE DATABASE x;\n');
"""
GONE = "DROP TABLE zoo_account, zoo_log CASCADE; DROP FUNCTION zoo_two, zoo_text"
HEAD = "--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version 17.0\n\n"
END = "\n--\n-- PostgreSQL database dump complete\n--\n\n"


@pytest.fixture(scope="module", autouse=True)
def zoo(light: LightStack) -> Iterator[None]:
    light.wait_until_idle()
    light.psql(CONTENT + ROWS)
    yield
    light.psql(GONE)


def made(stack: LightStack, name: str, *options: str) -> Path:
    """A dump that the tests may write over; nothing lies beside it."""
    stack.psql(ROWS)
    stack.in_sidecar("rm", "-rf", f"/backups/{name}")
    path = stack.dump(name, *options)
    path.with_name(f"{name}.sha256").unlink(missing_ok=True)
    stack.in_sidecar("chmod", "-R", "a+rwX", f"/backups/{name}")
    return path


def restored(stack: LightStack, path: Path) -> None:
    before, definitions = stack.content(), stack.definitions()
    told = json.loads(stack.must("db-verify", f"--dump={path}", "--json"))
    assert told["rows"] is None or told["rows"] >= 202
    stack.psql("DELETE FROM zoo_account")
    stack.must("db-restore", f"--dump={path}", "--yes")
    assert stack.content() == before
    assert stack.definitions() == definitions


SOME = [
    ("-Fp", "--inserts"),
    ("-Fp", "--create", "--clean", "--if-exists"),
    ("-Fc", "-n", "public"),
    ("-Ft",),
]
OTHERS = [
    ("-Fp",), ("-Fp", "--rows-per-insert=50"), ("-Fp", "--clean"), ("-Fp", "--create"), ("-Fp", "-n", "public"),
    ("-Fp", "-n", "public", "--clean"), ("-Fc", "--clean"), ("-Fc", "--create"), ("-Fc", "--inserts"),
    ("-Fd", "-Z", "lz4"),
]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [*SOME, *(pytest.param(each, marks=pytest.mark.full) for each in OTHERS)],
    ids=" ".join,
)
def test_a_dump_of_any_option_is_restored_as_it_was(options: tuple[str, ...], stack: LightStack) -> None:
    restored(stack, made(stack, "zoo-any", *options))


@pytest.mark.parametrize(
    "form", ["-Fc", *(pytest.param(each, marks=pytest.mark.full) for each in ("-Ft", "-Fp"))]
)
def test_a_dump_that_was_compressed_twice_afterwards_is_restored(form: str, stack: LightStack) -> None:
    path = made(stack, "zoo-twice", form)
    path.write_bytes(gzip.compress(gzip.compress(path.read_bytes())))
    assert json.loads(stack.must("db-verify", f"--dump={path}", "--json"))["compression"] == "gzip, gzip"
    restored(stack, path)


def test_plain_sql_that_came_through_a_terminal_is_restored(stack: LightStack) -> None:
    path = made(stack, "zoo-lines.sql", "-Fp")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    restored(stack, path)


def test_an_archive_that_came_through_a_terminal_is_refused(stack: LightStack) -> None:
    path = made(stack, "zoo-terminal", "-Fc")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    for task in (("db-verify",), ("db-verify", "--drill"), ("db-restore", "--yes")):
        with nothing_changes(stack):
            done = stack.task(task[0], f"--dump={path}", *task[1:])
        assert done.returncode == 4, done.stderr
        assert "dump it without -t" in done.stderr


@pytest.mark.parametrize("packing", ["none", "gzip", "lz4", "zstd"])
def test_a_directory_with_a_table_that_was_cut_is_refused(packing: str, stack: LightStack) -> None:
    path = made(stack, f"zoo-{packing}", "-Fd", "-Z", packing)
    table = max(
        (each for each in path.glob("*.dat*") if each.name != "toc.dat"), key=lambda each: each.stat().st_size
    )
    table.write_bytes(table.read_bytes()[: table.stat().st_size // 2])
    assert "damaged" in refused(stack, path)
    assert stack.task("db-verify", f"--dump={path}").returncode == 4


@pytest.mark.parametrize(
    "text",
    [
        "SELECT '$a$';\n\\! touch /tmp/was-run\nSELECT '$a$';",
        "SELECT 1 \\g |touch /tmp/was-run\n;",
        "\\connect postgres",
        "\\i /etc/passwd",
        "CREATE TABLE t (a text);\nCOPY t (a) FROM PROGRAM 'touch /tmp/was-run';",
        "CREATE ROLE zoo_role SUPERUSER;",
    ],
)
def test_a_command_in_plain_sql_is_refused_before_anything_runs(text: str, stack: LightStack) -> None:
    path = stack.backups / "zoo-command.sql"
    path.write_text(f"{HEAD}CREATE TABLE first (id int);\n{text}\n{END}")
    said = refused(stack, path)
    assert "line 8" in said or "line 9" in said
    assert stack.task("db-verify", f"--dump={path}").returncode == 4
    for service in ("postgres", "postgres-backup"):
        stack.docker("exec", stack.container(service), "test", "!", "-e", "/tmp/was-run")
