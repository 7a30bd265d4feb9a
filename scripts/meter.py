"""Owns the progress of one long piece of work in phases: a bar with bytes, rate and time left on a terminal, else a
line when a phase begins and one every half minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from scripts.clock import Clock, SystemClock
from scripts.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

QUIET_SECONDS = 30.0


class Meter(Protocol):
    """Takes how far the work has come."""

    def update(self, phase: str, done: int, total: int) -> None:
        """Sets bytes done of `total` (0: nobody knows) in a phase; another phase's name begins that one."""


@contextmanager
def meter(console: Console, clock: Clock | None = None) -> Iterator[Meter]:
    """A meter on the console, gone from the terminal when left."""
    if not console.lively:
        yield _PlainMeter(console, clock or SystemClock())
        return
    from rich.console import Console as RichConsole
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=RichConsole(file=console.err),
        transient=True,
        redirect_stdout=False,
    ) as progress:
        yield _RichMeter(progress)


class _RichMeter:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def update(self, phase: str, done: int, total: int) -> None:
        """See Meter.update."""
        if phase not in self._bars:
            self._bars[phase] = self._progress.add_task(phase, total=total or None)
        self._progress.update(self._bars[phase], completed=done, total=total or None)


class _PlainMeter:
    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._told: dict[str, float] = {}

    def update(self, phase: str, done: int, total: int) -> None:
        """See Meter.update."""
        now = self._clock.monotonic()
        if phase in self._told and now - self._told[phase] < QUIET_SECONDS:
            return
        first = phase not in self._told
        self._told[phase] = now
        share = f" ({100 * done // total} %)" if total else ""
        self._console.say(f"  {phase}" if first else f"  {phase}: {megabytes(done)}{share}")


def megabytes(number: int) -> str:
    """A number of bytes for people: `1.2 GB`, `223.4 MB`, `17 kB` (powers of ten, as disks are sold)."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} B"
