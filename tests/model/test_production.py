"""What production promises beyond development: one published service, TLS, the source inside, backups in a volume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.engine.catalogue import Catalogue

ROOT = Path(__file__).resolve().parents[2]
FILE = "docker-compose.prod.yml"
Model = dict[str, Any]


@pytest.fixture(scope="module")
def production(render_with: Callable[..., Model]) -> Model:
    """The production stack with every profile on."""
    return render_with([FILE])


def test_production_is_made_of_the_same_services_as_development(production: Model, model: Model) -> None:
    assert set(production["services"]) == set(model["services"])
    for name, service in production["services"].items():
        for key in (
            "command",
            "depends_on",
            "healthcheck",
            "labels",
            "secrets",
            "cap_drop",
            "read_only",
            "user",
        ):
            # The proxy alone is started otherwise: with the public site beside the one without TLS.
            if (name, key) not in (("caddy", "command"), ("caddy", "labels")):
                assert service.get(key) == model["services"][name].get(key), (name, key)


@pytest.mark.parametrize(("setting", "tag"), [(None, "prod"), ("", "prod"), ("v7", "v7")])
def test_images_of_production_have_a_tag_of_their_own_unless_one_is_set(
    render_with: Callable[..., Model], setting: str | None, tag: str
) -> None:
    production = render_with([FILE], **({} if setting is None else {"STACK_TAG": setting}))
    built = {each["image"] for each in production["services"].values() if "build" in each}
    assert {image.rpartition(":")[2] for image in built} == {tag}
    assert production["services"]["mover"]["image"] in built


def test_the_addresses_that_are_told_are_the_public_ones(render_with: Callable[..., Model]) -> None:
    named = render_with([FILE], SITE_ADDRESS="wepp.example.org, www.example.org")
    assert Catalogue.of(named).public_url("/runs/") == "https://wepp.example.org/runs/"
    other_port = render_with([FILE], SITE_ADDRESS="wepp.example.org", PORT_HTTPS="8444")
    assert Catalogue.of(other_port).public_url("/runs/") == "https://wepp.example.org:8444/runs/"
    development = render_with(["docker-compose.dev.yml"])
    assert Catalogue.of(development).public_url("/runs/") == "http://localhost:8080/runs/"


def test_only_the_proxy_publishes_ports(production: Model) -> None:
    assert [name for name, service in production["services"].items() if service.get("ports")] == ["caddy"]
    published = {
        (port.get("host_ip", ""), port["published"], port["protocol"])
        for port in production["services"]["caddy"]["ports"]
    }
    assert published == {
        ("", "80", "tcp"),
        ("", "443", "tcp"),
        ("", "443", "udp"),
        ("127.0.0.1", "8080", "tcp"),
    }


def test_the_source_is_in_the_images_and_not_mounted(production: Model) -> None:
    for name, service in production["services"].items():
        assert not [v for v in service.get("volumes", []) if v["target"].startswith("/workdir")], name
        if service.get("build", {}).get("context", "").endswith("/docker/python"):
            assert service["build"]["target"] == "production", name
            assert service["image"] == "wepppy-python:prod", name


def test_what_is_mounted_from_the_host_is_configuration_and_read_only(production: Model) -> None:
    for name, service in production["services"].items():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                assert volume["read_only"], (name, volume)
                assert Path(volume["source"]).is_relative_to(ROOT / "docker"), (name, volume)


def test_backups_lie_in_the_plans_volume(production: Model) -> None:
    (volume,) = [v for v in production["services"]["postgres-backup"]["volumes"] if v["target"] == "/backups"]
    assert (volume["type"], volume["source"]) == ("volume", "postgres-backups")
    assert production["volumes"]["postgres-backups"]["name"] == "wepppy_postgres-backups"


def test_the_stores_are_out_of_reach_in_production_too(production: Model) -> None:
    assert production["networks"]["data"]["internal"] is True
    for name in ("postgres", "redis"):
        assert set(production["services"][name]["networks"]) == {"data"}
    assert set(production["services"]["postgres-backup"]["networks"]) == {"data"}


def test_only_a_watched_sidecar_has_a_way_out_and_the_address_as_a_file(
    render_with: Callable[..., Model],
) -> None:
    for base in (FILE, "docker-compose.dev.yml"):
        model = render_with([base, "docker-compose.backup-hook.yml"], BACKUP_HOOK_URL="https://w.example/tok")
        assert "w.example" not in str(model)
        sidecar = model["services"]["postgres-backup"]
        assert {name for name, s in model["services"].items() if "outward" in s.get("networks", {})} == {
            "postgres-backup"
        }
        assert set(sidecar["networks"]) == {"data", "outward"}
        assert {each["source"] for each in sidecar["secrets"]} == {
            "postgres_password",
            "postgres_superuser_password",
            "backup_hook_url",
        }
        assert "outward" not in render_with([base])["networks"]


def test_certificates_outlive_the_container(production: Model) -> None:
    caddy = production["services"]["caddy"]
    (folder,) = [v["target"] for v in caddy["volumes"] if v.get("source") == "certificates"]
    assert caddy["environment"]["XDG_DATA_HOME"] == folder


def test_external_stores_work_in_production(render_with: Callable[..., Model]) -> None:
    away = render_with(
        [FILE, "docker-compose.external-postgres.yml", "docker-compose.external-redis.yml"],
        profiles="none", POSTGRES_HOST="db.example.org", REDIS_HOST="redis.example.org",
    )["services"]  # fmt: skip
    assert not {"postgres", "redis"} & set(away)
