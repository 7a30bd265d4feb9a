"""`db-rollback`: make a database that a switchover kept the live one again."""

from __future__ import annotations

from collections.abc import Callable

from rich.filesize import decimal

from scripts.base.console import Console
from scripts.database.application import Application
from scripts.database.recovery import sole_task
from scripts.database.sidecar_client import ProgramRun
from scripts.database.switchover import Options, confirmed, report, switch_over
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
        again = console.again("db-rollback", "--yes")
        if not confirmed(console, kept, question, again, options):
            return
        done = switch_over(run, kept["live_id"], application(compose), options)
    document = {
        "ok": True,
        "database": done["database"],
        "kept": done["kept"],
        "restored": kept["name"],
        "seconds": {"downtime": done["seconds"]},
    }
    report(
        console,
        document,
        f"{done['database']} is {kept['name']} again, application away for {done['seconds']:.2f} s; "
        f"what was live is kept as {done['kept']}",
    )
