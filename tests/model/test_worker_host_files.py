"""What worker hosts get of a stack, and what the main host opens for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Model = dict[str, Any]
HOST = {
    "WORKER_HOST": "wepp2", "WORKER_IMAGE": "wepppy-python:prod", "GATEWAY_ADDRESS": "10.0.0.1:7380",
    "WC1_DIR": "/wc1", "GEODATA_DIR": "/geodata", "WEPPPY_SRC": "/home/me/wepppy",
    "STACK_TAG": "prod",
}  # fmt: skip
WORKERS = ("rq-worker", "rq-worker-batch", "rq-worker-fork-archive")
SETS = {
    "sample": ["docker-compose.worker.yml"],
    "real tree": ["docker-compose.worker.yml", "docker-compose.worker-wepppy.yml"],
}


@pytest.fixture(scope="module", params=list(SETS.values()), ids=list(SETS))
def host(render_with: Callable[..., Model], request: pytest.FixtureRequest) -> Model:
    """The model of a worker host, with all queues."""
    return render_with(request.param, **HOST)


@pytest.fixture(scope="module")
def opened(render_with: Callable[..., Model]) -> Model:
    """The main host's."""
    files = ["docker-compose.prod.yml", "docker-compose.worker-hosts.yml"]
    return render_with(files, WORKER_ADDRESS="10.0.0.1")


def test_a_worker_host_has_its_gateway_and_a_service_for_each_queue(host: Model) -> None:
    assert set(host["services"]) - {"weppcloudr"} == {"gateway", *WORKERS}
    for name in WORKERS:
        service = host["services"][name]
        queue = service["profiles"][0]
        assert service["command"][-2:] == [queue, "host-wepp2"]
        assert list(service["depends_on"]) == ["gateway"]
    assert host["services"]["rq-worker-fork-archive"]["environment"]["RQ_WORKER_COUNT"] == "1"


def test_a_worker_host_publishes_nothing_and_has_no_more_power_than_the_main_hosts_workers(
    host: Model, model: Model
) -> None:
    reference = model["services"]["rq-worker"]
    for name, service in host["services"].items():
        assert "ports" not in service, name
        for key in ("cap_drop", "read_only", "security_opt", "user", "logging", "init"):
            assert service[key] == reference[key], (name, key)
        assert service["image"] == f"wepppy-{'weppcloudr' if name == 'weppcloudr' else 'python'}:prod"


def test_its_workers_reach_the_stores_by_the_gateway_with_names_of_their_own(host: Model) -> None:
    gateway = host["services"]["gateway"]
    assert sorted(gateway["networks"]["data"]["aliases"]) == ["postgres", "redis"]
    assert host["networks"]["data"]["internal"]
    for name in WORKERS:
        environment = host["services"][name]["environment"]
        assert environment["RQ_REDIS_URL"] == environment["REDIS_URL"] == "redis://worker-wepp2@redis:6379/9"
        assert environment["POSTGRES_USER"] == "worker-wepp2"
        assert environment["POSTGRES_HOST"] == "postgres"
        assert environment["WORKER_HOST"] == "wepp2"


def test_no_secret_but_what_workers_need_comes_to_a_worker_host(
    host: Model, render_with: Callable[..., Model]
) -> None:
    main = render_with(
        ["docker-compose.prod.yml", "docker-compose.wepppy.yml", "docker-compose.wepppy-prod.yml"], **HOST
    )
    of_workers = {each["source"] for name in WORKERS for each in main["services"][name]["secrets"]}
    for name in WORKERS:
        assert {each["source"] for each in host["services"][name]["secrets"]} <= of_workers
    certificate = {each["source"] for each in host["services"]["gateway"]["secrets"]}
    assert certificate == {"worker_authority", "host_certificate"}
    assert set(host["secrets"]) <= of_workers | certificate | {"ca_bundle", "build_environment"}


def test_the_main_host_opens_one_port_at_the_private_address_alone(opened: Model) -> None:
    assert [name for name, each in opened["services"].items() if "ports" in each] == [
        "caddy",
        "worker-gateway",
    ]
    (port,) = opened["services"]["worker-gateway"]["ports"]
    assert (port["host_ip"], port["published"], port["target"]) == ("10.0.0.1", "7380", 7380)


@pytest.mark.parametrize(
    "changes",
    [{}, {"STACK_TAG": "7"}, {"WEPPPY_SRC": "/home/me/wepppy", "WEPPPY_IMAGE": "given:1"}],
    ids=["the kit's image", "another tag", "an image that is given"],
)
def test_the_gateway_runs_the_image_of_the_workers_and_has_none_built_for_itself(
    render_with: Callable[..., Model], changes: dict[str, str]
) -> None:
    tree = ["wepppy", "wepppy-prod", "wepppy-image"] if changes.get("WEPPPY_IMAGE") else []
    files = [f"docker-compose.{each}.yml" for each in ("prod", *tree, "worker-hosts")]
    services = render_with(files, WORKER_ADDRESS="10.0.0.1", **changes)["services"]
    assert services["worker-gateway"]["image"] == services["rq-worker"]["image"]
    assert "build" not in services["worker-gateway"]


def test_the_gateway_holds_its_certificate_and_neither_the_authoritys_key_nor_a_password(
    opened: Model,
) -> None:
    gateway = opened["services"]["worker-gateway"]
    assert {each["source"] for each in gateway["secrets"]} == {"worker_authority", "gateway_certificate"}
    assert gateway["cap_drop"] == ["ALL"]
    assert gateway["read_only"]
    assert "worker_authority_key" not in json.dumps(opened)
