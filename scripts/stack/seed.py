"""`seed`: have the sample fill its own stores - geodata, people, runs, checklists - and show the progress.

What is in the stores is the sample's business: here only its two commands are known, and the JSON lines they print
(`{"step", "state"}` for progress, at the end `{"answer"}`, or `{"refused"}` when nothing was changed).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scripts.base import prompts
from scripts.base.console import Console, Update
from scripts.base.errors import ExitCode, StackError
from scripts.engine import run_stores
from scripts.engine.compose import Compose
from scripts.prepare import lock
from scripts.stack.service_commands import WEB, require_running

GEODATA = "sample-data"
MAKE_GEODATA = ("python", "-m", "wepppy.sample_data", "--json-lines")
GEODATA_CONTAINER = ("run", "--rm", "--no-deps", "-T", GEODATA)
SITE_CONTAINER = ("exec", "-T", WEB)
FILL_SITE = ("flask", "seed")
MOST_RUNS = 100_000


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
    _check(options)
    _require_sample(compose)
    require_running(compose, WEB)
    with lock.sole(compose):
        if options.reset and not options.dry_run and not compose.runner.dry:
            _consent(compose, console, options)
        again = console.again("seed")
        title = f"looking at {compose.project}" if options.dry_run else f"seeding {compose.project}"
        with console.progress(title) as update:
            geodata = _ask(compose, _geodata_command(options, dry=options.dry_run), update, "geodata", again)
            site = _ask(compose, _site_command(options, geodata, dry=options.dry_run), update, "runs", again)
    if not compose.runner.dry:
        _answer(compose, console, options, geodata, site)


def _check(options: Options) -> None:
    if options.yes and not options.reset:
        raise StackError(
            "--yes says whose data may go, and without --reset none goes",
            "leave --yes out, or add --reset",
            ExitCode.USAGE,
        )
    if options.seed is not None and not 0 <= options.seed <= 2**31:
        raise StackError("--seed is a whole number from 0", "for example: --seed=7", ExitCode.USAGE)
    if options.scale is not None and not 0 <= options.scale <= MOST_RUNS:
        raise StackError(
            f"--scale is a number of runs from 0 to {MOST_RUNS}", "for example: --scale=1000", ExitCode.USAGE
        )


def _require_sample(compose: Compose) -> None:
    if not run_stores.is_sample(compose):
        named = compose.setting("WEPPPY_SRC")
        raise StackError(
            f"the stack runs the tree {named or 'docker/sample'}, which has no sample data to seed",
            "seed a stack of the bundled sample (WEPPPY_SRC empty), or restore a dump of that tree's database",
            ExitCode.REFUSED,
        )


# ---- the two commands ----

# Which container, and the program in it.
Command = tuple[Sequence[str], Sequence[str]]


def _geodata_command(options: Options, *, dry: bool) -> Command:
    flags = [f"--seed={options.seed}"] if options.seed is not None else []
    flags += ["--replace"] if options.reset else []
    flags += ["--dry-run"] if dry else []
    return GEODATA_CONTAINER, [*MAKE_GEODATA, *flags]


def _site_command(options: Options, geodata: dict[str, Any], *, dry: bool) -> Command:
    # The site is of the same seed as the landscape that is there: `seed` again is then always the same seed.
    number = geodata.get("seed", options.seed)
    flags = [f"--seed={number}"] if number is not None else []
    flags += [f"--scale={options.scale}"] if options.scale is not None else []
    flags += ["--reset"] if options.reset else []
    flags += ["--dry-run"] if dry else []
    return SITE_CONTAINER, [*FILL_SITE, *flags]


def _ask(
    compose: Compose, command: Command, update: Update, step: str, again: str = "invoke seed"
) -> dict[str, Any]:
    """Run one of the two commands and return its answer. again: the command that goes on after a failure."""
    listener = Listener(update, step)
    result = compose.stream_in(*command, on_line=listener.line)
    if listener.refused:
        raise StackError(
            f"{listener.refused}; nothing was changed",
            "leave --seed out to go on with what is there, or replace it: invoke seed --reset --seed=NUMBER",
            ExitCode.REFUSED,
        )
    if not result.ok or (listener.answer is None and not compose.runner.dry):
        raise StackError(
            f"the sample could not make the {step}: {result.complaint}",
            f"the lines above say why; run `{again}` again afterwards, it makes what is missing",
            ExitCode.FAILED,
            details="\n".join(listener.others),
        )
    if listener.answer is not None:
        update(step, "done")
    return listener.answer or {}


class Listener:
    """Takes in the lines of one command: progress, outcome, and whatever else was printed."""

    def __init__(self, update: Update, step: str) -> None:
        self.update = update
        self.step = step
        self.answer: dict[str, Any] | None = None
        self.refused = ""
        self.others: list[str] = []

    def line(self, line: str) -> None:
        """Take in one line."""
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            self.others.append(line)
        elif "answer" in said:
            self.answer = said["answer"]
        elif "refused" in said:
            self.refused = str(said["refused"])
        else:
            self.update(str(said.get("step", self.step)), str(said.get("state", "")))


# ---- question and answer ----


def _consent(compose: Compose, console: Console, options: Options) -> None:
    with console.busy(f"looking at {compose.project}"):
        geodata = _ask(compose, _geodata_command(options, dry=True), _silent, "geodata")
        site = _ask(compose, _site_command(options, geodata, dry=True), _silent, "runs")
    removed = site.get("removed", {})
    removals = [
        f"{removed.get(name, 0)} {word}"
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
    prompts.require(console, compose.project, options.yes, question="remove it for good", fix=fix)


def _silent(name: str, state: str) -> None:
    """Tell nothing of a mere look."""


def _answer(
    compose: Compose, console: Console, options: Options, geodata: dict[str, Any], site: dict[str, Any]
) -> None:
    would = "would be made" if options.dry_run else "made"
    removed = site.get("removed", {})
    if removed:
        console.say(
            f"{'to remove' if options.dry_run else 'removed'}: {removed['runs']} runs, {removed['accounts']} accounts"
        )
    if removed.get("accounts_kept"):
        console.say(
            f"kept: {removed['accounts_kept']} seeded accounts, because runs made by people are theirs"
        )
    made = {
        "geodata files": geodata.get("made", "all" if options.dry_run else 0),
        "roles": site.get("roles", 0),
        "accounts": site.get("accounts", 0),
        "runs": site.get("runs", 0),
        "checklists": site.get("checklists", 0),
        "runs computed": site.get("started", 0),
    }
    if console.as_json:
        console.document(
            {
                "ok": True,
                "project": compose.project,
                "dry_run": options.dry_run,
                "geodata": geodata,
                "site": site,
            }
        )
        return
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
