"""`compose-up` with services that were unhealthy before it: of what it starts itself, or for good."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts.engine.runner import Result
from scripts.stack.up import Options
from tests.unit.attempt import Attempt
from tests.unit.fakes import Checkout, container

UNHEALTHY = "container wepppy-status-1 is unhealthy"
# Health is checked every 30 s.
SEEN_HEALTHY_AT = 25.0


class Outage:
    """`status` is unhealthy, and the engine says that it is healthy some time after `postgres` is up again."""

    def __init__(self, attempt: Attempt, healthy_at: float = SEEN_HEALTHY_AT) -> None:
        self.attempt = attempt
        self.healthy_at = healthy_at
        self.first_complaint = ""
        self.postgres = container("postgres", status="exited", health="")
        runner = attempt.checkout.runner
        attempt.checkout.containers_are(self.containers())
        runner.do("docker", "inspect", "container", action=self._inspect)
        runner.do("up", action=self._up)

    def containers(self) -> list[dict[str, Any]]:
        """What the engine holds now."""
        well = self.postgres["State"]["Status"] == "running" and self.attempt.clock.seconds >= self.healthy_at
        return [
            container("caddy"),
            container("status", health="healthy" if well else "unhealthy"),
            container("metquery"),
            self.postgres,
            container("upgrade", status="exited", health=""),
        ]

    def _inspect(self, argv: Sequence[str]) -> Result:
        return Result(tuple(argv), 0, stdout=json.dumps(self.containers()))

    def _up(self, argv: Sequence[str]) -> Result:
        if self.first_complaint and "--wait" not in argv:
            return Result(tuple(argv), 1, stdout=self.first_complaint)
        self.postgres = container("postgres")
        healths = [
            each["State"]["Health"]["Status"] for each in self.containers() if "Health" in each["State"]
        ]
        # As Compose does: it does not wait for another health check.
        if "--wait" in argv and "unhealthy" in healths:
            return Result(tuple(argv), 1, stdout=UNHEALTHY)
        return Result(tuple(argv), 0)


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    checkout.with_secrets()
    return Attempt(checkout)


def test_a_service_that_is_unhealthy_until_this_start_has_time_to_be_seen_healthy(attempt: Attempt) -> None:
    Outage(attempt)
    attempt.run()
    first, second = attempt.streamed("up")
    assert first[-2:] == ["--detach", "--no-build"]
    assert second[-3:] == ["--wait", "--wait-timeout", "300"]
    assert attempt.clock.seconds == SEEN_HEALTHY_AT


def test_a_service_that_stays_unhealthy_fails_the_start_when_its_time_is_over(attempt: Attempt) -> None:
    Outage(attempt, healthy_at=1000.0)
    attempt.options = Options(timeout=40)
    error = attempt.fails()
    assert error.what.startswith("not healthy: status")
    assert attempt.clock.seconds == 40.0


def test_a_start_that_compose_refuses_for_an_unhealthy_service_is_repeated_once_it_is_healthy(
    attempt: Attempt,
) -> None:
    outage = Outage(attempt)
    outage.postgres = container("postgres")
    outage.first_complaint = f"dependency failed to start: {UNHEALTHY}"
    attempt.run()
    assert attempt.clock.seconds == SEEN_HEALTHY_AT


def test_a_start_that_fails_for_another_reason_is_told_without_a_wait(attempt: Attempt) -> None:
    outage = Outage(attempt)
    outage.first_complaint = "Error response from daemon: port is already allocated"
    attempt.checkout.runner.do(
        "up", action=lambda argv: Result(tuple(argv), 1, stdout=outage.first_complaint)
    )
    attempt.fails()
    assert attempt.clock.seconds == 0.0


def test_an_unhealthy_service_that_is_not_asked_for_is_not_waited_for(attempt: Attempt) -> None:
    Outage(attempt)
    attempt.checkout.runner.on("up")
    attempt.options = Options(services=("metquery",))
    attempt.run()
    assert len(attempt.streamed("up")) == 1
    assert attempt.clock.seconds == 0.0
