"""Requests that can't be granted, in words for whoever sent them; numbers in parameters."""

from __future__ import annotations

import math

# Headers of errors, by their status.
HEADERS = {503: {"Retry-After": "5"}}


class Refusal(Exception):  # noqa: N818 - an expected answer, not an error of the program
    """A request that can't be granted: a text without paths, and the HTTP status for interfaces that tell it by one."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        self.headers = HEADERS.get(status, {})


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
