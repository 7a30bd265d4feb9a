"""What every service of the stack promises: least power, limits, honest health, no surprises on the host."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.settings import secret_ids
from tests.model.conftest import ROOT, render

Model = dict[str, Any]

ONE_SHOTS = {"db-upgrade", "sample-data"}
# Only a task starts them.
TASKS = {"mover"}
# Everything else has a health check; these run to their end instead.
# The stores run as the user their images own the data with; everything else as the caller.
STORE_USER = "999:999"
# Secrets that no container gets.
BUILD_ONLY = {"ca_bundle", "build_environment"}


def services(model: Model) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = model["services"]
    return found


def test_every_long_running_service_has_a_health_check(model: Model) -> None:
    without = {
        name for name, service in services(model).items() if "test" not in service.get("healthcheck", {})
    }
    assert without == ONE_SHOTS | TASKS


def test_only_services_labelled_as_one_shots_are_not_restarted(model: Model) -> None:
    for name, service in services(model).items():
        role = service["labels"].get("wepp.role")
        assert (role == "one-shot", role == "task") == (name in ONE_SHOTS, name in TASKS)
        assert service["restart"] == ("no" if role else "unless-stopped"), name


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


def test_only_the_mover_is_on_the_hosts_network_and_only_it_has_the_servers_second_socket(
    model: Model,
) -> None:
    assert {n for n, s in services(model).items() if s.get("network_mode") == "host"} == {"mover"}
    settings = (ROOT / "docker" / "postgres" / "wepppy.conf").read_text()
    assert "unix_socket_directories = '/var/run/postgresql, /tmp'" in settings
    (folder,) = [
        each["source"] for each in services(model)["postgres"]["volumes"] if each["target"] == "/tmp"
    ]
    users = {
        n for n, s in services(model).items() if any(v.get("source") == folder for v in s.get("volumes", []))
    }
    assert users == {"postgres", "mover"}
    assert services(model)["mover"]["environment"]["PGHOST"] == "/server-tmp"


def test_a_mover_reaches_a_server_that_others_run_by_its_name(render_with: Callable[..., Model]) -> None:
    files = ["docker-compose.dev.yml", "docker-compose.external-postgres.yml"]
    away = services(render_with(files, POSTGRES_HOST="store.example.org", POSTGRES_PORT="6543"))["mover"]
    found = away["environment"]
    assert (found["PGHOST"], found["PGPORT"], found["PGUSER"]) == ("store.example.org", "6543", "wepppy")


def test_server_and_backup_sidecar_are_made_from_the_same_image(render_with: Callable[..., Model]) -> None:
    changed = services(render_with(POSTGRES_IMAGE="postgres:17.1-bookworm"))
    for name in ("postgres", "postgres-backup"):
        assert changed[name]["build"]["args"]["POSTGRES_IMAGE"] == "postgres:17.1-bookworm"


def test_no_secret_of_the_settings_appears_in_the_model(
    env_file: Any, render_with: Callable[..., Model]
) -> None:
    secret = "s3cr3t-marker-value"
    names = {*secret_ids.BY_KEY, *(name.upper() for name in secret_ids.BY_ID)}
    rendered = str(render_with(**dict.fromkeys(names, secret)))
    assert secret not in rendered


@pytest.mark.parametrize("mode", ["dev", "prod"])
@pytest.mark.parametrize("tree", [False, True])
def test_no_secret_that_a_settings_file_still_holds_reaches_a_service(
    tmp_path: Path, render_with: Callable[..., Model], mode: str, tree: bool
) -> None:
    secret = "s3cr3t-marker-value"
    settings = tmp_path / "settings.env"
    settings.write_text("".join(f"{key}={secret}\n" for key in secret_ids.BY_KEY) + "A_SETTING=arrives\n")
    files = [f"docker-compose.{mode}.yml", "docker-compose.backup-hook.yml"]
    files += ["docker-compose.wepppy.yml", f"docker-compose.wepppy-{mode}.yml"] if tree else []
    source = str(ROOT / "tests" / "tree" / "skeleton") if tree else ""
    rendered = render_with(files, STACK_ENV_FILE=str(settings), WEPPPY_SRC=source)["services"]
    assert [name for name, service in rendered.items() if secret in str(service)] == []
    assert rendered["weppcloud"]["environment"]["A_SETTING"] == "arrives"


def test_every_secret_has_a_canonical_id_and_none_is_a_setting(model: Model, env_file: Any) -> None:
    keys = {line.split("=")[0] for line in env_file.read_text().splitlines()}
    assert model["secrets"].keys() - BUILD_ONLY <= secret_ids.BY_ID.keys()
    assert not keys & secret_ids.BY_KEY.keys()


def test_each_python_service_sees_only_the_secrets_it_needs(model: Model) -> None:
    held = {
        name: {s["source"] for s in service.get("secrets", [])} for name, service in services(model).items()
    }
    assert not any(held[name] for name in ("metquery", "wmesque2", "wmesque", "sample-data"))
    assert {name for name, secrets in held.items() if "vapid_private_key" in secrets} == {"webpush"}
    assert {name for name, secrets in held.items() if "admin_password" in secrets} == {"db-upgrade"}
    superusers = {name for name, secrets in held.items() if "postgres_superuser_password" in secrets}
    assert superusers == {"postgres", "postgres-backup", "mover"}


def test_the_whole_stack_is_probed_less_than_once_a_second(model: Model) -> None:
    def seconds(interval: str) -> float:
        minutes, rest = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", interval).groups()  # type: ignore[union-attr]
        return int(minutes or 0) * 60 + int(rest or 0)

    rate = sum(
        1 / seconds(s["healthcheck"]["interval"]) for s in services(model).values() if "healthcheck" in s
    )
    assert rate < 1.0


def test_first_probes_are_quick(model: Model) -> None:
    for name, service in services(model).items():
        if name not in ONE_SHOTS | TASKS:
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
    assert writers == holders - {"postgres", "postgres-backup", "mover"}


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
        "migration": {"mover"},
    }  # fmt: skip


def test_a_source_tree_of_ones_own_is_mounted_whole_and_built_from(
    render_with: Callable[..., Model], tmp_path: Any
) -> None:
    other = services(render_with(WEPPPY_SRC=str(tmp_path), WEPPPY_REQUIREMENTS="docker/requirements-uv.txt"))
    for name in ("weppcloud", "rq-worker", "browse"):
        mounts = {v["target"]: v["source"] for v in other[name]["volumes"]}
        assert mounts["/workdir/wepppy"] == str(tmp_path)
        assert other[name]["build"]["additional_contexts"]["source"] == str(tmp_path)
        assert other[name]["build"]["args"]["WEPPPY_REQUIREMENTS"] == "docker/requirements-uv.txt"
    assert other["status"]["build"]["additional_contexts"]["source"] == str(tmp_path)


def test_a_second_stack_takes_no_setting_of_the_first_from_the_link_beside_the_compose_files(
    tmp_path: Path, env_file: Path
) -> None:
    for file in (*(ROOT / "docker").glob("docker-compose.*.yml"), ROOT / "docker" / "production.env"):
        shutil.copy(file, tmp_path)
    (tmp_path / ".env").write_text("PORT_CADDY=1234\nSECRETS_DIR=/of/the/first\n")
    text = re.sub("(?m)^(PORT_CADDY|SECRETS_DIR)=.*\n", "", env_file.read_text())
    second = tmp_path / "second.env"
    second.write_text(text)
    for name in ("docker-compose.dev.yml", "docker-compose.prod.yml"):
        model = str(render([str(tmp_path / name)], second))
        assert "'published': '8080'" in model, name
        assert "1234" not in model, name
        assert "/of/the/first" not in model, name


def python_services(model: Model) -> dict[str, dict[str, Any]]:
    """Those that run in the Python image."""
    return {name: each for name, each in services(model).items() if each["image"].endswith("-python:dev")}


def test_settings_reach_python_services_as_variables_and_no_secret_does(
    tmp_path: Path, env_file: Path
) -> None:
    settings = tmp_path / ".env"
    values = "".join(f"{name}=s3cr3t\n" for name in secret_ids.BY_KEY)
    settings.write_text(f"{env_file.read_text()}{values}SOMETHING_OF_THE_TREE=seen\n")
    model = render(["docker-compose.dev.yml"], settings, STACK_ENV_FILE=str(settings))
    assert "s3cr3t" not in str(model)
    for name, service in python_services(model).items():
        assert service["environment"]["SOMETHING_OF_THE_TREE"] == "seen", name
        assert not [volume for volume in service["volumes"] if volume["target"].endswith("/.env")], name


def test_the_trees_own_defaults_come_before_the_settings_of_the_stack(tmp_path: Path, env_file: Path) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "defaults.env").write_text("ONE=tree\nTWO=tree\nGEODATA_DIR=/elsewhere\n")
    settings = tmp_path / ".env"
    settings.write_text(env_file.read_text() + "TWO=stack\n")
    variables = {"WEPPPY_SRC": str(tmp_path), "STACK_ENV_FILE": str(settings)}
    environment = services(render(["docker-compose.dev.yml"], settings, **variables))["browse"]["environment"]
    found = {name: environment[name] for name in ("ONE", "TWO", "GEODATA_DIR")}
    assert found == {"ONE": "tree", "TWO": "stack", "GEODATA_DIR": "/geodata"}


def test_python_services_start_by_mounted_scripts_so_that_a_given_image_will_do(model: Model) -> None:
    for name, service in python_services(model).items():
        (scripts,) = [each for each in service["volumes"] if each["target"] == "/opt/stack"]
        assert (scripts["source"], scripts["read_only"]) == (f"{ROOT}/docker/python/stack", True), name
        assert service["working_dir"] == service["environment"]["PYTHONPATH"] == "/workdir/wepppy", name
        kind, *check = service.get("healthcheck", {}).get("test", ["CMD-SHELL"])
        assert kind == "CMD-SHELL" or check[:3] == ["/opt/venv/bin/python", "-I", "-S"], name


def test_no_url_holds_a_password_and_each_names_the_database_of_its_service(model: Model) -> None:
    found = {
        (name, key): value
        for name, service in services(model).items()
        for key, value in service.get("environment", {}).items()
        if key.endswith("REDIS_URL")
    }
    assert not [value for value in found.values() if "@" in value]
    assert found["weppcloud", "REDIS_URL"] == "redis://redis:6379/0"
    assert found["rq-worker", "REDIS_URL"] == found["rq-worker", "RQ_REDIS_URL"] == "redis://redis:6379/9"
    assert found["status", "STATUS_REDIS_URL"] == "redis://redis:6379/2"
    assert found["preflight", "PREFLIGHT_REDIS_URL"] == "redis://redis:6379/0"


def test_every_queue_has_a_listener(model: Model) -> None:
    assert services(model)["rq-worker"]["command"][2:] == ["default", "batch", "fork-archive"]


def test_limits_are_settings(render_with: Callable[..., Model]) -> None:
    changed = services(
        render_with(
            WEPPCLOUD_MEMORY="9g", RQ_WORKER_PIDS="999", RQ_WORKER_SHM="8g",
            WORKER_CPUSET="0-1", POSTGRES_SHM="1g", CADDY_MEMORY="1g",
        )
    )  # fmt: skip
    assert changed["weppcloud"]["deploy"]["resources"]["limits"]["memory"] == str(9 << 30)
    assert changed["caddy"]["deploy"]["resources"]["limits"]["memory"] == str(1 << 30)
    worker = changed["rq-worker"]
    assert worker["deploy"]["resources"]["limits"]["pids"] == 999
    assert (worker["shm_size"], worker["cpuset"]) == (str(8 << 30), "0-1")
    assert changed["postgres"]["shm_size"] == str(1 << 30)


def test_the_database_goes_first_where_processors_are_short(model: Model) -> None:
    shares = {name: each["cpu_shares"] for name, each in services(model).items() if "cpu_shares" in each}
    assert shares == {"postgres": 2 * 1024}  # 1024 is what a container gets


def test_redis_tells_of_changed_hashes_as_preflight_needs(model: Model) -> None:
    mounts = {v["target"]: v["source"] for v in services(model)["redis"]["volumes"]}
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
