"""Redis' files after a power loss: what it repairs by itself, and what `redis-repair` makes of the rest."""

from __future__ import annotations

import pytest

from tests.engine.flights import redis, until
from tests.engine.stack import Stack

FILES = "/data/appendonlydir"
INCREMENT, BASE = f"{FILES}/*.incr.aof", f"{FILES}/*.base.rdb"
# Writes twenty keys, one command each, and waits until they are on the disk.
KEYS = (
    'export REDISCLI_AUTH="$(cat "$REDIS_PASSWORD_FILE")"; '
    "{ for number in $(seq 0 19); do printf 'set power-loss-%d %0100d\\n' $number 0; done; "
    "echo waitaof 1 0 5000; } | redis-cli -n 9"
)
# Overwrites the length of the key of the eleventh entry.
GARBAGE = (
    f"set -- {INCREMENT}; place=$(grep -abo power-loss-10 $1 | tail -n 1 | cut -d : -f 1); "
    "printf GARBAGEGARBAGE | dd of=$1 bs=1 conv=notrunc seek=$((place - 5))"
)


def damage(stack: Stack, script: str) -> None:
    """Write keys whose order is known, kill Redis as a power loss does, and change its files."""
    redis(stack, "bgrewriteaof")
    until(lambda: "aof_rewrite_in_progress:0" in redis(stack, "info", "persistence"), "the rewrite ends")
    stack.compose("exec", "-T", "redis", "sh", "-c", KEYS)
    stack.compose("kill", "redis")
    shell = ["run", "--rm", "--no-deps", "-T", "--entrypoint", "sh", "redis", "-c", script]
    stack.compose(*shell)


def surviving(stack: Stack) -> list[int]:
    """Numbers of the keys that are still there."""
    names = redis(stack, "keys", "power-loss-*").split()
    return sorted(int(name.rpartition("-")[2]) for name in names)


def is_refused(stack: Stack) -> None:
    """Start Redis over the files as they are; wait until its container has ended of them."""
    stack.compose("start", "redis", check=False)
    state = ["ps", "--all", "--format", "{{.State}}", "redis"]
    until(lambda: stack.compose(*state).stdout.strip() == "restarting", "the refusal of the files")


def kept(stack: Stack) -> str:
    return stack.compose("exec", "-T", "redis", "ls", "/data").stdout


@pytest.fixture(autouse=True)
def _tidy(own: Stack) -> None:
    """No key and no kept file of an earlier test."""
    redis(own, "del", *(f"power-loss-{number}" for number in range(20)))
    own.compose("exec", "-T", "redis", "sh", "-c", "rm -rf /data/appendonlydir.*")


def test_a_cut_last_entry_needs_no_repair(own: Stack) -> None:
    damage(own, f"truncate -s -5 {INCREMENT}")
    own.invoke("compose-up")
    # The last entry may be another client's.
    assert surviving(own)[:19] == list(range(19))


def test_garbage_is_told_with_the_command_that_repairs_it_and_only_what_follows_it_is_lost(
    own: Stack,
) -> None:
    damage(own, GARBAGE)
    failed = own.invoke("compose-up", "--timeout=30", check=False)
    assert failed.returncode == 5
    assert "invoke redis-repair" in failed.stderr.splitlines()[-1]
    assert "invoke redis-repair" in own.invoke("doctor", check=False).stdout
    looked = own.invoke("redis-repair", "--dry-run")
    assert "is damaged at byte" in looked.stderr
    refused = own.invoke("redis-repair", check=False)
    assert refused.returncode == 4
    assert "invoke redis-repair --yes" in refused.stderr
    repaired = own.invoke("redis-repair", "--yes")
    assert "of entries, the youngest ones, are not replayed" in repaired.stderr
    assert surviving(own) == list(range(10))
    assert "appendonlydir.damaged-" in kept(own)
    own.invoke("compose-up")
    assert "nothing to repair" in own.invoke("redis-repair", "--yes").stderr


@pytest.mark.parametrize(
    "manifest", ["echo garbage >{}", ": >{}", "rm {}"], ids=["overwritten", "emptied", "missing"]
)
def test_files_without_their_manifest_are_not_taken_for_an_empty_store(own: Stack, manifest: str) -> None:
    damage(own, manifest.format(f"{FILES}/appendonly.aof.manifest"))
    is_refused(own)
    own.invoke("redis-repair", "--yes")
    assert surviving(own) == list(range(20))


@pytest.mark.parametrize(
    "script",
    [f"printf XX | dd of=$(ls {BASE}) bs=1 seek=30 conv=notrunc", f"truncate -s 0 {BASE}"],
    ids=["overwritten", "emptied"],
)
def test_a_damaged_base_is_replaced_by_the_newest_snapshot(own: Stack, script: str) -> None:
    redis(own, "set", "power-loss-0", "in the snapshot")
    redis(own, "save")
    damage(own, script)
    is_refused(own)
    repaired = own.invoke("redis-repair", "--yes")
    assert "the snapshot dump.rdb of" in repaired.stderr
    assert surviving(own) == [0]
    own.invoke("compose-up")


def test_an_interrupted_repair_is_finished_by_the_next_one(own: Stack) -> None:
    damage(own, f"mv {FILES} {FILES}.repaired")
    is_refused(own)
    own.invoke("redis-repair", "--yes")
    assert surviving(own) == list(range(20))
    own.invoke("compose-up")
