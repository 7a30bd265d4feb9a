"""Prove through the reverse proxy that a stack serves its users: each backend's health, the pages people need."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from scripts.base.clock import Clock
from scripts.base.errors import ExitCode, StackError
from scripts.engine import pages, probe
from scripts.engine.catalogue import PROXY, Catalogue, Service
from scripts.engine.compose import Compose
from scripts.engine.failure import Failed, around
from scripts.engine.proxy_request import Fetch, fetch

PROBE_SECONDS = 30.0
# What is shown of a longer list; the JSON answer holds all.
MOST_SHOWN = 5


@dataclass(frozen=True)
class Proof:
    """What was asked for, and answered as it should be."""

    outcomes: tuple[probe.Outcome, ...] = ()
    visits: tuple[pages.Visit, ...] = ()


def prove(
    compose: Compose,
    services: Sequence[Service],
    clock: Clock,
    *,
    fetching: Fetch = fetch,
) -> Proof:
    """Ask these services for their health and their pages. Raise StackError (failed) with the first wrong answer.

    Nothing is asked where the proxy is not among them or publishes no port on this machine.
    """
    catalogue = Catalogue.of(compose.model)
    proxy = catalogue.proxy_address()
    if proxy is None or all(service.name != PROXY for service in services):
        return Proof()
    # A second earlier: the engine may write a moment down before the request's own was taken.
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock.now() - 1))
    with ThreadPoolExecutor(max_workers=1) as pool:
        visiting = pool.submit(pages.visit_all, services, proxy, clock, fetching=fetching)
        outcomes = probe.probe_all(services, proxy, clock, seconds=PROBE_SECONDS, fetching=fetching)
        visits = visiting.result()
    # A page is the user's own word: its error says more than a health check's.
    _refuse_pages(compose, catalogue, [each for each in visits if not each.ok], since)
    _refuse_outcomes(catalogue, [each for each in outcomes if not each.ok])
    return Proof(tuple(outcomes), tuple(visits))


def visits_document(catalogue: Catalogue, visits: Sequence[pages.Visit]) -> list[dict[str, Any]]:
    """Return the visits for the JSON answer."""
    return [
        {"service": each.service, "url": catalogue.url(each.path), "status": each.status, "ok": each.ok}
        for each in visits
    ]


def _refuse_pages(compose: Compose, catalogue: Catalogue, broken: Sequence[pages.Visit], since: str) -> None:
    if not broken:
        return
    causes: list[tuple[pages.Visit, Failed]] = []
    shown: set[str] = set()
    details = []
    for visit in broken:
        why = around(compose, visit.service, since, visit.error_id)
        causes.append((visit, why))
        line = f"{visit.service}: GET {catalogue.url(visit.path)} {visit.problem}"
        # Pages that fail for the same reason share their log.
        details.append(line if why.cause in shown else f"{line}\n{why.details}")
        shown.add(why.cause)
    visit, why = causes[0]
    more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
    raise StackError(
        f"all healthy, but no user gets {catalogue.url(visit.path)}: it {visit.problem}"
        f"{f'; cause: {why.cause}' if why.cause else ''}{more}",
        f"fix it (the whole log: `invoke compose-logs --services={visit.service}`), then run this again",
        ExitCode.FAILED,
        details="\n".join(details[:MOST_SHOWN]),
        facts={
            "pages": [
                {**fact, "problem": each.problem, "cause": reason.cause}
                for fact, (each, reason) in zip(visits_document(catalogue, broken), causes, strict=True)
            ]
        },
    )


def _refuse_outcomes(catalogue: Catalogue, broken: Sequence[probe.Outcome]) -> None:
    if not broken:
        return
    raise StackError(
        f"healthy inside, but not reached through the proxy: {', '.join(each.service for each in broken)}",
        "see docker/caddy/Caddyfile and `invoke compose-logs --services=caddy`",
        ExitCode.FAILED,
        details="\n".join(
            f"{each.service}: GET {catalogue.url(each.path)} {each.problem}" for each in broken
        ),
        facts={
            "services": [
                {"name": each.service, "url": catalogue.url(each.path), "problem": each.problem}
                for each in broken
            ]
        },
    )
