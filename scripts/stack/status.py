"""`compose-status`: what runs, how healthy, since when, on which ports, with how much memory."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from scripts.base.clock import SYSTEM_CLOCK, Clock, duration, moment
from scripts.base.console import Console
from scripts.engine import problems
from scripts.engine.compose import Compose
from scripts.engine.container import Container, by_service

COLUMNS = ["service", "state", "ports", "uptime", "memory", "purpose"]
WATCH_SECONDS = 2.0


@dataclass(frozen=True)
class Row:
    """One service. uptime in whole seconds; memory as the engine words it; None where it does not run."""

    service: str
    state: str
    ports: list[str]
    uptime: int | None
    memory: str
    about: str
    active: bool

    @property
    def cells(self) -> list[str]:
        uptime = "" if self.uptime is None else duration(self.uptime)
        return [self.service, self.state, ", ".join(self.ports), uptime, self.memory, self.about]


def rows(compose: Compose, now: float) -> list[Row]:
    """Return all services that are active or have a container. Raise StackError when engine or model do not answer."""
    # Compose renders it meanwhile.
    _ = compose.rendering
    containers = compose.containers()
    memory = compose.engine.memory([each.id for each in containers if each.state == "running"])
    catalogue = compose.catalogue
    active = {service.name for service in catalogue.active(compose.active_profiles)}
    there = by_service(containers)
    found = []
    for name, service in catalogue.services.items():
        container = there.pop(name, None)
        if container or name in active:
            found.append(_row(name, service.about, name in active, container, memory, now))
    # Left over from an earlier version of the compose files.
    found += [
        _row(name, "(not in the compose files)", False, each, memory, now) for name, each in there.items()
    ]
    return found


def _row(
    name: str, about: str, active: bool, container: Container | None, memory: dict[str, str], now: float
) -> Row:
    if container is None:
        return Row(name, "absent", [], None, "", about, active)
    running = container.state == "running"
    ports = [f"{address}:{number}" for address, number, _ in container.ports]
    uptime = seconds_since(container.started_at, now) if running else None
    return Row(name, container.condition, ports, uptime, memory.get(container.id, ""), about, active)


def seconds_since(text: str, now: float) -> int | None:
    """Whole seconds from a moment as the engine writes it to `now`."""
    started = moment(text)
    return None if started is None else max(0, int(now - started))


def show(compose: Compose, console: Console, clock: Clock = SYSTEM_CLOCK) -> bool:
    """Print the state once; return whether all that should run does so, and well. Raise StackError."""
    with console.busy("asking the engine"), ThreadPoolExecutor() as pool:
        told = pool.submit(rows, compose, clock.now())
        containers = compose.containers()
        checks = (problems.of_services, problems.of_password, problems.of_redis)
        wrong = [problem for check in checks for problem in check(compose, containers)]
        found = told.result()
    if console.as_json:
        console.document(
            {
                "ok": not wrong,
                "project": compose.project,
                "services": [asdict(row) for row in found],
                "problems": [asdict(each) for each in wrong],
            }
        )
        return not wrong
    console.table(COLUMNS, [row.cells for row in found])
    problems.warn(console, wrong)
    return not wrong


def watch(compose: Compose, console: Console, clock: Clock = SYSTEM_CLOCK) -> bool:
    """Redraw the state every two seconds until Ctrl-C; where there is no terminal, print it once, as `show` does."""
    if console.as_json or not console.pretty:
        return show(compose, console, clock)
    with console.live(COLUMNS) as draw, contextlib.suppress(KeyboardInterrupt):
        while True:
            title = f"{compose.project} - Ctrl-C ends this view, not the stack"
            draw([row.cells for row in rows(compose, clock.now())], title)
            clock.sleep(WATCH_SECONDS)
    return True
