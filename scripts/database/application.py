"""Whether the application serves its users: asked before and after its database is switched over."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.base.clock import SYSTEM_CLOCK, Clock
from scripts.base.errors import ExitCode, StackError
from scripts.engine import pages, probe, sidecar
from scripts.engine.catalogue import PROXY, Catalogue, Service
from scripts.engine.compose import Compose
from scripts.engine.database_server import DATABASE
from scripts.engine.failure import details, explain
from scripts.engine.proof import prove
from scripts.engine.proxy_request import Fetch, fetch
from scripts.settings.secret_ids import DATABASE as DATABASE_SECRET

WAIT_SECONDS, PAUSE_SECONDS = 30.0, 0.25


class Application:
    """The services that run: through the proxy where it runs, else by their own health checks."""

    def __init__(
        self,
        compose: Compose,
        clock: Clock = SYSTEM_CLOCK,
        *,
        fetching: Fetch = fetch,
    ) -> None:
        self.compose = compose
        self.clock = clock
        self.fetching = fetching
        self.catalogue = Catalogue.of(compose.model)

    def well(self) -> list[Service]:
        """Return the running services that answer as they should now; others are not blamed on the switchover."""
        running = {each.service for each in self.compose.containers(running=True)}
        services = [each for name, each in self.catalogue.services.items() if name in running]
        proxy = self.catalogue.proxy_address() if PROXY in running else None
        unhealthy = set(self._unhealthy(services))
        if proxy:
            outcomes = probe.probe_all(services, proxy, self.clock, seconds=0, fetching=self.fetching)
            visits = pages.visit_all(services, proxy, self.clock, fetching=self.fetching)
            unhealthy |= {each.service for each in outcomes if not each.ok}
            unhealthy |= {each.service for each in visits if not each.ok}
        return [each for each in services if each.name not in unhealthy]

    def check(self, services: Sequence[Service]) -> None:
        """Raise StackError (failed) unless these services answer as they should, now or within half a minute."""
        deadline = self.clock.monotonic() + WAIT_SECONDS
        while unhealthy := self._unhealthy(services):
            if self.clock.monotonic() >= deadline:
                failed = explain(self.compose, sorted(unhealthy))
                raise StackError(
                    f"not healthy: {', '.join(f'{name} ({why})' if why else name for name, why in unhealthy.items())}",
                    "see `invoke compose-logs`",
                    ExitCode.FAILED,
                    details=details(failed),
                )
            self.clock.sleep(PAUSE_SECONDS)
        prove(self.compose, services, self.clock, fetching=self.fetching)

    def _unhealthy(self, services: Sequence[Service]) -> dict[str, str]:
        """Return why those of the services that log in to the database are not healthy, by name."""
        stores = {DATABASE, sidecar.SERVICE}
        names = {each.name for each in services if DATABASE_SECRET in each.secrets} - stores
        containers = [each for each in self.compose.containers(running=True) if each.service in names]
        found = dict.fromkeys(names - {each.service for each in containers}, "does not run")
        for each in containers:
            if each.health_test and not (result := self.compose.engine.run_health(each)).ok:
                found[each.service] = result.complaint
        return found
