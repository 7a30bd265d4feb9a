"""Ask every backend for its health, by one request THROUGH the reverse proxy.

A container's own health check does not see a proxy that cannot reach it, and a proxy's own page is no backend:
status, body and the absence of a redirect are all asked for.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from scripts.base.clock import Clock
from scripts.engine.catalogue import Service

REQUEST_SECONDS = 5.0
PAUSE_SECONDS = 0.25
# A health body is a word or two; more is some other page.
BODY_LIMIT = 4096


@dataclass(frozen=True)
class Answer:
    """What came back: HTTP status (0 when nothing did), body as text, and what went wrong in words."""

    status: int
    body: str = ""
    problem: str = ""


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


Ask = Callable[[str, int, str], Answer]


def ask(host: str, port: int, path: str) -> Answer:
    """Return one GET that follows no redirect and uses no HTTP proxy of the environment."""
    connection = http.client.HTTPConnection(host, port, timeout=REQUEST_SECONDS)
    try:
        connection.request("GET", path, headers={"Host": f"localhost:{port}", "Connection": "close"})
        response = connection.getresponse()
        return Answer(response.status, response.read(BODY_LIMIT).decode("utf-8", "replace").strip())
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, problem=str(error) or type(error).__name__)
    finally:
        connection.close()


def verdict(service: Service, answer: Answer) -> str:
    """Return why this answer is not the backend's health; empty when it is."""
    if answer.problem:
        return answer.problem
    if 300 <= answer.status < 400:
        return f"answered with a redirect ({answer.status})"
    if answer.status != 200:
        return f"answered {answer.status}: {_short(answer.body)}"
    if service.probe_body and answer.body != service.probe_body:
        return f"answered {_short(answer.body)} instead of {service.probe_body}"
    return ""


def probe_all(
    services: Sequence[Service],
    proxy: tuple[str, int],
    clock: Clock,
    *,
    seconds: float,
    asking: Ask = ask,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Ask every service that has a probe, each until it answers well or the time is over.

    proxy: host and port of the proxy. seconds: how long an answer may take to become right.
    """
    deadline = clock.monotonic() + seconds
    targets = [service for service in services if service.probe]

    def one(service: Service) -> Outcome:
        while True:
            problem = verdict(service, asking(*proxy, service.probe))
            if not problem or clock.monotonic() + PAUSE_SECONDS >= deadline:
                outcome = Outcome(service.name, service.probe, problem)
                if on_outcome:
                    on_outcome(outcome)
                return outcome
            clock.sleep(PAUSE_SECONDS)

    if not targets:
        return []
    with ThreadPoolExecutor(max_workers=len(targets)) as pool:
        return list(pool.map(one, targets))


def _short(body: str) -> str:
    first = body.splitlines()[0] if body else "nothing"
    return first if len(first) <= 80 else first[:77] + "..."
