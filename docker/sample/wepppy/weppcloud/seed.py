"""`flask seed`: fills an empty site with people, runs and checklists for a look around or a load test.

A second call changes nothing; what people made is never touched. Progress and outcome are lines: text for people, JSON
objects (`{"step", "state"}`, at the end `{"answer"}` or `{"refused"}`) for a program that calls it with `--json-lines`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import click
from flask.cli import with_appcontext

from wepppy.config.run_paths import geodata_root
from wepppy.sample_data import DEFAULT_SEED, read_marker
from wepppy.weppcloud import seed_reset, seed_stores
from wepppy.weppcloud.seed_plan import RUNID

REFUSED = 4
MOST_RUNS = 100_000
RUNS = 12


@dataclass
class Output:
    """Print progress and result as text or as JSON lines."""

    json_lines: bool

    def step(self, step: str, state: str) -> None:
        """Print one step of progress."""
        click.echo(json.dumps({"step": step, "state": state}) if self.json_lines else f"{step}: {state}")

    def answer(self, answer: dict[str, object]) -> None:
        """Print the result."""
        click.echo(json.dumps({"answer": answer} if self.json_lines else answer))

    def refuse(self, what: str) -> None:
        """Print why nothing was done, and exit."""
        if self.json_lines:
            click.echo(json.dumps({"refused": what}))
        else:
            click.echo(f"refused: {what}; nothing was changed", err=True)
        raise SystemExit(REFUSED)


@click.command("seed")
@click.option("--seed", default=DEFAULT_SEED, show_default=True, type=click.IntRange(0, 2**31))
@click.option(
    "--scale", default=RUNS, show_default=True, type=click.IntRange(0, MOST_RUNS), help="How many runs."
)
@click.option("--reset", is_flag=True, help="First remove what an earlier call made.")
@click.option("--dry-run", is_flag=True, help="Only count what would be made or removed.")
@click.option("--json-lines", is_flag=True, help="Print everything as one JSON object a line.")
@with_appcontext
def seed(seed: int, scale: int, reset: bool, dry_run: bool, json_lines: bool) -> None:
    """Fill the site with people, runs and their checklists, all derived from one number."""
    output = Output(json_lines)
    held = seed_stores.survey()
    others = {int(match[1]) for runid in held.runids if (match := RUNID.fullmatch(runid))} - {seed}
    if others and not reset:
        output.refuse(
            f"the site holds runs of seed {', '.join(map(str, sorted(others)))}, and --reset was not given"
        )
    if read_marker(geodata_root()) is None:
        output.refuse("the runs would cover the sample geodata, which has not been made yet")
    removed = None
    if reset:
        try:
            removed = seed_reset.count(held) if dry_run else _reset(held, output.step)
        except seed_reset.BusyError as error:
            output.refuse(str(error))
        held = seed_stores.Held()
    filled = seed_stores.fill(seed, scale, held, output.step, dry_run=dry_run)
    output.answer({"seed": seed, **asdict(filled), **({"removed": asdict(removed)} if removed else {})})


def _reset(held: seed_stores.Held, progress: Callable[[str, str], None]) -> seed_reset.Removed:
    removed = seed_reset.remove(held, progress)
    progress("reset", f"{removed.runs} runs and {removed.accounts} accounts removed")
    return removed
