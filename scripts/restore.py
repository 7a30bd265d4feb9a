"""Owns `db-restore`: verify, load beside, swap (swap.py) - in this order, and the way back from each.

The database work is the backup service's program's; what it prepared it takes back by itself when this process ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from scripts import dump, lock, recovery
from scripts.compose import Compose
from scripts.consent import demand_yes
from scripts.console import Console
from scripts.credentials import demand_login
from scripts.dialogue import Dialogue
from scripts.meter import megabytes
from scripts.quiesce import Keeper, kept_running
from scripts.swap import swap


@dataclass(frozen=True)
class Options:
    """The flags of `db-restore`. jobs: 0 for one each processor."""

    dump: str
    yes: bool = False
    dry_run: bool = False
    jobs: int = 0
    force: bool = False
    keep: bool = True


# What keeps the services running that ran; injected in tests.
Keeping = Callable[[Compose, Console, str], AbstractContextManager[Keeper]]


def restore(compose: Compose, console: Console, options: Options, *, keeping: Keeping = kept_running) -> None:
    """Restores a dump beside the live database and swaps the two.

    Raises StackError; the live database is then as before.
    """
    found = dump.locate(compose, options.dump)
    command = ["restore", "--dump", found.argument]
    command += ["--jobs", str(options.jobs)] if options.jobs else []
    command += ["--force"] if options.force else []
    with lock.sole(compose):
        recovery.recover(compose, console)
        demand_login(compose, console)
        with (
            keeping(compose, console, "db-restore") as keeper,
            Dialogue(compose, console, command, options=found.options, translate=found.translate) as talk,
        ):
            plan = talk.ready()
            plan["dump"] = found.translate(plan["dump"])
            show_plan(console, plan)
            if options.dry_run:
                _answer(console, {"ok": True, "dry_run": True, "plan": plan}, "dry run: nothing was changed")
                return
            demand_yes(
                console,
                options.yes,
                f"replace the database {plan['database']} by this dump? The old one "
                + ("is kept beside it" if options.keep else "is DROPPED afterwards"),
                "invoke db-restore --dump=... --yes",
            )
            talk.say("go")
            prepared = talk.ready()
            console.say(
                f"beside and checked: {prepared['rows']} rows in {prepared['seconds']:.1f} s; swapping"
            )
            swapped, downtime = swap(keeper, talk, prepared["live_id"], upgrade=needs_upgrade(prepared))
            talk.say("keep" if options.keep else "drop")
            swapped = talk.result()
    _tell(console, plan, prepared, swapped, downtime)


def needs_upgrade(prepared: Mapping[str, Any]) -> bool:
    """True when the dump's schema is another than the one the application ran with."""
    return bool(prepared["revision"]) and prepared["revision"] != prepared["live_revision"]


def show_plan(console: Console, plan: Mapping[str, Any]) -> None:
    """Tells what would be replaced by what, how much of it there is and how long it will take."""
    rows = "unknown" if plan["rows"] < 0 else str(plan["rows"])
    created = plan.get("created") or "unknown"
    console.say(
        f"dump      {plan['dump']}\n"
        f"          {plan['kind']}, {megabytes(plan['bytes'])}, made {created}, rows {rows}, from PostgreSQL "
        f"{plan['server_version'] or 'unknown'}; read whole in {plan['verify_seconds']:.1f} s"
    )
    live = "not there" if plan["live_bytes"] < 0 else megabytes(plan["live_bytes"])
    free = "unknown" if plan["free_bytes"] < 0 else megabytes(plan["free_bytes"])
    console.say(
        f"database  {plan['database']}, {live}\n"
        f"disk      about {megabytes(plan['needed_bytes'])} needed, {free} free\n"
        f"time      about {plan['seconds']:.0f} s beside the running application, then some seconds of downtime"
    )
    if not plan["checksummed"]:
        console.warn(
            "no checksum lies beside this dump: a changed value inside its rows cannot be told from a right one"
        )


def _tell(
    console: Console,
    plan: Mapping[str, Any],
    prepared: Mapping[str, Any],
    swapped: Mapping[str, Any],
    downtime: float,
) -> None:
    kept = swapped["kept"]
    document = {
        "ok": True,
        "database": swapped["database"],
        "dump": plan["dump"],
        "rows": prepared["rows"],
        "bytes": prepared["bytes"],
        "kept": kept,
        "seconds": {"verify": plan["verify_seconds"], "load": prepared["seconds"], "downtime": downtime},
    }
    undo = (
        f"; the database from before is kept as {kept}, `invoke db-rollback` brings it back" if kept else ""
    )
    _answer(
        console,
        document,
        f"{swapped['database']} is restored: {prepared['rows']} rows, loaded in {prepared['seconds']:.1f} s, "
        f"application away for {downtime:.1f} s{undo}",
    )


def _answer(console: Console, document: Mapping[str, Any], text: str) -> None:
    if console.as_json:
        console.document(document)
    else:
        console.text(text)
