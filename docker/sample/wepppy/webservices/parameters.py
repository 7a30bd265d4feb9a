"""Parameters of the services whose expected problems are answered with status 200."""

from __future__ import annotations

import math


class Refusal(Exception):  # noqa: N818 - an expected answer, not an error of the program
    """An expected problem: the text of the answer's `Error`, with status 200."""


def number(name: str, value: object) -> float:
    """Return the finite number that a parameter holds, as text or as a number of JSON. Raises Refusal."""
    if value is None or value == "":
        raise Refusal(f"{name} not supplied")
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        result = float(value)
    except (ValueError, OverflowError):
        raise Refusal(f"could not parse {name}") from None
    if not math.isfinite(result):
        raise Refusal(f"could not parse {name}")
    return result
