"""The backup sidecar on a real engine: the operators' commands, its schedule, a full disk."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.database.sidecar import SIDECAR, companions_of, dumps, health, saying, sidecar, until
from tests.database.stack import LightStack

DAY = 86400
# Bytes that nothing packs, a hundred megabytes of them.
BULK = """
CREATE TABLE bulk AS SELECT n, (SELECT string_agg(uuid_send(gen_random_uuid()), '') FROM generate_series(1, 64 + n % 2))
FROM generate_series(1, 100000) n
"""


def age(folder: Path, name: str, days: float) -> str:
    """Makes a finished backup so many days older, in its manifest and in its files' times; its name then."""
    then = time.time() - days * DAY
    moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime(then))
    manifest = json.loads((folder / f"{name}.json").read_text())
    aged = f"wepppy-{moment}.dump"
    manifest |= {"name": aged, "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(then))}
    (folder / f"{name}.json").write_text(json.dumps(manifest))
    for each in folder.glob(f"{name}*"):
        os.utime(each, (then, then))
        each.rename(folder / each.name.replace(name, aged))
    return aged


# ---- the operators' page, word for word ----


def test_the_latest_dumps_are_listed_as_the_operators_do(stack: LightStack) -> None:
    made = json.loads(stack.must("db-backup", "--json"))
    listed = stack.compose("exec", "-T", SIDECAR, "ls", "-l", "/backups").stdout
    assert made["name"] in listed


def test_a_dump_by_hand_lands_on_the_host_in_the_callers_ownership(stack: LightStack) -> None:
    line = (
        'pg_dump -h "$PGHOST" -U "$PGUSER" -d "$PGDATABASE" -Fc '
        '-f "/backups/wepppy-manual-$(date +%Y%m%d-%H%M%S).dump"'
    )
    before = set(dumps(stack.backups))
    stack.compose("run", "--rm", SIDECAR, "bash", "-lc", line)
    # The sidecar may make one of its own meanwhile.
    (name,) = (each for each in set(dumps(stack.backups)) - before if each.startswith("wepppy-manual-"))
    assert (stack.backups / name).stat().st_uid == int(stack.settings["UID"])
    stack.must("db-verify", f"--dump={name}")
    listed = json.loads(stack.must("db-backups", "--json"))["backups"]
    assert [each["verified"] for each in listed if each["name"] == name] == [False]


def test_both_schedule_variables_are_obeyed(stack: LightStack, folder: Path) -> None:
    with sidecar(stack, "first", folder, BACKUP_INTERVAL_SECONDS=3600):
        (first,) = until(lambda: dumps(folder), "the first backup")
        # The operators' own pg_restore is another user; the folder is closed to all others.
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / first).stat().st_mode & 0o777 == 0o644
        assert (folder / f"{first}.globals.sql").stat().st_mode & 0o777 == 0o600
    age(folder, first, 3)
    (folder / "wepppy-manual-20200101-000000.dump").touch()
    os.utime(folder / "wepppy-manual-20200101-000000.dump", (0, 0))
    (folder / "wepppy-before-the-upgrade.dump").touch()
    os.utime(folder / "wepppy-before-the-upgrade.dump", (0, 0))
    old = dumps(folder)[0]
    with sidecar(stack, "second", folder, BACKUP_INTERVAL_SECONDS=2, BACKUP_KEEP_DAYS=1) as container:
        # Pruning follows a backup: the new one is there a moment before the old ones are gone.
        until(lambda: not companions_of(folder, old, "wepppy-manual-"), "pruning")
        until(lambda: len(dumps(folder)) >= 4, "several backups")
        assert (folder / "wepppy-before-the-upgrade.dump").exists()
        # Young enough means two and a half seconds here, which a busy machine overruns now and then.
        until(lambda: health(container)[0] == 0, "health")


# ---- what goes wrong harms nothing ----


@pytest.fixture
def bulk(stack: LightStack) -> Iterator[None]:
    """A hundred megabytes in the database."""
    stack.psql(BULK)
    yield
    stack.psql("DROP TABLE bulk")


@pytest.fixture
def own_database(stack: LightStack) -> Iterator[str]:
    """A new, empty database at the stack's server."""
    stack.psql("CREATE DATABASE own TEMPLATE template0 OWNER wepppy", "postgres")
    yield "own"
    stack.psql("DROP DATABASE own WITH (FORCE)", "postgres")


def test_a_disk_that_becomes_full_leaves_nothing_and_is_told(stack: LightStack, own_database: str) -> None:
    # Alone in a database: what other tests left beside it would pack well, and be expected to need more room.
    stack.psql(BULK, own_database)
    volume = f"{stack.name}-small"
    owner = f"uid={stack.settings['UID']},gid={stack.settings['GID']}"
    # Room for what a database of that size most often packs to, and not for what this one does.
    stack.docker(
        "volume", "create", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", f"o=size=92m,{owner}", volume
    )  # fmt: skip
    try:
        with sidecar(stack, "full", volume, PGDATABASE=own_database) as container:
            status, words = saying(container, "failed")
            assert status != 0
            assert "is full" in words
            left = stack.docker("exec", container, "ls", "-A", "/backups").split()
            assert [name for name in left if "dump" in name] == []
    finally:
        stack.docker("volume", "rm", "--force", volume)


def test_a_new_stacks_first_backup_before_its_schema_is_soon_followed_by_one_with_it(
    stack: LightStack, folder: Path, own_database: str
) -> None:
    with sidecar(stack, "new", folder, PGDATABASE=own_database) as container:
        (first,) = until(lambda: dumps(folder), "the first backup")
        assert json.loads((folder / f"{first}.json").read_text())["tables"] == {}
        assert health(container)[0] == 0  # the stack's start does not wait for more
        stack.psql("CREATE TABLE alembic_version AS SELECT 'first'", own_database)
        (_, second) = until(lambda: len(dumps(folder)) > 1 and dumps(folder), "the backup with the schema")
        assert json.loads((folder / f"{second}.json").read_text())["rows"] == 1


@pytest.mark.usefixtures("bulk")
def test_a_sidecar_that_is_killed_while_it_dumps_leaves_the_earlier_backups_and_the_next_run_cleans_up(
    stack: LightStack, folder: Path
) -> None:
    with sidecar(stack, "first", folder, BACKUP_INTERVAL_SECONDS=3600):
        (first,) = until(lambda: dumps(folder), "the first backup")
    for number in range(3):
        with sidecar(stack, f"killed-{number}", folder, "wepp-backup", "dump") as container:
            until(lambda: list(folder.glob(".*.dump.partial")), "the dump in the making")
            time.sleep(0.3 * number)
            stack.docker("kill", "--signal=KILL", container, check=False)
        assert dumps(folder)[0] == first
    before = dumps(folder)
    with sidecar(stack, "next", folder, "wepp-backup", "dump") as container:
        stack.docker("wait", container)
        assert len(dumps(folder)) == len(before) + 1, stack.docker("logs", container)
    assert list(folder.glob(".*.partial")) == []
    for name in dumps(folder):
        sums = subprocess.run(
            ["sha256sum", "--check", f"{name}.sha256"], cwd=folder, check=False, capture_output=True
        )
        assert sums.returncode == 0, sums


@pytest.mark.usefixtures("bulk")
def test_two_backups_at_once_are_made_one_after_the_other(stack: LightStack) -> None:
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda _: json.loads(stack.must("db-backup", "--json")), range(2))
    assert first["name"] != second["name"]
    assert first["rows"] == second["rows"]
    assert list(stack.backups.glob(".*.partial")) == []
