"""Whether the application works with a new database: only what worked before counts, and only what a user gets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from scripts.base.errors import StackError
from scripts.database.switchover import Application
from scripts.engine.proof import Reply
from tests.unit.fakes import Checkout, FakeClock, container, service

HEALTH = {"Test": ["CMD", "am-i-well"]}


class Stack:
    """Proxy, two services with probes and pages, a worker; what each answers is told."""

    def __init__(self, folder: Path, *, proxy: bool = True) -> None:
        self.made = Checkout(folder)
        self.made.with_env()
        secret = [{"source": "postgres_password"}]
        labels = {
            name: {"wepp.probe": f"/{name}/health", "wepp.probe.body": "OK", "wepp.pages": f"/{name}/"}
            for name in ("web", "maps")
        }
        services = {
            "caddy": service("caddy", port=8080),
            "web": service("python", labels=labels["web"], secrets=secret),
            "maps": service("python", labels=labels["maps"]),
            "worker": service("python", secrets=secret),
            "postgres": service("postgres", secrets=secret),
            "postgres-backup": service("backup", secrets=secret),
        }
        self.made.runner.on("config", "json", stdout=json.dumps({"name": "wepppy", "services": services}))
        names = [name for name in services if proxy or name != "caddy"]
        answers = [container(name) for name in names]
        for each in answers:
            each["Config"]["Healthcheck"] = HEALTH
        self.made.containers_are(answers)
        self.made.runner.on("docker", "exec")
        self.clock = FakeClock()
        self.pages = {"/web/": 200, "/maps/": 200}

    @property
    def application(self) -> Application:
        return Application(self.made.compose(), self.clock, fetching=self._fetch)

    def _fetch(self, proxy: tuple[str, int], path: str, cookies: Mapping[str, str], seconds: float) -> Reply:
        status = self.pages.get(path, 200)
        return Reply(status, body="relation run does not exist" if status >= 500 else "OK")

    def unhealthy(self, name: str) -> None:
        self.made.runner.on("docker", "exec", f"wepppy-{name}-1", returncode=1, stderr="no database")


def test_what_works_before_and_after_is_well(tmp_path: Path) -> None:
    application = Stack(tmp_path).application
    well = application.well()
    assert {"web", "maps", "worker"} <= {each.name for each in well}
    application.check(well)


def test_a_page_that_only_fails_afterwards_is_told_with_its_error(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    well = stack.application.well()
    stack.pages["/web/"] = 500
    with pytest.raises(StackError, match="relation run does not exist"):
        stack.application.check(well)


def test_a_page_that_failed_before_is_not_the_databases_fault(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    stack.pages["/maps/"] = 500
    well = stack.application.well()
    assert "maps" not in {each.name for each in well}
    stack.application.check(well)


@pytest.mark.parametrize("proxy", [True, False])
def test_a_worker_that_becomes_ill_is_told_with_or_without_the_proxy(tmp_path: Path, proxy: bool) -> None:
    stack = Stack(tmp_path, proxy=proxy)
    well = stack.application.well()
    stack.unhealthy("worker")
    with pytest.raises(StackError, match=r"not healthy: worker \(no database\)"):
        stack.application.check(well)
    assert stack.clock.monotonic() >= 30


def test_a_worker_that_was_ill_before_and_stores_are_not_asked(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    for each in ("worker", "postgres", "postgres-backup"):
        stack.unhealthy(each)
    well = stack.application.well()
    assert "worker" not in {each.name for each in well}
    stack.application.check(well)


def test_a_service_that_ended_meanwhile_is_told(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    well = stack.application.well()
    answers = [container(name) for name in ("caddy", "web", "maps", "postgres")]
    stack.made.containers_are(answers)
    with pytest.raises(StackError, match=r"worker \(does not run\)"):
        stack.application.check(well)
