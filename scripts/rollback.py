"""Owns `db-rollback`: makes the database that a restore or a move kept the live one again."""

from __future__ import annotations

from scripts import lock, recovery
from scripts.compose import Compose
from scripts.consent import demand_yes
from scripts.console import Console
from scripts.credentials import demand_login
from scripts.dialogue import Dialogue
from scripts.meter import megabytes
from scripts.quiesce import kept_running
from scripts.restore import Keeping
from scripts.swap import swap


def rollback(
    compose: Compose,
    console: Console,
    *,
    to: str = "",
    yes: bool = False,
    dry_run: bool = False,
    force: bool = False,
    keeping: Keeping = kept_running,
) -> None:
    """Swaps the newest kept database in, or the one named `to`. Raises StackError; nothing is changed then.

    The database that was live is kept in its turn, so a rollback can be rolled back.
    """
    command = ["rollback", *(["--to", to] if to else []), *(["--force"] if force else [])]
    with lock.sole(compose):
        recovery.recover(compose, console)
        demand_login(compose, console)
        with (
            keeping(compose, console, "db-rollback") as keeper,
            Dialogue(compose, console, command) as talk,
        ):
            kept = talk.ready()
            text = f"{kept['name']} of {kept['since']}, {megabytes(kept['bytes'])} ({kept['about']})"
            if dry_run:
                if console.as_json:
                    console.document({"ok": True, "dry_run": True, "plan": kept})
                else:
                    console.text(f"would become live: {text}\ndry run: nothing was changed")
                return
            console.say(f"becomes live: {text}")
            demand_yes(
                console,
                yes,
                "swap it with the live database? The live one is kept",
                "invoke db-rollback --yes",
            )
            _, downtime = swap(keeper, talk, kept["live_id"])
            talk.say("keep")
            done = talk.result()
    if console.as_json:
        console.document({"ok": True, **done, "restored": kept["name"], "seconds": {"downtime": downtime}})
    else:
        console.text(
            f"{done['database']} is {kept['name']} again, application away for {downtime:.1f} s; "
            f"what was live is kept as {done['kept']}"
        )
