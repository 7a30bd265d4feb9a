"""`db-prune`: drop the databases that switchovers kept, once they are old enough."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rich.filesize import decimal

from scripts.base.clock import Clock, age
from scripts.base.console import Console
from scripts.base.prompts import require_yes
from scripts.database.recovery import sole_task
from scripts.database.sidecar_client import answer
from scripts.engine.compose import Compose


def prune(
    compose: Compose,
    console: Console,
    clock: Clock,
    *,
    keep_days: float,
    yes: bool = False,
    dry_run: bool = False,
) -> None:
    """Drop what is kept for longer than `keep_days` days, after a question. Raise StackError."""
    with sole_task(compose, console):
        kept = answer(compose, console, ["kept"])
        now = datetime.fromtimestamp(clock.now(), UTC)
        days = {
            each["name"]: (now - datetime.fromisoformat(each["since"])) / timedelta(days=1) for each in kept
        }
        old = [name for name in days if days[name] >= keep_days]
        dropped: list[str] = []
        if kept and not console.as_json:
            verdicts = ["drop" if each["name"] in old else "keep" for each in kept]
            rows = [
                [each["name"], age(now, each["since"]), decimal(each["bytes"]), each["about"], verdict]
                for each, verdict in zip(kept, verdicts, strict=True)
            ]
            console.table(["database", "age", "size", "about", "verdict"], rows)
        if old and not dry_run:
            question = f"drop {len(old)} databases for good: {', '.join(old)}?"
            require_yes(console, yes, question, console.again("db-prune", "--yes"))
            dropped = answer(compose, console, ["forget", *(f"--name={name}" for name in old)])
    text = f"{len(dropped)} of {len(kept)} kept databases were dropped"
    if dry_run:
        text = f"dry run: {len(old)} of {len(kept)} kept databases would be dropped"
    console.answer({"ok": True, "kept": kept, "old": old, "dropped": dropped}, text)
