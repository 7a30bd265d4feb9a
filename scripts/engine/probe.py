"""Ask every backend for its health, by one request THROUGH the reverse proxy.

A container's own health check does not see a proxy that cannot reach it, and a proxy's own page is no backend:
status, body and the absence of a redirect are all asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from scripts.base.clock import Clock
from scripts.engine.catalogue import Service
from scripts.engine.pages import told
from scripts.engine.proxy_request import Fetch, Reply, fetch

REQUEST_SECONDS = 5.0
PAUSE_SECONDS = 0.25


@dataclass(frozen=True)
class Outcome:
    """Whether a service answered as it should; problem says why not."""

    service: str
    path: str
    problem: str = ""

    @property
    def ok(self) -> bool:
        """True when the backend answered as its label promises."""
        return not self.problem


def verdict(service: Service, reply: Reply) -> str:
    """Return why this reply is not the backend's health; empty when it is."""
    body = reply.body.strip()
    if reply.problem:
        return reply.problem
    if 300 <= reply.status < 400:
        return f"answered with a redirect ({reply.status})"
    if reply.status != 200:
        return f"answered {reply.status}: {_short(told(body)[0] if body.startswith('<') else body)}"
    if service.probe_body and body != service.probe_body:
        return f"answered {_short(body)} instead of {service.probe_body}"
    return ""


def probe_all(
    services: Sequence[Service],
    proxy: tuple[str, int],
    clock: Clock,
    *,
    seconds: float,
    fetching: Fetch = fetch,
) -> list[Outcome]:
    """Ask every service that has a probe, each until it answers well or the time is over.

    proxy: host and port of the proxy. seconds: how long an answer may take to become right.
    """
    deadline = clock.monotonic() + seconds
    targets = [service for service in services if service.probe]

    def one(service: Service) -> Outcome:
        while True:
            problem = verdict(service, fetching(proxy, service.probe, {}, REQUEST_SECONDS))
            if not problem or clock.monotonic() + PAUSE_SECONDS >= deadline:
                return Outcome(service.name, service.probe, problem)
            clock.sleep(PAUSE_SECONDS)

    if not targets:
        return []
    with ThreadPoolExecutor(max_workers=len(targets)) as pool:
        return list(pool.map(one, targets))


def _short(body: str) -> str:
    first = body.splitlines()[0] if body else "nothing"
    return first if len(first) <= 80 else first[:77] + "..."
