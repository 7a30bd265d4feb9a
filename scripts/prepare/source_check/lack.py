"""What one check found: who cannot start because of it, what is wrong, what to do."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.prepare.finding import Level


@dataclass(frozen=True)
class Lack:
    """One thing that is missing or wrong. services: who is affected; an error keeps these from starting.

    Without services it is about the tree as a whole; an error then keeps everything from starting.
    """

    check: str
    what: str
    fix: str = ""
    services: tuple[str, ...] = ()
    level: Level = Level.ERROR

    def document(self) -> dict[str, object]:
        """Return it as a member of `findings` in the JSON answer."""
        return {
            "check": self.check,
            "level": str(self.level),
            "services": list(self.services),
            "what": self.what,
            "fix": self.fix,
        }
