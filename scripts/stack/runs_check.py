"""`runs-check`: runs that a restore of the database, or a loss of files, left in one store only; reconcile them."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict

from scripts.base.console import Console
from scripts.base.errors import refuse, usage
from scripts.engine import run_stores
from scripts.engine.compose import Compose
from scripts.prepare import lock
from scripts.stack.service_commands import require_running

MOST_SHOWN = 20
COLUMNS = ["run", "what", "name", "created"]
# What was done, by the application's word for it.
DONE = {
    "adopted": "runs have a row again",
    "set_aside": "folders are in /wc1/runs-set-aside",
    "rows_removed": "rows without files removed",
    "hashes_removed": "checklists removed",
}


def check(
    compose: Compose,
    console: Console,
    *,
    fix: bool = False,
    aside: bool = False,
    yes: bool = False,
    dry_run: bool = False,
) -> bool:
    """Show what does not fit together and, with `fix`, reconcile it after a question.

    aside: move runs on disk without a row away instead of making their rows again. Return whether all fits together
    at the end. Raise StackError; nothing was changed when nobody says yes.
    """
    if (aside or yes) and not fix:
        usage("--aside and --yes say how to reconcile", "add --fix, or leave them out")
    if not compose.is_sample:
        refuse(
            f"the stack runs the tree {compose.setting('WEPPPY_SRC')}: what else belongs to a run there, only it knows",
            "compare by hand: `SELECT runid FROM run` in `invoke db-shell` with "
            "`invoke compose-exec --service=weppcloud -- find /wc1/runs -mindepth 2 -maxdepth 2`",
        )
    require_running(compose, run_stores.SERVICE)
    changing = fix and not dry_run
    with lock.sole(compose) if changing else nullcontext():
        with console.busy("comparing rows, folders and Redis"):
            found = run_stores.find(compose)
        if found.ok or not changing or compose.runner.dry:
            _show(console, found)
            return found.ok
        if not console.as_json:
            _table(console, found)
        for line in _plan(found, aside=aside):
            console.say(line)
        flags = ["--fix", *(["--aside"] if aside else []), "--yes"]
        again = console.again("runs-check", *flags)
        console.require_yes(yes, "No run's folder is deleted.", again)
        done = run_stores.reconcile(compose, aside=aside)
    left = done.fixed.get("left", [])
    if console.as_json:
        console.document({"ok": not left, **asdict(done)})
        return not left
    for name, text in DONE.items():
        if done.fixed.get(name):
            console.say(f"{done.fixed[name]} {text}")
    if left:
        console.warn(f"changed meanwhile and left as they are: {', '.join(left)} (invoke runs-check)")
    return not left


def _plan(found: run_stores.Found, *, aside: bool) -> list[str]:
    adopted = [] if aside else [each for each in found.without_row if not each.get("problem")]
    moved = [each for each in found.without_row if each not in adopted]
    lines = []
    if adopted:
        lines.append(
            f"{len(adopted)} on disk: their rows are made again from their folders, without an owner "
            "(the folder does not say whose they were; administrators see private ones)"
        )
    if moved:
        lines.append(f"{len(moved)} on disk: their folders are moved to /wc1/runs-set-aside")
    if found.without_folder:
        lines.append(
            f"{len(found.without_folder)} in the database: the rows are removed, their files are gone"
        )
    if found.only_in_redis:
        lines.append(
            f"{len(found.only_in_redis)} in Redis: the checklists are removed, nothing else is left of them"
        )
    return lines


def _show(console: Console, found: run_stores.Found) -> None:
    if console.as_json:
        console.document({"ok": found.ok, **asdict(found)})
        return
    if found.ok:
        console.say(f"{found.rows} runs in the database, on disk and in Redis: all fit together")
        return
    _table(console, found)
    console.warn(f"{found.summary} (reconcile them: invoke runs-check --fix)")


def _table(console: Console, found: run_stores.Found) -> None:
    rows = [
        [
            each["runid"],
            f"no row: {each['problem']}" if each.get("problem") else "no row",
            each.get("name", ""),
            each.get("created", ""),
        ]
        for each in found.without_row
    ]
    rows += [[runid, "no files", "", ""] for runid in found.without_folder]
    rows += [[runid, "in Redis alone", "", ""] for runid in found.only_in_redis]
    console.table(COLUMNS, rows[:MOST_SHOWN])
    if len(rows) > MOST_SHOWN:
        console.say(f"and {len(rows) - MOST_SHOWN} more (all: invoke runs-check --json)")
