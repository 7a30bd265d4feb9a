"""`source-check`: what each service lacks of a checkout, as a table or as JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from scripts.base.console import Console
from scripts.engine.compose import Compose
from scripts.prepare import overlays, source_mounts
from scripts.prepare.finding import Finding, Level
from scripts.prepare.source_check import checks
from scripts.prepare.source_check.checks import Report
from scripts.prepare.source_check.packages import REAL_TREES


def source_check(compose: Compose, console: Console, tree: str = "") -> bool:
    """Check a tree and show what was found; True when every service that is switched on can start.

    tree: a checkout to check instead of the one in `.env`.
    """
    _choose(compose, tree)
    report = checks.examine(compose)
    if console.as_json:
        console.document(document(report))
    else:
        _show(console, report)
    return report.ok


def _choose(compose: Compose, tree: str) -> None:
    """Let this process see the tree, and the compose files that `compose-up` would list for it; `.env` stays."""
    if tree:
        path = Path(tree).expanduser().absolute()
        compose.overrides["WEPPPY_SRC"] = str(path)
        if (path / REAL_TREES).is_file():
            compose.overrides["WEPPPY_REQUIREMENTS"] = REAL_TREES
    compose.environment = {**compose.environment, overlays.TREE: compose.setting(overlays.TREE)}
    overlays.follow(compose)
    # What hides parts of a checkout is written by `compose-up`, for the tree that it starts.
    kept = [name for name in compose.files if Path(name).name != source_mounts.NAME]
    if kept != compose.files:
        compose.overrides["COMPOSE_FILE"] = ":".join(kept)


def document(report: Report) -> dict[str, object]:
    """Return the JSON answer."""
    return {
        "ok": report.ok,
        "tree": str(report.tree),
        "services": [
            {
                "name": need.name,
                "active": need.active,
                "can_start": not report.of(need.name),
                "lacks": [{"what": each.what, "fix": each.fix} for each in report.of(need.name)],
            }
            for need in report.needs
        ],
        "findings": [asdict(each) for each in report.lacks],
    }


def _show(console: Console, report: Report) -> None:
    everywhere = [each for each in report.lacks if each.level is Level.ERROR and not each.services]
    rows = [["(all)", "error", each.what, each.fix] for each in everywhere]
    told: set[Finding] = set()
    for need in report.needs:
        own = [each for each in report.of(need.name) if each.services]
        ok = not own and not everywhere
        state = ("ok" if ok else "error") if need.active else ("off" if ok else "off, cannot start")
        # The fix of what several services lack is told once.
        lacks = [(each.what, "(see above)" if each in told else each.fix) for each in own] or [("", "")]
        rows += [["" if number else need.name, state, *lack] for number, lack in enumerate(lacks)]
        told |= set(own)
    console.table(["service", "state", "lacks", "fix"], rows)
    for each in report.lacks:
        if each.level is Level.WARNING:
            console.warn(each.line)
    active = [need for need in report.needs if need.active]
    ready = [need for need in active if not report.of(need.name)]
    console.say(f"{report.name}: {len(ready)} of {len(active)} services that are switched on can start")
