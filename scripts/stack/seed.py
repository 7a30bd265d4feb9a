"""`seed`: have the sample fill its own stores - geodata, people, runs, checklists - and show the progress.

What is in the stores is the sample's business: here only its two commands are known, and the JSON lines they print
(`{"step", "state"}` for progress, at the end `{"answer"}`, or `{"refused"}` when nothing was changed).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scripts.base.console import Console, Update
from scripts.base.errors import fail, refuse, usage
from scripts.engine.compose import Compose
from scripts.prepare import lock
from scripts.stack.service_commands import WEB, require_running

GEODATA_CONTAINER = ("run", "--rm", "--no-deps", "-T", "sample-data")
MAKE_GEODATA = ("python", "-m", "wepppy.sample_data", "--json-lines")
SITE_CONTAINER = ("exec", "-T", WEB)
FILL_SITE = ("flask", "seed")
MOST_RUNS = 100_000
Answer = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What the user asked of `seed`. seed, scale: None leaves the sample its own."""

    seed: int | None = None
    scale: int | None = None
    reset: bool = False
    yes: str = ""
    dry_run: bool = False


def seed(compose: Compose, console: Console, options: Options) -> None:
    """Fill the stack. Raise StackError; what was made before a failure is kept, and the next call makes the rest."""
    if options.yes and not options.reset:
        usage(
            "--yes says whose data may go, and without --reset none goes", "leave --yes out, or add --reset"
        )
    if options.seed is not None and not 0 <= options.seed <= 2**31:
        usage("--seed is a whole number from 0", "for example: --seed=7")
    if options.scale is not None and not 0 <= options.scale <= MOST_RUNS:
        usage(f"--scale is a number of runs from 0 to {MOST_RUNS}", "for example: --scale=1000")
    if not compose.is_sample:
        refuse(
            f"the stack runs the tree {compose.setting('WEPPPY_SRC')}, which has no sample data to seed",
            "seed a stack of the bundled sample (WEPPPY_SRC empty), or restore a dump of that tree's database",
        )
    require_running(compose, WEB)
    with lock.sole(compose):
        if options.reset and not options.dry_run and not compose.runner.dry:
            _consent(compose, console, options)
        title = f"looking at {compose.project}" if options.dry_run else f"seeding {compose.project}"
        with console.progress(title) as update:
            again = console.again("seed")
            geodata, site = _run(compose, options, update, again, dry_run=options.dry_run)
    if not compose.runner.dry:
        _answer(compose, console, options, geodata, site)


def _run(
    compose: Compose, options: Options, update: Update, again: str, *, dry_run: bool
) -> tuple[Answer, Answer]:
    """Run both commands and return their answers. again: the command that goes on after a failure."""
    last = ["--dry-run"] if dry_run else []
    flags = [f"--seed={options.seed}"] if options.seed is not None else []
    flags += ["--replace"] if options.reset else []
    geodata = _ask(compose, GEODATA_CONTAINER, [*MAKE_GEODATA, *flags, *last], update, "geodata", again)
    # The site is of the same seed as the landscape that is there: `seed` again is then always the same seed.
    number = geodata.get("seed", options.seed)
    flags = [f"--seed={number}"] if number is not None else []
    flags += [f"--scale={options.scale}"] if options.scale is not None else []
    flags += ["--reset"] if options.reset else []
    return geodata, _ask(compose, SITE_CONTAINER, [*FILL_SITE, *flags, *last], update, "runs", again)


def _ask(
    compose: Compose, container: Sequence[str], program: Sequence[str], update: Update, step: str, again: str
) -> Answer:
    told: Answer = {}
    others: list[str] = []

    def hear(line: str) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            others.append(line)
        elif said.keys() & {"answer", "refused"}:
            told.update(said)
        else:
            update(str(said.get("step", step)), str(said.get("state", "")))

    result = compose.stream_in(container, program, on_line=hear)
    if "refused" in told:
        refuse(
            f"{told['refused']}; nothing was changed",
            "leave --seed out to go on with what is there, or replace it: invoke seed --reset --seed=NUMBER",
        )
    if not result.ok or ("answer" not in told and not compose.runner.dry):
        fail(
            f"the sample could not make the {step}: {result.complaint}",
            f"the lines above say why; run `{again}` again afterwards, it makes what is missing",
            details="\n".join(others),
        )
    if told:
        update(step, "done")
    answer: Answer = told.get("answer", {})
    return answer


def _consent(compose: Compose, console: Console, options: Options) -> None:
    with console.busy(f"looking at {compose.project}"):
        geodata, site = _run(compose, options, lambda *_: None, console.again("seed"), dry_run=True)
    removed = site.get("removed", {})
    removals = [
        f"{removed[name]} {word}"
        for name, word in (("runs", "seeded runs with their files"), ("accounts", "seeded accounts"))
        if removed.get(name)
    ]
    replaced = geodata.get("replaces")
    if replaced is not None and replaced != geodata.get("seed"):
        removals.append(f"the landscape of seed {replaced}, which all runs are made of")
    if not removals:
        console.say("there is nothing that seed made and could remove")
        return
    console.say(f"this would be removed from {compose.project}, and then made anew:")
    for each in removals:
        console.say(f"  {each}")
    number = [f"--seed={options.seed}"] if options.seed is not None else []
    fix = f"to remove it: {console.again('seed', '--reset', *number, f'--yes={compose.project}')}"
    console.require_name(compose.project, options.yes, question="remove it for good", fix=fix)


def _answer(compose: Compose, console: Console, options: Options, geodata: Answer, site: Answer) -> None:
    if removed := site.get("removed", {}):
        verb = "to remove" if options.dry_run else "removed"
        console.say(f"{verb}: {removed['runs']} runs, {removed['accounts']} accounts")
    if removed.get("accounts_kept"):
        console.say(
            f"kept: {removed['accounts_kept']} seeded accounts, because runs made by people are theirs"
        )
    if console.as_json:
        answers = {"geodata": geodata, "site": site}
        console.document({"ok": True, "project": compose.project, "dry_run": options.dry_run, **answers})
        return
    made = {"geodata files": geodata.get("made", "all" if options.dry_run else 0)}
    made |= {name: site.get(name, 0) for name in ("roles", "accounts", "runs", "checklists")}
    made["runs computed"] = site.get("started", 0)
    would = "would be made" if options.dry_run else "made"
    console.table(("What", would), [[name, str(number)] for name, number in made.items()])
    if options.dry_run:
        return
    if not any(made.values()):
        console.say("everything was there already: nothing was changed")
    else:
        console.say(
            "the accounts end in @seed.example and have no password; to log in as one, give it one: "
            f"invoke compose-exec --service={WEB} -- flask set-user ada@seed.example"
        )
