"""`redis-repair`: when it does something at all, what it asks, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts.base.errors import StackError
from scripts.engine import problems
from scripts.engine.runner import Result
from scripts.stack import redis_repair
from tests.unit.fakes import Checkout, FakeClock, Screen, container

REFUSED = "1:M # Bad file format reading the append only file appendonly.aof.2.incr.aof: make a backup"
DAMAGED = (
    "found=appendonly.aof.2.incr.aof is damaged at byte 10 of 2058\n"
    "state=damaged\nsource=the append-only files\nlost=2048\nkeys=7\n"
)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path)
    made.with_env()
    made.containers_are([container("redis", status="restarting", health="")])
    made.runner.on(
        "docker", "logs", stdout=f"1970-01-01T00:00:01Z 1:M * Loading\n1970-01-01T00:00:02Z {REFUSED}\n\n"
    )
    made.runner.on("docker", "stop")
    made.runner.on("check", stdout=DAMAGED)
    made.runner.on("repair", stdout=DAMAGED)
    return made


def repair(checkout: Checkout, *, yes: bool = False, dry_run: bool = False) -> str:
    screen = Screen()
    redis_repair.repair(checkout.compose(), screen.console, FakeClock(), yes=yes, dry_run=dry_run)
    return screen.err.getvalue() + screen.out.getvalue()


def programs(checkout: Checkout) -> list[str]:
    """What the program in the container was asked to do, and what else was started."""
    return [argv[-1] if "--entrypoint" in argv else argv[1] for argv in checkout.runner.commands()]


def test_words_of_redis_about_its_files_are_told_from_others(checkout: Checkout) -> None:
    assert problems.damaged_redis(checkout.compose()) == REFUSED
    checkout.runner.on("docker", "logs", stdout="1970-01-01T00:00:03Z 1:M # Out of memory\n")
    assert problems.damaged_redis(checkout.compose()) == ""


def test_a_healthy_redis_is_left_alone(checkout: Checkout) -> None:
    checkout.containers_are([container("redis")])
    assert "nothing to repair" in repair(checkout, yes=True)
    assert programs(checkout) == []


def test_a_look_stops_and_changes_nothing(checkout: Checkout) -> None:
    said = repair(checkout, dry_run=True)
    assert "after a repair there are 7 keys; 2.0 kB of entries, the youngest ones, are not replayed" in said
    assert programs(checkout) == ["check"]


def test_without_a_yes_nothing_is_repaired(checkout: Checkout) -> None:
    with pytest.raises(StackError, match="nothing was changed") as caught:
        repair(checkout)
    assert caught.value.exit_code == 4
    assert "invoke redis-repair --yes" in caught.value.fix
    assert programs(checkout) == ["check"]


def test_redis_is_stopped_before_its_files_are_replaced_and_started_afterwards(checkout: Checkout) -> None:
    checkout.runner.do("docker", "stop", action=lambda argv: _stopped(checkout, argv))
    said = repair(checkout, yes=True)
    assert programs(checkout) == ["check", "stop", "19700101-000000", "compose"]
    assert "/data/appendonlydir.damaged-19700101-000000" in said


def _stopped(checkout: Checkout, argv: Sequence[str]) -> Result:
    checkout.containers_are([container("redis")])
    return Result(tuple(argv), 0)


def test_sound_files_only_need_a_start(checkout: Checkout) -> None:
    checkout.runner.on("check", stdout="state=sound\nsource=the append-only files\nlost=0\nkeys=7\n")
    repair(checkout)
    assert programs(checkout) == ["check", "compose"]


@pytest.mark.parametrize(
    ("source", "loss"),
    [
        ("nothing", "Redis starts empty"),
        ("dump.rdb of 2026-11-29 14:03:00 UTC", "what came after it is lost"),
    ],
)
def test_what_a_repair_loses_is_said(checkout: Checkout, source: str, loss: str) -> None:
    checkout.runner.on("check", stdout=DAMAGED.replace("the append-only files", source))
    assert loss in repair(checkout, dry_run=True)


def test_a_failing_check_is_told_with_its_words(checkout: Checkout) -> None:
    checkout.runner.on("check", stdout="cp: No space left on device\n", returncode=1)
    with pytest.raises(StackError, match="could not be checked: cp: No space left on device"):
        repair(checkout)


def test_a_redis_of_others_is_not_repaired_here(checkout: Checkout) -> None:
    checkout.with_env(REDIS_HOST="10.0.0.5")
    with pytest.raises(StackError, match="somebody else's"):
        repair(checkout)
