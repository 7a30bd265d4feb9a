"""Owns `db-prune`: drops the databases that restores and moves kept, once they are old enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from scripts import lock, recovery
from scripts.clock import Clock
from scripts.compose import Compose
from scripts.consent import demand_yes
from scripts.console import Console
from scripts.credentials import demand_login
from scripts.dialogue import answer
from scripts.meter import megabytes

DAY = 86400.0


def prune(
    compose: Compose,
    console: Console,
    clock: Clock,
    *,
    keep_days: float,
    yes: bool = False,
    dry_run: bool = False,
) -> None:
    """Drops what is kept for longer than `keep_days` days, after a question. Raises StackError."""
    with lock.sole(compose):
        recovery.recover(compose, console)
        demand_login(compose, console)
        kept: Sequence[Mapping[str, Any]] = answer(compose, console, ["kept"])
        old = [each for each in kept if age(each, clock) >= keep_days * DAY]
        dropped: Sequence[str] = []
        if not console.as_json and kept:
            console.table(
                ["database", "age", "size", "about", "verdict"],
                [
                    [
                        each["name"],
                        f"{age(each, clock) / DAY:.1f} d",
                        megabytes(each["bytes"]),
                        each["about"],
                        "drop" if each in old else "keep",
                    ]
                    for each in kept
                ],
            )
        if old and not dry_run:
            names = [each["name"] for each in old]
            demand_yes(
                console,
                yes,
                f"drop {len(old)} databases for good: {', '.join(names)}?",
                "invoke db-prune --yes",
            )
            dropped = answer(compose, console, ["forget", "--names", ",".join(names)])
    if console.as_json:
        console.document(
            {"ok": True, "kept": kept, "old": [each["name"] for each in old], "dropped": dropped}
        )
    elif dry_run:
        console.text(f"dry run: {len(old)} of {len(kept)} kept databases would be dropped")
    else:
        console.text(f"{len(dropped)} of {len(kept)} kept databases were dropped")


def age(kept: Mapping[str, Any], clock: Clock) -> float:
    """Seconds since the database was replaced; negative when the clock was set back since."""
    return clock.now() - datetime.fromisoformat(kept["since"]).timestamp()
