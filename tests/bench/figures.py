"""What a benchmark prints: one line of JSON for programs on standard output, a table for people on standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Figure:
    """One measured number and the number it is held against; without a goal it is there to be read."""

    name: str
    measured: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool:
        """Whether the goal is reached; a figure without a goal always is."""
        return (self.at_most is None or self.measured <= self.at_most) and (
            self.at_least is None or self.measured >= self.at_least
        )

    @property
    def goal(self) -> str:
        """The goal in words, empty without one."""
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return "" if self.at_least is None else f">= {self.at_least:g}"


def readable(measured: float) -> str:
    """A number as people read it; the line of JSON has every digit."""
    return f"{measured:,.0f}" if measured >= 1000 or measured == int(measured) else f"{measured:.3f}"


def report(bench: str, figures: Sequence[Figure]) -> int:
    """Print the figures of one benchmark with the machine's load; return 0, or 1 when a goal is missed."""
    load = [round(value, 2) for value in os.getloadavg()]
    entries = [{**asdict(figure), "met": figure.met} for figure in figures]
    print(json.dumps({"bench": bench, "cores": os.cpu_count(), "load": load, "figures": entries}), flush=True)
    rows = [("FIGURE", "MEASURED", "GOAL", "UNIT", "")]
    for figure in figures:
        verdict = ("met" if figure.met else "MISSED") if figure.goal else ""
        rows.append((figure.name, readable(figure.measured), figure.goal, figure.unit, verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    print(f"{bench} (load {load[0]:g}, {os.cpu_count()} cores)", file=sys.stderr)
    for name, measured, goal, unit, verdict in rows:
        line = f"  {name:<{widths[0]}}  {measured:>{widths[1]}}  {goal:>{widths[2]}}  {unit:<{widths[3]}}  {verdict}"
        print(line.rstrip(), file=sys.stderr)
    sys.stderr.flush()
    return 0 if all(figure.met for figure in figures) else 1
