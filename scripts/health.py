"""Tell which containers are healthy, and wait for those that are not yet."""

from __future__ import annotations

from collections.abc import Collection

from scripts.clock import Clock
from scripts.compose import Compose
from scripts.container import Container

# A service is looked at every 30 s; a worker whose store was away needs some seconds more.
RECOVERY_SECONDS, PAUSE_SECONDS = 120.0, 1.0


def is_well(container: Container) -> bool:
    """Return True for a container that runs and is healthy, or has no health check."""
    return container.state == "running" and container.health in ("healthy", "")


def unhealthy_after(
    compose: Compose,
    clock: Clock,
    services: Collection[str] | None = None,
    *,
    seconds: float = RECOVERY_SECONDS,
) -> list[str]:
    """Wait until every running container is healthy, of these services or of all; return the services not in time.

    Raise StackError when the engine does not answer.
    """
    deadline = clock.monotonic() + seconds
    while True:
        left = sorted(
            each.service
            for each in compose.engine.containers(compose.project)
            if each.state == "running"
            and not each.oneoff
            and not is_well(each)
            and (services is None or each.service in services)
        )
        if not left or clock.monotonic() >= deadline:
            return left
        clock.sleep(PAUSE_SECONDS)
