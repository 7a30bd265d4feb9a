"""What a sidecar keeps: backups outlive a database that is gone, and one attempt that failed is no alarm for a day."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.database.sidecar import dumps, health, saying, sidecar, until
from tests.database.stack import LightStack
from tests.database.test_backups import age

PROGRAM = "wepp-backup"
KEEP = (PROGRAM, "keep")
ROWS = 50000


@pytest.fixture
def own(stack: LightStack) -> Iterator[str]:
    """A database of a test's own at the stack's server, with a table of many rows."""
    stack.psql("CREATE DATABASE own TEMPLATE template0 OWNER wepppy", "postgres")
    stack.psql(f"CREATE TABLE runs AS SELECT generate_series(1, {ROWS}) AS id", "own")
    yield "own"
    stack.psql("DROP DATABASE IF EXISTS own WITH (FORCE)", "postgres")


def asked(container: str, *command: str, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run the program in a sidecar."""
    options = [f"--env={key}={value}" for key, value in variables.items()]
    return subprocess.run(
        ["docker", "exec", *options, container, PROGRAM, *command],
        capture_output=True,
        text=True,
        check=False,
    )


def listed(container: str) -> dict[str, Any]:
    """The list of backups as tasks get it."""
    with subprocess.Popen(
        ["docker", "exec", "-i", container, PROGRAM, "--json", "list"], stdin=-1, stdout=-1, text=True
    ) as asking:
        assert asking.stdout
        found: dict[str, Any] = json.loads(asking.stdout.readline())["answer"]
    return found


def copies(folder: Path, name: str, *days: float) -> list[str]:
    """The backup made so many days old, once for each; the oldest first."""
    for number, each in enumerate(days[1:], 1):
        twin = f"wepppy-twin-{number}.dump"
        for file in folder.glob(f"{name}*"):
            shutil.copy2(file, folder / file.name.replace(name, twin))
            os.chown(folder / file.name.replace(name, twin), file.stat().st_uid, file.stat().st_gid)
        age(folder, twin, each)
    age(folder, name, days[0])
    for file in folder.glob("wepppy-*"):
        file.rename(folder / file.name.replace("wepppy-", "own-"))
    for file in folder.glob("*.json"):
        if not file.name.startswith("."):
            manifest = json.loads(file.read_text())
            file.write_text(json.dumps({**manifest, "name": file.name.removesuffix(".json")}))
    return dumps(folder)


def test_four_old_backups_outlive_a_database_that_was_recreated_empty(
    stack: LightStack, folder: Path, own: str
) -> None:
    settings = {"PGDATABASE": own, "BACKUP_INTERVAL_SECONDS": 2, "BACKUP_KEEP_DAYS": 7}
    with sidecar(stack, "first", folder, *KEEP, PGDATABASE=own, BACKUP_INTERVAL_SECONDS=3600):
        (name,) = until(lambda: dumps(folder), "the first backup")
    old = copies(folder, name, 8, 9, 10, 11)
    assert len(old) == 4
    stack.psql("DROP DATABASE own WITH (FORCE)", "postgres")
    stack.psql("CREATE DATABASE own TEMPLATE template0 OWNER wepppy", "postgres")
    with sidecar(stack, "recreated", folder, *KEEP, **settings) as container:
        until(lambda: len(set(dumps(folder)) - set(old)) >= 2, "backups of nothing")
        assert set(old) <= set(dumps(folder))
        status, words = saying(container, "shrank")
        assert status != 0
        assert f"from {ROWS} rows in 1 tables ({old[-1]}) to 0 in 0" in words
        assert "invoke db-backup --accept-collapse" in words
        # Neither by name nor by mistake: what is meant has to be said.
        refused = asked(container, "verify", "--dump", "latest")
        assert refused.returncode == 4
        assert old[-1] in refused.stdout
        # It was meant: from then on the rule is the ordinary one.
        assert asked(container, "dump", "--accept-collapse").returncode == 0
        until(lambda: old[0] not in dumps(folder), "pruning")
        until(lambda: health(container)[0] == 0, "health")


def test_three_generations_stay_however_old_they_are(stack: LightStack, folder: Path, own: str) -> None:
    with sidecar(stack, "first", folder, *KEEP, PGDATABASE=own, BACKUP_INTERVAL_SECONDS=3600):
        (name,) = until(lambda: dumps(folder), "the first backup")
    old = copies(folder, name, 20, 21, 22, 23)
    with sidecar(stack, "second", folder, *KEEP, PGDATABASE=own, BACKUP_INTERVAL_SECONDS=3600) as container:
        until(lambda: "removed" in stack.docker("logs", container), "pruning")
        assert set(dumps(folder)) & set(old) == set(old[-2:])


