"""Time: the one place where host code waits or looks at a clock, so that tests can do both at once."""

from __future__ import annotations

import time
from datetime import datetime

UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


class Clock:
    """The machine's own clock; tests have one in which time passes by sleeping alone."""

    def monotonic(self) -> float:
        """Return the seconds since some fixed moment; never goes back."""
        return time.monotonic()

    def now(self) -> float:
        """Return the seconds since the Unix epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


SYSTEM_CLOCK = Clock()


def moment(text: str) -> float | None:
    """Return the seconds since the epoch of an RFC 3339 moment as the engine writes it; None for another text."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def local_time(seconds: float) -> str:
    """Return a moment (seconds since the epoch) for people, in this machine's zone."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def duration(seconds: float) -> str:
    """Return the seconds for people, the two largest units: `3 d 4 h`."""
    rest, parts = int(seconds), []
    for unit, size in UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def age(now: datetime, since: str) -> str:
    """Return for people how long ago that was."""
    seconds = (now - datetime.fromisoformat(since)).total_seconds()
    return duration(seconds) if seconds >= 0 else "in the future"
