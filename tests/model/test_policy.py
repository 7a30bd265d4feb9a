"""What every service of the stack promises: least power, limits, honest health, no surprises on the host."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Model = dict[str, Any]

ONE_SHOTS = {"db-upgrade", "sample-data"}
# Everything else has a health check; these run to their end instead.
# The stores run as the user their images own the data with; everything else as the caller.
STORE_USER = "999:999"


def services(model: Model) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = model["services"]
    return found


def test_every_long_running_service_has_a_health_check(model: Model) -> None:
    without = {
        name for name, service in services(model).items() if "test" not in service.get("healthcheck", {})
    }
    assert without == ONE_SHOTS


def test_only_services_labelled_as_one_shots_are_not_restarted(model: Model) -> None:
    for name, service in services(model).items():
        one_shot = service["labels"].get("wepp.role") == "one-shot"
        assert one_shot == (name in ONE_SHOTS)
        assert service["restart"] == ("no" if one_shot else "unless-stopped"), name


def test_every_one_shot_is_waited_for_by_a_long_running_service_in_each_profile(
    render_with: Callable[..., Model],
) -> None:
    for profile in ("", "geo", "push", "legacy"):
        active = (
            services(render_with(profiles=profile)) if profile else services(render_with(profiles="none"))
        )
        waited = {
            name
            for service in active.values()
            for name, condition in service.get("depends_on", {}).items()
            if condition["condition"] == "service_completed_successfully"
        }
        assert waited >= ONE_SHOTS & set(active), profile


def test_dependencies_say_what_they_wait_for(model: Model) -> None:
    for name, service in services(model).items():
        for dependency, condition in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if dependency in ONE_SHOTS else "service_healthy"
            assert condition["condition"] == wanted, (name, dependency)


def test_every_service_runs_without_capabilities_on_a_read_only_root(model: Model) -> None:
    for name, service in services(model).items():
        assert service["cap_drop"] == ["ALL"], name
        assert not service.get("cap_add"), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert not service.get("privileged"), name


def test_no_service_runs_as_root(model: Model) -> None:
    for name, service in services(model).items():
        assert service["user"] == (STORE_USER if name in {"postgres", "redis"} else "1000:1000"), name


def test_memory_and_processes_are_limited_everywhere(model: Model) -> None:
    for name, service in services(model).items():
        limits = service["deploy"]["resources"]["limits"]
        assert int(limits["memory"]) > 0, name
        assert limits["pids"] > 0, name


def test_logs_are_rotated_everywhere(model: Model) -> None:
    for name, service in services(model).items():
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name


def test_ports_are_published_on_the_loopback_only(model: Model) -> None:
    for name, service in services(model).items():
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", name


def test_the_plans_ports_are_the_default_ones(model: Model) -> None:
    plan = {
        "weppcloud": 8000, "status": 9002, "preflight": 9001, "browse": 9009, "webpush": 9003,
        "elevationquery": 8002, "wmesque": 8003, "wmesque2": 8030, "metquery": 8004, "postgres": 5432, "redis": 6379,
    }  # fmt: skip
    for name, port in plan.items():
        (published,) = services(model)[name]["ports"]
        assert (int(published["published"]), published["target"]) == (port, port)


def test_no_container_reaches_the_engines_socket(model: Model) -> None:
    for name, service in services(model).items():
        assert "docker.sock" not in str(service.get("volumes", [])), name


def test_images_are_tagged_and_never_latest(model: Model) -> None:
    for name, service in services(model).items():
        assert re.search(r":(?!latest$)[\w.-]+$", service["image"]), name


def test_only_the_database_has_a_fixed_name_and_it_follows_the_project(
    render_with: Callable[..., Model],
) -> None:
    other = render_with(COMPOSE_PROJECT_NAME="other")
    named = {name: s["container_name"] for name, s in services(other).items() if "container_name" in s}
    assert named == {"postgres": "other-postgres"}
    for kind in ("networks", "volumes"):
        assert all(entry["name"].startswith("other_") for entry in other[kind].values())


def test_no_subnet_is_fixed(model: Model) -> None:
    assert all(not network.get("ipam") for network in model["networks"].values())


def test_the_stores_are_out_of_reach_of_the_edge(model: Model) -> None:
    assert model["networks"]["data"]["internal"] is True
    for name in ("postgres", "redis", "postgres-backup"):
        assert "edge" not in services(model)[name]["networks"]
    assert set(services(model)["caddy"]["networks"]) == {"edge"}


def test_server_and_backup_sidecar_are_made_from_the_same_image(render_with: Callable[..., Model]) -> None:
    changed = services(render_with(POSTGRES_IMAGE="postgres:17.1-bookworm"))
    for name in ("postgres", "postgres-backup"):
        assert changed[name]["build"]["args"]["POSTGRES_IMAGE"] == "postgres:17.1-bookworm"


def test_no_secret_of_the_settings_appears_in_the_model(
    env_file: Any, render_with: Callable[..., Model]
) -> None:
    secret = "s3cr3t-marker-value"
    names = [name.upper() for name in render_with()["secrets"]]
    rendered = str(render_with(**dict.fromkeys(names, secret)))
    assert secret not in rendered


def test_every_secret_has_its_key_in_the_example_settings(model: Model, env_file: Any) -> None:
    keys = {line.split("=")[0] for line in env_file.read_text().splitlines()}
    build_only = {"ca_bundle", "build_environment"}
    assert {name.upper() for name in model["secrets"] if name not in build_only} <= keys


def test_each_python_service_sees_only_the_secrets_it_needs(model: Model) -> None:
    held = {
        name: {s["source"] for s in service.get("secrets", [])} for name, service in services(model).items()
    }
    assert not any(held[name] for name in ("metquery", "wmesque2", "wmesque", "sample-data"))
    assert {name for name, secrets in held.items() if "vapid_private_key" in secrets} == {"webpush"}
    assert {name for name, secrets in held.items() if "admin_password" in secrets} == {"db-upgrade"}


def test_the_whole_stack_is_probed_less_than_once_a_second(model: Model) -> None:
    def seconds(interval: str) -> float:
        minutes, rest = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", interval).groups()  # type: ignore[union-attr]
        return int(minutes or 0) * 60 + int(rest or 0)

    rate = sum(
        1 / seconds(s["healthcheck"]["interval"]) for s in services(model).values() if "healthcheck" in s
    )
    assert rate < 1.0


def test_first_probes_are_quick_only_with_the_fast_start_overlay(render_with: Callable[..., Model]) -> None:
    plain = services(render_with(["docker-compose.dev.yml"]))
    assert all("start_interval" not in service.get("healthcheck", {}) for service in plain.values())
    fast = services(render_with(["docker-compose.dev.yml", "docker-compose.fast-start.yml"]))
    for name, service in fast.items():
        if name not in ONE_SHOTS:
            assert service["healthcheck"]["start_interval"] in ("1s", "2s"), name
            assert "start_period" in service["healthcheck"], name


def test_every_backend_behind_the_proxy_names_its_probe_and_its_answer(model: Model) -> None:
    behind = {name for name, s in services(model).items() if "edge" in s.get("networks", {})} - {
        "caddy",
        "rq-worker",
    }
    for name in behind:
        labels = services(model)[name]["labels"]
        assert labels["wepp.probe"].startswith("/"), name
        assert labels["wepp.probe.body"], name
    assert all(s["labels"]["wepp.about"] for s in services(model).values())


def test_writers_to_the_database_are_those_that_hold_its_password(model: Model) -> None:
    writers = {name for name, s in services(model).items() if s["labels"].get("wepp.writes") == "postgres"}
    holders = {
        name
        for name, s in services(model).items()
        if "postgres_password" in {secret["source"] for secret in s.get("secrets", [])}
    }
    assert writers == holders - {"postgres", "postgres-backup"}


def test_profiles_are_the_designs(model: Model) -> None:
    by_profile: dict[str, set[str]] = {}
    for name, service in services(model).items():
        for profile in service.get("profiles") or ["core"]:
            by_profile.setdefault(profile, set()).add(name)
    assert by_profile == {
        "core": {"caddy", "weppcloud", "status", "preflight", "browse", "rq-worker", "postgres", "redis",
                 "postgres-backup", "db-upgrade", "sample-data"},
        "geo": {"elevationquery", "wmesque2", "metquery"},
        "push": {"webpush"},
        "legacy": {"wmesque"},
    }  # fmt: skip


def test_a_source_tree_of_ones_own_is_mounted_and_built_from(
    render_with: Callable[..., Model], tmp_path: Any
) -> None:
    other = services(render_with(WEPPPY_SRC=str(tmp_path), WEPPPY_REQUIREMENTS="docker/requirements-uv.txt"))
    for name in ("weppcloud", "rq-worker", "browse"):
        mounts = {v["target"]: v["source"] for v in other[name]["volumes"]}
        assert mounts["/app/wepppy"] == f"{tmp_path}/wepppy"
        assert other[name]["build"]["additional_contexts"]["source"] == str(tmp_path)
        assert other[name]["build"]["args"]["WEPPPY_REQUIREMENTS"] == "docker/requirements-uv.txt"
    assert other["status"]["build"]["additional_contexts"]["source"] == str(tmp_path)


def test_the_settings_are_mounted_read_only_where_real_trees_look(model: Model) -> None:
    for name, service in services(model).items():
        for volume in service.get("volumes", []):
            if volume["target"] == "/app/.env":
                assert volume["read_only"] is True, name


def test_redis_tells_of_changed_hashes_as_preflight_needs(model: Model) -> None:
    mounts = {v["target"]: v["source"] for v in services(model)["redis"]["volumes"]}
    from pathlib import Path

    settings = Path(mounts["/opt/stack/redis-entrypoint.sh"]).read_text()
    assert "notify-keyspace-events Kh" in settings
    assert "appendfsync everysec" in settings


def test_a_store_that_others_run_is_not_started_and_can_be_reached(render_with: Callable[..., Model]) -> None:
    for store in ("postgres", "redis"):
        files = ["docker-compose.dev.yml", f"docker-compose.external-{store}.yml"]
        away = services(render_with(files, profiles="none", **{f"{store.upper()}_HOST": "store.example.org"}))
        assert store not in away
        clients = {name for name, s in away.items() if "store.example.org" in str(s.get("environment"))}
        assert clients
        for name in clients - {"postgres-backup"} if store == "redis" else clients:
            assert "edge" in away[name]["networks"], name
            assert away[name]["extra_hosts"] == ["host.docker.internal=host-gateway"], name
