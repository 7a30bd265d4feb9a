"""The examination of what runs: other checkouts of the same project, stores, runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.prepare.finding import Level
from tests.unit.examining import errors, only, running, well
from tests.unit.fakes import Checkout, container, model


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return well(tmp_path)


def test_another_checkout_with_the_same_project_is_an_error(checkout: Checkout, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    checkout.containers_are([container("status", folder=str(other))])
    finding = only(running(checkout, "second checkout"))
    assert finding.level is Level.ERROR
    assert str(other) in finding.what
    assert "COMPOSE_PROJECT_NAME" in finding.fix


def test_our_own_containers_are_no_second_checkout(checkout: Checkout) -> None:
    checkout.containers_are([container("status", folder=str(checkout.root / "docker"))])
    assert running(checkout, "second checkout") == []


def test_containers_of_a_checkout_that_was_moved_are_a_warning(checkout: Checkout) -> None:
    checkout.containers_are([container("status", folder="/gone/docker")])
    checkout.with_seen_volumes()
    finding = only(running(checkout, "second checkout"))
    assert finding.level is Level.WARNING
    assert "is gone" in finding.what


def test_what_runs_is_looked_at_where_it_is_asked_for(checkout: Checkout) -> None:
    assert "all services are healthy" in running(checkout, "services")[0].what
    checkout.containers_are(
        [container(name) for name in ("caddy", "metquery", "postgres")]
        + [container("status", status="exited", health=""), container("upgrade", status="exited", health="")]
    )
    finding = only(running(checkout, "services"))
    assert finding.level is Level.ERROR
    assert finding.what == "status is stopped (exit status 0)"
    assert errors(checkout) == []


def test_a_missing_secret_file_of_a_stack_that_was_started_is_an_error(checkout: Checkout) -> None:
    described = model(checkout.root)
    described["services"]["status"]["secrets"] = [
        {"source": "postgres_password"},
        {"source": "vapid_private_key"},
    ]
    checkout.runner.on("config", "json", stdout=json.dumps(described))
    assert running(checkout, "secrets") == []
    (checkout.root / ".docker-data" / "secrets" / "vapid_private_key").unlink()
    finding = only(running(checkout, "secrets"))
    assert finding.level is Level.ERROR
    assert finding.what.endswith("secrets lacks vapid_private_key")
    checkout.runner.on("docker", "volume", "ls")
    checkout.containers_are([])
    assert running(checkout, "secrets") == []


def test_a_stack_that_is_down_is_no_error(checkout: Checkout) -> None:
    checkout.containers_are([])
    (finding,) = running(checkout, "services")
    assert finding.level is Level.OK
    assert "is down" in finding.what


def with_a_tree_of_its_own(checkout: Checkout) -> None:
    """The tree in the sample's place has no runs that the kit could compare."""
    (checkout.root / "docker/sample/wepppy/sample_data").rmdir()


def other_redis(checkout: Checkout, said: str, returncode: int = 0) -> None:
    """The stack uses a Redis of others, of which the program in the container says this."""
    checkout.with_env(REDIS_HOST="10.0.0.5")
    with_a_tree_of_its_own(checkout)
    checkout.containers_are([container("weppcloud")])
    checkout.runner.on("exec", "/opt/stack/redis-events.py", stdout=f"{said}\n", returncode=returncode)


def test_a_redis_of_others_without_events_is_told_with_the_command_that_brings_them(
    checkout: Checkout,
) -> None:
    other_redis(checkout, "off ExKh")
    finding = only(running(checkout, "redis"))
    assert finding.level is Level.ERROR
    assert "10.0.0.5:6379 sends no keyspace events" in finding.what
    assert "redis-cli CONFIG SET notify-keyspace-events 'ExKh'" in finding.fix


@pytest.mark.parametrize(("said", "returncode"), [("on", 0), ("", 1)])
def test_a_redis_of_others_that_sends_events_or_does_not_answer_is_no_finding(
    checkout: Checkout, said: str, returncode: int
) -> None:
    other_redis(checkout, said, returncode)
    assert running(checkout, "redis") == []


def test_the_stacks_own_redis_is_not_asked_for_its_events(checkout: Checkout) -> None:
    with_a_tree_of_its_own(checkout)
    checkout.containers_are([container("weppcloud"), container("redis")])
    assert running(checkout, "redis") == []


def test_runs_that_one_store_alone_knows_are_a_warning(checkout: Checkout) -> None:
    checkout.containers_are([container("weppcloud")])
    answer = {"rows": 0, "folders": 1, "without_row": [{"runid": "calm-fern-1"}], "without_folder": [],
              "only_in_redis": []}  # fmt: skip
    checkout.runner.on("exec", "runs-check", stdout=json.dumps({"answer": answer}))
    finding = only(running(checkout, "runs"))
    assert (finding.level, finding.what) == (
        Level.WARNING,
        "runs: 1 on disk without a row in the database",
    )
    checkout.containers_are([container("weppcloud", health="unhealthy")])
    assert running(checkout, "runs") == []
