"""Time: the one place where host code waits or looks at a clock, so that tests can do both at once."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Protocol

MINUTE, HOUR, DAY = 60, 3600, 86400


class Clock(Protocol):
    """What host code may ask of time."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""

    def now(self) -> float:
        """Seconds since the Unix epoch."""

    def sleep(self, seconds: float) -> None:
        """Waits."""


class SystemClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        return time.monotonic()

    def now(self) -> float:
        """Seconds since the Unix epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Waits."""
        time.sleep(seconds)


def moment(text: str) -> float | None:
    """Seconds since the epoch of an RFC 3339 moment as the engine writes it; None for another text."""
    head, _, tail = text.rstrip("Z").partition(".")
    try:
        return datetime.fromisoformat(f"{head}.{tail[:6] or '0'}+00:00").timestamp()
    except ValueError:
        return None


def age(now: datetime, since: str) -> str:
    """Return for people how long ago that was: its largest unit, with one more digit where that says much."""
    seconds = (now - datetime.fromisoformat(since)).total_seconds()
    if seconds < 0:
        return "in the future"
    if seconds < HOUR:
        return f"{seconds // MINUTE:.0f} min" if seconds >= MINUTE else f"{seconds:.0f} s"
    return f"{seconds / HOUR:.1f} h" if seconds < 2 * DAY else f"{seconds / DAY:.1f} d"
