"""What a check finds: how bad it is, and how to fix it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is. Errors keep the stack from starting, warnings do not."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """What one check found, and how to fix it. services: those that it keeps from starting; empty: everything."""

    check: str
    level: Level
    what: str
    fix: str = ""
    services: tuple[str, ...] = ()