def test_a_failed_backup_by_hand_is_told_and_is_no_alarm(stack: LightStack, folder: Path, own: str) -> None:
    with sidecar(stack, "calm", folder, *KEEP, PGDATABASE=own, BACKUP_INTERVAL_SECONDS=3600) as container:
        until(lambda: dumps(folder), "the first backup")
        until(lambda: health(container)[0] == 0, "health")
        failed = asked(container, "dump", PGPORT=1)
        assert failed.returncode == 4
        status, words = health(container)
        assert status == 0, words
        assert "no server answers" in listed(container)["attempt_by_hand"]["problem"]


def test_a_newline_in_a_name_and_a_function_on_the_search_path_hinder_no_backup(
    stack: LightStack, folder: Path, own: str
) -> None:
    stack.psql(
        'CREATE TABLE "two\nlines" ("a\nb" int); INSERT INTO "two\nlines" VALUES (1), (2);'
        "CREATE FUNCTION inner_one(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT pg_catalog.lower($1)';"
        "CREATE FUNCTION outer_one(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT pg_catalog.lower($1)';"
        "ALTER TABLE runs ADD word text; CREATE INDEX ON runs (public.outer_one(word));"
        # As a server up to 16 lets an index be made.
        "SET check_function_bodies = off;"
        "CREATE OR REPLACE FUNCTION outer_one(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT inner_one($1)'",
        own,
    )
    with sidecar(stack, "odd", folder, PROGRAM, "dump", PGDATABASE=own) as container:
        stack.docker("wait", container)
        # A server from 17 on cannot build such an index anew, which is told; the backup is there.
        assert "no backup was made" not in stack.docker("logs", container)
    (name,) = dumps(folder)
    tables = json.loads((folder / f"{name}.json").read_text())["tables"]
    assert tables == {"public.runs": ROWS, 'public."two\nlines"': 2}


def test_the_idle_sidecar_takes_little_memory(stack: LightStack) -> None:
    status = stack.in_sidecar("sh", "-c", "cat /proc/[0-9]*/status")
    resident = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")]
    assert max(resident) <= 60 * 1024, status


def test_a_backup_that_cannot_be_restored_is_found_at_once_and_is_none_to_rely_on(
    stack: LightStack, folder: Path, own: str
) -> None:
    settings = {"PGDATABASE": own, "BACKUP_INTERVAL_SECONDS": 3600}
    with sidecar(stack, "good", folder, *KEEP, **settings):
        (good,) = until(lambda: dumps(folder), "the first backup")
    aged = age_own(folder, good, 2)
    stack.psql(
        "CREATE FUNCTION only_here(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN"
        " IF current_database() <> 'own' THEN RAISE 'not elsewhere'; END IF; RETURN $1; END $$;"
        "CREATE INDEX ON runs (only_here(id))",
        own,
    )
    with sidecar(stack, "risky", folder, *KEEP, **settings) as container:
        until(lambda: "restore test of" in stack.docker("logs", container), "the restore test")
        status, words = health(container)
        assert status != 0, stack.docker("logs", container)
        assert "not elsewhere" in words
        (made,) = set(dumps(folder)) - {aged}
        listed_now = {each["name"]: each for each in listed(container)["backups"]}
        assert listed_now[made]["verified"]
        assert "not elsewhere" in listed_now[made]["manifest"]["not_restorable"]
        by_hand = asked(container, "dump")
        assert by_hand.returncode == 5
        assert "verified, not restorable" in by_hand.stdout
        chosen = asked(container, "verify", "--dump", "latest").stdout
        assert f"{made} is passed over" in chosen
        assert f"{aged} is whole" in chosen


def age_own(folder: Path, name: str, days: float) -> str:
    """Make the only backup so many days old; its name then."""
    (aged,) = copies(folder, name, days)
    return aged


def test_a_dump_is_not_pruned_while_the_plan_of_its_restore_waits_for_an_answer(
    stack: LightStack, folder: Path
) -> None:
    with sidecar(stack, "first", folder, *KEEP, BACKUP_INTERVAL_SECONDS=3600):
        (name,) = until(lambda: dumps(folder), "the first backup")
    name = age(folder, name, 3)
    settings = {"BACKUP_INTERVAL_SECONDS": 2, "BACKUP_KEEP_DAYS": 1, "BACKUP_KEEP_MIN": 1}
    with sidecar(stack, "planning", folder, "sleep", "600") as container:
        planning = subprocess.Popen(
            ["docker", "exec", "-i", container, PROGRAM, "--json", "restore", "--dump", name], stdin=-1, stdout=-1,
            text=True,
        )  # fmt: skip
        with planning:
            assert planning.stdout
            told = next((line for line in planning.stdout if '"ready"' in line), "")
            assert name in told
            with sidecar(stack, "pruning", folder, *KEEP, **settings):
                until(lambda: len(dumps(folder)) >= 4, "backups that prune")
                assert name in dumps(folder)
                assert planning.stdin
                planning.stdin.close()
                until(lambda: name not in dumps(folder), "pruning")
