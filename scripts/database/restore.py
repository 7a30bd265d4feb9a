"""`db-restore`: verify a dump, load it beside the live database, switch over; and the way back from each step.

The database work is the program's (docker/backup); what it prepared it undoes by itself when this process ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.filesize import decimal

from scripts.base.console import Console
from scripts.database.backup import locate
from scripts.database.recovery import sole_task
from scripts.database.sidecar_client import ProgramRun
from scripts.database.switchover import (
    Application,
    Options,
    clients,
    confirmed,
    report,
    switch_over,
    upgrade,
)
from scripts.engine.compose import Compose


def restore(
    compose: Compose,
    console: Console,
    named: str,
    options: Options,
    *,
    application: Callable[[Compose], Application] = Application,
) -> None:
    """Restore a dump beside the live database and switch over. Raise StackError, which says what is live.

    named: the dump (a path, a name, `latest`).
    """
    argument, flags = locate(compose, named)
    command = ["restore", "--dump", argument, *options.of_program]
    with sole_task(compose, console):
        if (addresses := clients(compose)) is not None:
            command.append(f"--clients={addresses}")
        with ProgramRun(compose, console, command, options=flags) as run:
            plan = run.ready()
            show_plan(console, plan)
            fate = "kept beside it" if options.keep else "DROPPED afterwards"
            question = f"replace the database {plan['database']} by this dump? The old one is {fate}"
            again = console.again("db-restore", f"--dump={named}", "--yes")
            if not confirmed(console, plan, question, again, options):
                return
            run.send("go")
            prepared = run.ready()
            console.say(f"beside and checked: {prepared['rows']} rows in {prepared['seconds']:.1f} s")
            if prepared["revision"] and prepared["revision"] != prepared["live_revision"]:
                upgrade(compose, console, prepared["staging"])
            done = switch_over(run, prepared["live_id"], application(compose), options)
    missing = done.get("missing_runs") or {"count": 0, "newest": []}
    if done["jobs"]:
        console.say(f"{done['jobs']} jobs were in progress and go on")
    if missing["count"]:
        console.warn(
            f"{missing['count']} runs are in the database from before and not in the restored one; their files are "
            f"where they were, and a job that is at one ends without its row. The last used: "
            f"{', '.join(missing['newest'])} (`invoke runs-check` reconciles them)"
        )
    document = {
        "ok": True,
        "database": done["database"],
        "dump": plan["dump"],
        "rows": prepared["rows"],
        "bytes": prepared["bytes"],
        "kept": done["kept"],
        "missing_runs": missing,
        "jobs_in_progress": done["jobs"],
        "seconds": {
            "verify": plan["verify_seconds"],
            "load": prepared["seconds"],
            "downtime": done["seconds"],
        },
    }
    undo = f"; the database from before is kept as {done['kept']}, `invoke db-rollback` brings it back"
    text = (
        f"{done['database']} is restored: {prepared['rows']} rows, loaded in {prepared['seconds']:.1f} s, "
        f"application away for {done['seconds']:.2f} s{undo if done['kept'] else ''}"
    )
    report(console, document, text)


def show_plan(console: Console, plan: Mapping[str, Any]) -> None:
    """Tell what would be replaced by what, how much of it there is and how long it will take."""
    rows = "unknown" if plan["rows"] < 0 else plan["rows"]
    live = "not there" if plan["live_bytes"] < 0 else decimal(plan["live_bytes"])
    free = "unknown" if plan["free_bytes"] < 0 else decimal(plan["free_bytes"])
    console.say(
        f"dump      {plan['dump']}\n"
        f"          {plan['kind']}, {decimal(plan['bytes'])}, made {plan.get('created') or 'unknown'}, rows {rows}, "
        f"from PostgreSQL {plan['server_version'] or 'unknown'}; read whole in {plan['verify_seconds']:.1f} s\n"
        f"database  {plan['database']}, {live}\n"
        f"disk      about {decimal(plan['needed_bytes'])} needed, {free} free\n"
        f"time      about {plan['seconds']:.0f} s beside the running application, then less than a second of downtime"
    )
    if not plan["checksummed"]:
        console.warn(
            "no checksum lies beside this dump: a changed value inside its rows cannot be told from a right one"
        )
