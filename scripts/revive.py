"""Owns how containers that ran before are started again, in the order that makes them useful: what the web application
needs, then itself, then the rest; and how it is known, within a tenth of a second, that each is well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scripts import full_disk
from scripts.catalogue import DOOR, Catalogue
from scripts.clock import Clock
from scripts.compose import Compose
from scripts.console import Console
from scripts.container import Container
from scripts.journal import Kept
from scripts.probe import Ask, ask, verdict

# The engine looks every 30 s; a pause is measured in tenths.
PAUSE_SECONDS = 0.1
PATIENCE_SECONDS = 120.0
MEANWHILE_SECONDS = 1.0


def settle(compose: Compose, ids: Sequence[str], seconds: int) -> None:
    """Waits for stops that may be under way: the engine finishes one even when whoever asked is dead."""
    if not ids:
        return
    still = [
        each.name
        for each in compose.engine.containers(compose.project)
        if each.id in ids and each.state == "running"
    ]
    if still:
        # A second stop ends with the first.
        compose.engine.stop(still, seconds)


def start(
    compose: Compose,
    console: Console,
    wanted: Sequence[Kept],
    clock: Clock,
    *,
    asking: Ask = ask,
    on_web: Callable[[], object] = lambda: None,
    patience: float = PATIENCE_SECONDS,
) -> list[str]:
    """Starts those of `wanted` that exist and do not run; returns what did not come back, in words.

    on_web: called once the web application is known to serve, even if it was never stopped.
    """
    now = {each.id: each for each in compose.engine.containers(compose.project)}
    idle = [now[each.id] for each in wanted if each.id in now and now[each.id].state != "running"]
    catalogue = Catalogue.of(compose.model)
    names = [each.name for each in catalogue.services.values() if each.url]
    web = [each for each in idle if each.service in names]
    needed = {
        DOOR,
        *(need for name in names for need in compose.model["services"][name].get("depends_on") or ()),
    }
    first = [each for each in idle if each not in web and each.service in needed]
    rest = [each for each in idle if each not in web and each not in first]
    door_serves = any(each.service == DOOR for each in wanted)
    health = Health(compose, asking if door_serves else None)
    ill = {each.id for each in wanted if each.ill}
    problems: list[str] = []
    ids = {each.id for each in wanted}
    later = {each.id for each in idle}

    def start_fallen() -> str:
        """Starts what ran a moment ago and was killed since: nobody becomes well without it. See Health.wait."""
        fallen = [
            each.name
            for each in compose.engine.containers(compose.project)
            if each.id in ids and each.id not in later and each.state == "exited"
        ]
        if fallen:
            compose.engine.start(fallen)
        reason = full_disk.holds_up(compose)
        return f"cannot be well while a disk is full: {reason}" if reason else ""

    for group in (first, web, rest):
        if group:
            later -= {each.id for each in group}
            console.say(f"starting {', '.join(each.service for each in group)}")
            problem = compose.engine.start([each.name for each in group])
            if problem:
                problems.append(problem)
            expected = [each for each in group if each.id not in ill]
            problems += health.wait(expected, clock, patience, meanwhile=start_fallen)
        if group is web:
            on_web()
    return problems


class Health:
    """Whether containers are well, asked directly. asking: how to ask through the proxy; None where it does not run."""

    def __init__(self, compose: Compose, asking: Ask | None) -> None:
        self.compose = compose
        self.asking = asking
        catalogue = Catalogue.of(compose.model)
        self.services = catalogue.services
        self.door = catalogue.door()

    def wait(
        self,
        containers: Sequence[Container],
        clock: Clock,
        patience: float,
        *,
        meanwhile: Callable[[], str] = lambda: "",
    ) -> list[str]:
        """Waits until all are well; returns what is not after `patience` seconds, in words.

        meanwhile: called about every second; returns why no waiting helps, empty while it may.
        """
        deadline = clock.monotonic() + patience
        called = clock.monotonic()
        waiting = list(containers)
        while True:
            problems = {each.id: self.problem(each) for each in waiting}
            waiting = [each for each in waiting if problems[each.id]]
            if not waiting or clock.monotonic() >= deadline:
                return [f"{each.service} {problems[each.id]}" for each in waiting]
            if clock.monotonic() - called >= MEANWHILE_SECONDS:
                if reason := meanwhile():
                    return [f"{each.service} {reason}" for each in waiting]
                called = clock.monotonic()
            clock.sleep(PAUSE_SECONDS)

    def problem(self, container: Container) -> str:
        """Why the container is not well now; empty when it is."""
        service = self.services.get(container.service)
        if service and service.probe and self.asking and self.door:
            return verdict(service, self.asking(*self.door, service.probe))
        if not container.health_test:
            return ""
        result = self.compose.engine.run_health(container)
        return "" if result.ok else f"is not healthy: {result.complaint}"
