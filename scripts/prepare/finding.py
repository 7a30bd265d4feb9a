"""What a check looks at, and what it finds: how bad it is, and how to fix it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from scripts.base.errors import StackError
from scripts.base.host import Host
from scripts.engine.compose import Compose


class Level(StrEnum):
    """How bad a finding is. Errors keep the stack from starting, warnings do not."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """What one check found, and how to fix it. services: those that it keeps from starting; empty: everything."""

    check: str
    what: str
    fix: str = ""
    level: Level = Level.ERROR
    services: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """What was found, the fix in brackets."""
        return f"{self.what} ({self.fix})" if self.fix else self.what


def require_none(errors: Sequence[Finding]) -> None:
    """Raise StackError for the first of these errors, the others in its details."""
    if errors:
        details = "\n".join(f"{each.check}: {each.what}\n  fix: {each.fix}" for each in errors[1:])
        raise StackError(errors[0].what, errors[0].fix, details=details)


@dataclass(frozen=True)
class Target:
    """What the checks of `doctor` look at."""

    compose: Compose
    host: Host


Check = Callable[[Target], Iterable[Finding]]
