"""Backups and restores that meet: both end well, and each leaves whole what the other works with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.database.running import Running
from tests.database.sidecar import SIDECAR, dumps, health, sidecar, until
from tests.database.stack import LightStack

# Long enough to be met in the middle; what marks the live database is in no dump that is restored here.
LONG = "CREATE TABLE long AS SELECT n, repeat(md5(n::text), 20) AS word FROM generate_series(1, 400000) n"


@pytest.fixture
def wanted(stack: LightStack) -> Iterator[str]:
    """What the dump `wanted.dump` brings back; the live database holds a table more."""
    stack.dump("wanted.dump")
    before = stack.content()
    stack.psql(LONG)
    yield before
    stack.psql("DROP TABLE IF EXISTS long")


@contextmanager
def held_up(stack: LightStack, container: str) -> Iterator[None]:
    """Nothing in the container goes on meanwhile; the server has to do without it."""
    stack.docker("pause", container)
    try:
        yield
    finally:
        stack.docker("unpause", container)


@contextmanager
def without_the_service(stack: LightStack) -> Iterator[None]:
    """The backup service is stopped meanwhile: each task has a container of its own, which can be held up alone."""
    service = stack.container(SIDECAR)
    stack.docker("stop", service)
    try:
        yield
    finally:
        stack.docker("start", service)


def rows(stack: LightStack, table: str, backup: Path) -> int:
    """Rows of a table in a backup, which is verified and can be restored."""
    stack.must("db-verify", f"--dump={backup}", "--drill")
    tables: dict[str, int] = json.loads(Path(f"{backup}.json").read_text())["tables"]
    return tables.get(table, 0)


def test_a_backup_that_is_asked_for_while_a_restore_loads_is_one_of_the_live_database(
    stack: LightStack, wanted: str
) -> None:
    stack.dump("long.dump")
    restore = Running(stack, "db-restore", "--dump=long.dump", "--yes")
    until(lambda: [name for name in stack.databases() if "_incoming_" in name], "the load")
    stack.psql("DELETE FROM long WHERE n > 100")
    made = json.loads(stack.must("db-backup", "--json"))
    assert restore.wait() == 0, restore.output
    assert rows(stack, "public.long", stack.backups / made["name"]) in (100, 400000)
    assert stack.psql("SELECT count(*) FROM long") == "400000\n"
    assert stack.left_behind() == []


def test_a_backup_in_whose_middle_the_database_is_switched_over_is_made_of_the_new_one(
    stack: LightStack, wanted: str
) -> None:
    before = set(dumps(stack.backups))
    with without_the_service(stack):
        backup = Running(stack, "db-backup")
        (container,) = until(stack.one_offs, "its container")
        until(lambda: list(stack.backups.glob(".*.dump.partial")), "the dump in the making")
        with held_up(stack, container):
            stack.must("db-restore", "--dump=wanted.dump", "--yes")
        assert backup.wait() == 0, backup.output
    assert "beginning anew" in backup.output
    (name,) = set(dumps(stack.backups)) - before
    assert stack.content() == wanted
    assert rows(stack, "public.long", stack.backups / name) == 0
    assert stack.left_behind() == []


def test_a_scheduled_backup_in_whose_middle_the_database_is_switched_over_fails_for_nobody(
    stack: LightStack, wanted: str, folder: Path
) -> None:
    with sidecar(stack, "keeping", folder, BACKUP_INTERVAL_SECONDS=3600) as container:
        until(lambda: list(folder.glob(".*.dump.partial")), "the dump in the making")
        with held_up(stack, container):
            stack.must("db-restore", "--dump=wanted.dump", "--yes")
        (name,) = until(lambda: dumps(folder), "the backup")
        until(lambda: health(container)[0] == 0, "health")
        said = stack.docker("logs", container)
        assert "beginning anew" in said
        assert "error" not in said
    assert stack.content() == wanted
    assert rows(stack, "public.long", folder / name) == 0
    assert stack.left_behind() == []
