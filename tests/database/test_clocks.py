"""Clocks on a real engine: summer time begins and ends while backups are made, and a clock that ran ahead is set back.

No container has a clock of its own, and a Go program none that could be pretended. So the zone is a real one whose
change comes within seconds, and a corrected clock is what it leaves: backups from the future.
"""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path

import pytest

from tests.database.sidecar import dumps, health, sidecar, until
from tests.database.stack import LightStack
from tests.database.test_backups import age

HOUR = 3600


def zone(change: int, before: int, after: int) -> bytes:
    """A file of the zone database (RFC 9636, version 1) with one change, at `change`, between two offsets."""
    header = b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 1, 2, 8)
    kinds = struct.pack(">lBB", before, 0, 0) + struct.pack(">lBB", after, 1, 4)
    return header + struct.pack(">lB", change, 1) + kinds + b"OLD\0NEW\0"


@pytest.mark.parametrize(
    ("before", "after"), [(2 * HOUR, HOUR), (-8 * HOUR, -7 * HOUR)], ids=["back", "forward"]
)
def test_when_the_zones_clock_changes_names_sort_and_none_is_lost_or_pruned(
    stack: LightStack, folder: Path, before: int, after: int
) -> None:
    change = int(time.time()) + 25
    (folder / "zone").write_bytes(zone(change, before, after))
    (folder / "zone").chmod(0o644)
    settings = {"TZ": "/backups/zone", "BACKUP_INTERVAL_SECONDS": 2, "BACKUP_KEEP_DAYS": 1}
    with sidecar(stack, "zoned", folder, **settings) as container:
        until(lambda: dumps(folder), "the first backup")
        assert stack.docker("exec", container, "date", "+%Z") == "OLD\n"
        earlier = dumps(folder)
        until(lambda: time.time() > change, "the change")
        until(lambda: len(dumps(folder)) >= len(earlier) + 4, "backups after the change")
        assert stack.docker("exec", container, "date", "+%Z") == "NEW\n"
        until(lambda: health(container)[0] == 0, "health")
    made = dumps(folder)
    assert made[: len(earlier)] == earlier
    created = [json.loads((folder / f"{name}.json").read_text())["created"] for name in made]
    assert created == sorted(created)
    # A name is its moment in UTC, whatever clock hangs on the wall.
    assert [
        f"wepppy-{time.strftime('%Y%m%d-%H%M%S', moment)}.dump" for moment in map(parsed, created)
    ] == made
    assert len(set(created)) == len(made)


def parsed(moment: str) -> time.struct_time:
    """The moment of a manifest, to the second."""
    return time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S")


def test_after_a_clock_that_ran_ahead_backups_are_made_on_schedule_and_none_is_taken_for_another(
    stack: LightStack, folder: Path
) -> None:
    with sidecar(stack, "first", folder, BACKUP_INTERVAL_SECONDS=2):
        until(lambda: len(dumps(folder)) >= 2, "two backups")
    past, *more = dumps(folder)
    age(folder, past, 5)
    age(folder, more[0], -30)
    before = set(dumps(folder))
    with sidecar(stack, "corrected", folder, BACKUP_INTERVAL_SECONDS=2, BACKUP_KEEP_DAYS=7) as container:
        until(lambda: len(dumps(folder)) >= len(before) + 2, "backups of now")
        until(lambda: health(container)[0] == 0, "health")
        assert "from the future" not in health(container)[1]
        told = stack.docker("logs", container)
    assert before < set(dumps(folder))
    assert "older than" not in told


def test_where_all_backups_are_from_the_future_health_says_so_until_there_is_a_new_one(
    stack: LightStack, folder: Path
) -> None:
    with sidecar(stack, "first", folder, BACKUP_INTERVAL_SECONDS=HOUR):
        (only,) = until(lambda: dumps(folder), "the first backup")
    ahead = age(folder, only, -30)
    with sidecar(stack, "unable", folder, PGPORT=1, BACKUP_INTERVAL_SECONDS=HOUR) as container:
        until(lambda: "no server answers" in stack.docker("logs", container), "the try")
        status, words = health(container)
        assert status != 0
        assert "from the future" in words
        assert "the clock was set back" in words
    with sidecar(stack, "able", folder, BACKUP_INTERVAL_SECONDS=HOUR, BACKUP_KEEP_DAYS=1) as container:
        until(lambda: len(dumps(folder)) == 2, "a new backup")
        until(lambda: health(container)[0] == 0, "health")
    assert ahead in dumps(folder)


def test_latest_is_the_newest_of_the_past_and_what_is_passed_over_is_told(stack: LightStack) -> None:
    ahead = age(stack.backups, json.loads(stack.must("db-backup", "--json"))["name"], -30)
    now = json.loads(stack.must("db-backup", "--json"))["name"]
    try:
        done = stack.task("db-restore", "--dump=latest", "--dry-run", "--json")
        assert json.loads(done.stdout)["plan"]["dump"].endswith(now)
        assert f"{ahead} is from the future" in done.stderr
        assert "in the future" in stack.must("db-backups")
    finally:
        for each in stack.backups.glob(f"{ahead}*"):
            each.unlink()
