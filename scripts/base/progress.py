"""Progress of a long piece of work in phases: bars with rate and time left on a terminal, else a line now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.filesize import decimal

from scripts.base.clock import SYSTEM_CLOCK, Clock
from scripts.base.console import Console

QUIET_SECONDS = 30.0
# Takes the phase's name, how many bytes of it are done, and of how many (0: not known).
Update = Callable[[str, int, int], None]


@contextmanager
def progress(console: Console, clock: Clock = SYSTEM_CLOCK) -> Iterator[Update]:
    """Yield a function that shows how far the work has come; bars are gone from the terminal afterwards."""
    if not console.lively:
        yield _lines(console, clock)
        return
    from rich.console import Console as RichConsole
    from rich.progress import DownloadColumn, Progress, TaskID, TransferSpeedColumn

    with Progress(
        *Progress.get_default_columns(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=RichConsole(file=console.err),
        transient=True,
        redirect_stdout=False,
    ) as bars:
        phases: dict[str, TaskID] = {}

        def draw(phase: str, done: int, total: int) -> None:
            if phase not in phases:
                phases[phase] = bars.add_task(phase, total=None)
            bars.update(phases[phase], completed=done, total=total or None)

        yield draw


def _lines(console: Console, clock: Clock) -> Update:
    """Return a function that prints a line when a phase begins, and one every half minute."""
    told: dict[str, float] = {}

    def tell(phase: str, done: int, total: int) -> None:
        now = clock.monotonic()
        if phase not in told:
            console.say(f"  {phase}")
        elif now - told[phase] >= QUIET_SECONDS:
            console.say(f"  {phase}: {decimal(done)}{f' ({100 * done // total} %)' if total else ''}")
        else:
            return
        told[phase] = now

    return tell
