"""A secret that changed reaches the containers that hold it: they are started anew, and no others."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from scripts.base.clock import moment
from scripts.engine.catalogue import Catalogue
from scripts.stack.up import stale_secrets
from tests.unit.attempt import Attempt
from tests.unit.fakes import Checkout, container, model

STARTED, BEFORE, AFTER = "2026-03-29T12:00:00.500000001Z", 1774785600.0, 1774785601.0


def started(name: str, *, status: str = "running") -> dict[str, Any]:
    answer = container(name, status=status)
    answer["State"]["StartedAt"] = STARTED
    return answer


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A stack in which two services hold a secret, one the database's password, and one nothing."""
    made = Checkout(tmp_path)
    made.with_env()
    rendered = model(tmp_path)
    for name, secret in (
        ("status", "vapid_private_key"),
        ("metquery", "vapid_private_key"),
        ("caddy", "postgres_password"),
    ):
        rendered["services"][name]["secrets"] = [{"source": secret}]
    made.runner.on("config", "json", stdout=json.dumps(rendered))
    made.runner.on("restart")
    made.containers_are(
        [started("caddy"), started("status"), started("metquery", status="exited"), started("postgres")]
    )
    return made


def write(checkout: Checkout, name: str, when: float) -> None:
    folder = checkout.root / ".docker-data" / "secrets"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("another-secret-word" if name.startswith("vapid") else "a-very-secret-word")
    (folder / name).chmod(0o444)
    os.utime(folder / name, (when, when))


def found(checkout: Checkout) -> list[str]:
    compose = checkout.compose()
    containers = compose.engine.containers(compose.project)
    return stale_secrets(compose, Catalogue.of(compose.model).services.values(), containers)


def test_a_running_service_whose_secret_is_younger_needs_a_restart(checkout: Checkout) -> None:
    write(checkout, "vapid_private_key", BEFORE)
    assert found(checkout) == []
    write(checkout, "vapid_private_key", AFTER)
    assert found(checkout) == ["status"]


@pytest.mark.parametrize("state", ["created", "exited", "restarting", "paused", "dead"])
def test_what_does_not_run_is_left_to_the_start_that_follows(checkout: Checkout, state: str) -> None:
    never = container("status", status=state)
    never["State"]["StartedAt"] = "0001-01-01T00:00:00Z" if state == "created" else STARTED
    checkout.containers_are([never])
    write(checkout, "vapid_private_key", AFTER)
    assert found(checkout) == []


def test_the_databases_password_is_left_to_its_rotation(checkout: Checkout) -> None:
    write(checkout, "postgres_password", AFTER)
    assert found(checkout) == []


def test_a_secret_that_is_not_there_restarts_nothing(checkout: Checkout) -> None:
    assert found(checkout) == []


def test_compose_up_restarts_what_sees_an_earlier_secret_before_it_waits_for_health(
    checkout: Checkout,
) -> None:
    write(checkout, "vapid_private_key", AFTER)
    attempt = Attempt(checkout)
    names = ("caddy", "status", "metquery", "postgres", "upgrade")
    checkout.starts(*(container(name, status="exited" if name == "upgrade" else "running") for name in names))
    attempt.run()
    streamed = [argv for argv in checkout.runner.commands() if "restart" in argv or "up" in argv]
    assert streamed[0][-2:] == ["restart", "status"]
    assert "--wait" in streamed[1]
    assert "/secrets: restarting status" in attempt.screen.err.getvalue()


def test_a_service_that_does_not_take_its_new_secret_is_told(checkout: Checkout) -> None:
    write(checkout, "vapid_private_key", AFTER)
    checkout.runner.on("restart", stderr="no such container", returncode=1)
    assert Attempt(checkout).fails().exit_code == 5


def test_a_moment_is_read_as_the_engine_writes_it() -> None:
    assert moment(STARTED) == BEFORE + 0.5
    assert moment("2026-03-29T12:00:00Z") == BEFORE
    assert moment("") is None
