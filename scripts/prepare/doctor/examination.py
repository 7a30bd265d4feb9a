"""Examine everything before it is started: which checks there are, their order, and how findings are told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from scripts.base.console import Console
from scripts.base.errors import StackError
from scripts.base.host import LOCAL_HOST, Host
from scripts.engine.compose import Compose
from scripts.prepare.doctor import engine, machine, settings
from scripts.prepare.doctor import running as running_checks
from scripts.prepare.finding import Check, Finding, Level, Target, require_none


def examine(compose: Compose, host: Host = LOCAL_HOST, *, running: bool = False) -> list[Finding]:
    """Run all checks that make sense and return what they found, the foundations first.

    running: look at what runs, too. Without an engine nothing is asked of it; without a usable `.env` or model nothing
    is derived from them.
    """
    target = Target(compose, host)
    rendered, findings = _foundations(target)
    engine_up = not any(each.check == engine.ENGINE and each.level is Level.ERROR for each in findings)
    later: list[Check] = []
    if rendered:
        later += settings.MODEL_CHECKS
        if engine_up:
            later += [*engine.MODEL_CHECKS, *machine.ENGINE_CHECKS]
            later += running_checks.CHECKS if running else []
    later += machine.CHECKS
    return findings + _run(target, later)


def _foundations(target: Target) -> tuple[bool, list[Finding]]:
    """Settings, engine and rendered model at once: each waits for another program."""
    with ThreadPoolExecutor() as pool:
        told = [pool.submit(_collect, check, target) for check in (*settings.CHECKS, *engine.CHECKS)]
        model = pool.submit(_render, target)
        findings = [finding for each in told for finding in each.result()]
        problem = model.result()
    if problem and not any(each.what == problem.what for each in findings):
        findings.append(Finding("compose files", problem.what, problem.fix))
    return problem is None, findings


def _render(target: Target) -> StackError | None:
    try:
        _ = target.compose.model
    except StackError as error:
        return error
    return None


def _run(target: Target, checks: Sequence[Check]) -> list[Finding]:
    with ThreadPoolExecutor() as pool:
        return [
            finding for found in pool.map(lambda check: _collect(check, target), checks) for finding in found
        ]


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
            console.warn(f"{each.what} ({each.fix})" if each.fix else each.what)
    require_none(errors_of(findings))
