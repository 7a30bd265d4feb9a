"""Examine everything before it is started: which checks there are, their order, and how findings are told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from scripts.base.console import Console
from scripts.base.errors import StackError
from scripts.base.host import LOCAL_HOST, Host
from scripts.engine.compose import Compose
from scripts.prepare.doctor import machine, settings
from scripts.prepare.doctor import running as running_checks
from scripts.prepare.finding import Check, Finding, Level, Target, require_none

COMPOSE_FILES = "compose files"


def examine(compose: Compose, host: Host = LOCAL_HOST, *, running: bool = False) -> list[Finding]:
    """Run all checks that make sense and return what they found, the foundations first.

    running: look at what runs, too. Without an engine nothing is asked of it; without a usable `.env` or model nothing
    is derived from them.
    """
    target = Target(compose, host)
    # Settings, engine and rendered model at once: each waits for another program.
    found = _run(target, [*settings.CHECKS, *machine.CHECKS, check_compose_files])
    wrong = {each.check for each in found if each.level is Level.ERROR}
    later: list[Check] = []
    if COMPOSE_FILES not in wrong:
        later += settings.MODEL_CHECKS
        if machine.ENGINE not in wrong:
            later += machine.MODEL_CHECKS
            later += running_checks.CHECKS if running else []
    found += _run(target, later)
    # What several checks stumble over is told once.
    told: dict[str, Finding] = {}
    for each in found:
        told.setdefault(each.what, each)
    return list(told.values())


def check_compose_files(target: Target) -> Iterator[Finding]:
    """The compose files render."""
    _ = target.compose.model
    yield from ()


def _run(target: Target, checks: Sequence[Check]) -> list[Finding]:
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda check: _collect(check, target), checks)
        return [finding for each in found for finding in each]


def _collect(check: Check, target: Target) -> list[Finding]:
    try:
        return list(check(target))
    except StackError as error:
        name = check.__name__.removeprefix("check_").replace("_", " ")
        return [Finding(name, error.what, error.fix)]


def errors_of(findings: Iterable[Finding]) -> list[Finding]:
    """Return those that keep the stack from starting."""
    return [each for each in findings if each.level is Level.ERROR]


def show(console: Console, findings: Sequence[Finding]) -> None:
    """The findings as a table or as JSON."""
    if console.as_json:
        console.document(
            {
                "ok": not errors_of(findings),
                "findings": [
                    {"check": each.check, "level": str(each.level), "what": each.what, "fix": each.fix}
                    for each in findings
                ],
            }
        )
        return
    console.table(
        ["level", "check", "found", "fix"],
        [[str(each.level), each.check, each.what, each.fix] for each in findings],
    )


def require(console: Console, findings: Sequence[Finding]) -> None:
    """Say the warnings; raise StackError when there is an error, all of them in its details."""
    for each in findings:
        if each.level is Level.WARNING:
            console.warn(each.line)
    require_none(errors_of(findings))
