"""The databases that switchovers kept: `db-rollback` makes one live again, `db-prune` drops the old ones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from rich.filesize import decimal

from scripts.base.clock import SYSTEM_CLOCK, Clock, age
from scripts.base.console import Console
from scripts.database.recovery import sole_task
from scripts.database.sidecar_client import ProgramRun, answer
from scripts.database.switchover import Application, Options, confirmed, report, switch_over
from scripts.engine.compose import Compose


def rollback(
    compose: Compose,
    console: Console,
    options: Options,
    *,
    to: str = "",
    application: Callable[[Compose], Application] = Application,
) -> None:
    """Switch over to the newest kept database, or to the one named `to`. Raise StackError, which says what is live.

    The database that was live is kept in its turn, so a rollback can be rolled back.
    """
    command = ["rollback", *([f"--to={to}"] if to else []), *options.of_program]
    with sole_task(compose, console), ProgramRun(compose, console, command) as run:
        kept = run.ready()
        size = decimal(kept["bytes"])
        console.say(f"would become live: {kept['name']} of {kept['since']}, {size} ({kept['about']})")
        question = "switch it over with the live database? The live one is kept"
        if not confirmed(console, kept, question, console.again("db-rollback", "--yes"), options):
            return
        done = switch_over(run, kept["live_id"], application(compose), options)
    document = {
        "ok": True,
        "database": done["database"],
        "kept": done["kept"],
        "restored": kept["name"],
        "seconds": {"downtime": done["seconds"]},
    }
    text = (
        f"{done['database']} is {kept['name']} again, application away for {done['seconds']:.2f} s; "
        f"what was live is kept as {done['kept']}"
    )
    report(console, document, text)


def prune(
    compose: Compose,
    console: Console,
    *,
    keep_days: float,
    yes: bool = False,
    dry_run: bool = False,
    clock: Clock = SYSTEM_CLOCK,
) -> None:
    """Drop what is kept for longer than `keep_days` days, after a question. Raise StackError."""
    with sole_task(compose, console):
        kept = answer(compose, console, ["kept"])
        now = datetime.fromtimestamp(clock.now(), UTC)
        limit = timedelta(days=keep_days)
        old = [each["name"] for each in kept if now - datetime.fromisoformat(each["since"]) >= limit]
        dropped: list[str] = []
        if kept and not console.as_json:
            rows = [
                [
                    each["name"],
                    age(now, each["since"]),
                    decimal(each["bytes"]),
                    each["about"],
                    "drop" if each["name"] in old else "keep",
                ]
                for each in kept
            ]
            console.table(["database", "age", "size", "about", "verdict"], rows)
        if old and not dry_run:
            question = f"drop {len(old)} databases for good: {', '.join(old)}?"
            console.require_yes(yes, question, console.again("db-prune", "--yes"))
            dropped = answer(compose, console, ["forget", *(f"--name={name}" for name in old)])
    text = f"{len(dropped)} of {len(kept)} kept databases were dropped"
    if dry_run:
        text = f"dry run: {len(old)} of {len(kept)} kept databases would be dropped"
    console.answer({"ok": True, "kept": kept, "old": old, "dropped": dropped}, text)
