"""What tests of the examination share: a checkout in which all is well, and what is found in it."""

from __future__ import annotations

from pathlib import Path

from scripts.prepare.doctor import examination
from scripts.prepare.finding import Finding, Level
from tests.unit.fakes import Checkout, FakeHost


def errors(checkout: Checkout, machine: FakeHost | None = None) -> list[Finding]:
    return examination.errors_of(examination.examine(checkout.compose(), machine or FakeHost()))


def warnings(checkout: Checkout, machine: FakeHost | None = None) -> list[str]:
    findings = examination.examine(checkout.compose(), machine or FakeHost())
    return [each.what for each in findings if each.level is Level.WARNING]


def running(checkout: Checkout, check: str) -> list[Finding]:
    findings = examination.examine(checkout.compose(), FakeHost(), running=True)
    return [each for each in findings if each.check == check]


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    assert findings[0].fix, "every error needs a fix"
    return findings[0]


def well(folder: Path) -> Checkout:
    """A checkout in which nothing is wrong."""
    made = Checkout(folder)
    made.with_env()
    made.with_secrets()
    return made
