"""What a check of `doctor` is, and what it looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from scripts.base.host import Host
from scripts.engine.compose import Compose
from scripts.prepare.finding import Finding


@dataclass(frozen=True)
class Target:
    """What the checks look at."""

    compose: Compose
    host: Host


Check = Callable[[Target], Iterable[Finding]]
