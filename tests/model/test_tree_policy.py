"""What every service of a real tree promises, in development and production, with the kit's image and a given one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from scripts.prepare import source_mounts
from scripts.settings import secret_ids
from tests.model.conftest import ROOT
from tests.model.test_policy import BUILD_ONLY

Model = dict[str, Any]
TREE = {"WEPPPY_SRC": "/home/somebody/wepppy"}
ONE_SHOTS = {"db-upgrade", "sample-data", "assets", "assets-vendor"}
ASSETS = ("assets", "assets-vendor")
# The converter reads what anybody uploads, cap's image has a user of its own, the stores own their data.
OTHER_USERS = {
    "shape-converter": "10001:10001",
    "cap": "10001:10001",
    "postgres": "999:999",
    "redis": "999:999",
}
CORE = {
    "caddy", "weppcloud", "status", "preflight", "browse", "rq-worker", "postgres", "redis", "postgres-backup",
    "db-upgrade", "sample-data", "rq-engine", "cap", "download", "rq-worker-batch", "rq-worker-fork-archive",
    "scheduler", "assets", "assets-vendor",
}  # fmt: skip


def files(mode: str, *more: str) -> list[str]:
    names = (f"docker-compose.{mode}.yml", "docker-compose.wepppy.yml", f"docker-compose.wepppy-{mode}.yml")
    return [*names, *(f"docker-compose.{name}.yml" for name in more)]


@pytest.fixture(scope="module", params=["dev", "prod"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tree(render_with: Callable[..., Model], mode: str) -> dict[str, dict[str, Any]]:
    """The services of a real tree."""
    found: dict[str, dict[str, Any]] = render_with(files(mode), **TREE)["services"]
    return found


@pytest.fixture(scope="module")
def given(render_with: Callable[..., Model], mode: str) -> dict[str, dict[str, Any]]:
    """The same with an image that the user has."""
    model = render_with(files(mode, "wepppy-image"), WEPPPY_IMAGE="upstream/wepppy:1", **TREE)
    found: dict[str, dict[str, Any]] = model["services"]
    return found


def secrets_of(service: dict[str, Any]) -> set[str]:
    return {each["source"] for each in service.get("secrets", [])}


def test_every_service_has_health_limits_rotated_logs_and_least_power(tree: dict[str, Any]) -> None:
    for name, service in tree.items():
        assert ("test" in service.get("healthcheck", {})) == (name not in {*ONE_SHOTS, "mover"}), name
        assert (service["labels"].get("wepp.role") == "one-shot") == (name in ONE_SHOTS), name
        assert service["restart"] == ("no" if name in {*ONE_SHOTS, "mover"} else "unless-stopped"), name
        limits = service["deploy"]["resources"]["limits"]
        assert int(limits["memory"]) > 0, name
        assert limits["pids"] > 0, name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name
        assert (service["cap_drop"], service["read_only"]) == (["ALL"], True), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"] == OTHER_USERS.get(name, "1000:1000"), name
        assert service["labels"]["wepp.about"], name


def test_no_service_reaches_the_engines_socket_unless_its_own_overlay_says_so(
    tree: dict[str, Any], render_with: Callable[..., Model], mode: str
) -> None:
    assert "docker.sock" not in str(tree)
    model = render_with(files(mode, "docker-socket"), DOCKER_GID="999", **TREE)["services"]
    reach = {name for name, service in model.items() if "docker.sock" in str(service.get("volumes"))}
    assert reach == {"rq-worker", "rq-worker-batch"}
    assert all(model[name]["group_add"] == ["999"] for name in reach)


def test_what_a_user_needs_is_core_and_the_rest_has_a_profile(tree: dict[str, Any]) -> None:
    by_profile: dict[str, set[str]] = {}
    for name, service in tree.items():
        for profile in service.get("profiles") or ["core"]:
            by_profile.setdefault(profile, set()).add(name)
    assert by_profile.pop("sample-only") == {"webpush"}
    assert by_profile == {
        "core": CORE,
        "geo": {"elevationquery", "wmesque2", "metquery"},
        "legacy": {"wmesque"},
        "migration": {"mover"},
        "analysis": {"query-engine", "dtale", "weppcloudr"},
        "exchange": {"shape-converter", "fcgiwrap"},
        "developer": {"rq-dashboard", "profile-playback"},
    }


def test_webpush_is_off_whatever_the_profiles_say(render_with: Callable[..., Model], mode: str) -> None:
    assert "webpush" not in render_with(files(mode), profiles="push", **TREE)["services"]


def test_each_queue_has_one_service_and_forks_are_serial(tree: dict[str, Any]) -> None:
    queues = {name: each["command"][2:] for name, each in tree.items() if name.startswith("rq-worker")}
    assert queues == {
        "rq-worker": ["default"],
        "rq-worker-batch": ["batch"],
        "rq-worker-fork-archive": ["fork-archive"],
    }
    assert tree["rq-worker-fork-archive"]["environment"]["RQ_WORKER_COUNT"] == "1"
    assert {tree[name]["environment"]["RQ_EXACTLY_ONE"] for name in queues} == {"fork-archive"}
    assert (
        tree["rq-worker-fork-archive"]["deploy"]["replicas"] == tree["scheduler"]["deploy"]["replicas"] == 1
    )


def test_secrets_are_files_with_canonical_ids_and_only_where_they_are_read(
    tree: dict[str, Any], render_with: Callable[..., Model], mode: str
) -> None:
    known = render_with(files(mode), **TREE)["secrets"].keys()
    assert known - BUILD_ONLY <= secret_ids.BY_ID.keys()
    assert {
        each.id for each in secret_ids.ALL if each.id not in (secret_ids.HOOK, "vapid_private_key")
    } <= known
    for name, service in tree.items():
        named = {
            value.removeprefix("/run/secrets/")
            for key, value in service.get("environment", {}).items()
            if key.endswith("_FILE") and value.startswith("/run/secrets/")
        }
        assert named <= secrets_of(service), name
    superusers = {
        name for name, service in tree.items() if "postgres_superuser_password" in secrets_of(service)
    }
    assert superusers == {"postgres", "postgres-backup", "mover"}
    for name in ("shape-converter", "assets", "weppcloudr", "fcgiwrap", "metquery", "wmesque2"):
        assert not secrets_of(tree[name]), name
    assert (
        tree["weppcloud"]["environment"]["SECRET_KEY_FILE"]
        == tree["rq-engine"]["environment"]["SECRET_KEY_FILE"]
    )
    assert secrets_of(tree["download"]) == {"redis_password", "wepp_auth_jwt_secrets", "discord_bot_token"}


def test_the_bots_token_lies_where_the_vendors_package_opens_it(tree: dict[str, Any]) -> None:
    held = {
        name: each["target"]
        for name, service in tree.items()
        for each in service.get("secrets", [])
        if each["source"] == "discord_bot_token"
    }
    assert {"weppcloud", "rq-engine", "rq-worker", "db-upgrade"} <= held.keys()
    assert set(held.values()) == {"/workdir/weppcloud2/weppcloud2/discord_bot/.bot_token"}


def test_a_log_in_by_others_gets_its_secret_with_its_client_id_alone(
    tree: dict[str, Any], render_with: Callable[..., Model], mode: str
) -> None:
    key = "OAUTH_GITHUB_CLIENT_SECRET_FILE"
    assert tree["weppcloud"]["environment"][key] == ""
    model = render_with(files(mode), OAUTH_GITHUB_CLIENT_ID="an-id", **TREE)
    assert model["services"]["weppcloud"]["environment"][key] == "/run/secrets/oauth_github_client_secret"


def test_no_redis_url_holds_a_password_and_workers_use_the_queues_database(tree: dict[str, Any]) -> None:
    urls = {
        name: each["environment"].get("REDIS_URL", "") for name, each in tree.items() if "environment" in each
    }
    assert not [url for url in urls.values() if "@" in url]
    for name in ("weppcloud", "browse", "download", "rq-engine"):
        assert urls[name].endswith(":6379/0"), name
    for name in ("rq-worker", "rq-worker-batch", "rq-worker-fork-archive", "scheduler"):
        assert urls[name].endswith(":6379/9"), name


def test_the_converter_talks_to_nobody_but_the_proxy(
    tree: dict[str, Any], render_with: Callable[..., Model], mode: str
) -> None:
    assert {name for name, each in tree.items() if "conversion" in (each.get("networks") or {})} == {
        "caddy",
        "shape-converter",
    }
    assert set(tree["shape-converter"]["networks"]) == {"conversion"}
    assert render_with(files(mode), **TREE)["networks"]["conversion"]["internal"] is True
    assert not [
        key for key in tree["shape-converter"]["environment"] if key.startswith(("POSTGRES_H", "REDIS_H"))
    ]


def test_holders_of_the_databases_password_are_known_as_its_writers(tree: dict[str, Any]) -> None:
    writers = {name for name, each in tree.items() if each["labels"].get("wepp.writes") == "postgres"}
    holders = {name for name, each in tree.items() if "postgres_password" in secrets_of(each)}
    assert writers == holders - {"postgres", "postgres-backup", "mover"}


def test_a_given_image_runs_all_python_services_and_nothing_is_built_for_them(
    tree: dict[str, Any], given: dict[str, Any]
) -> None:
    python = {name for name, each in tree.items() if "wepppy-python:" in each["image"]}
    assert len(python) == 21
    for name in python:
        assert given[name]["image"] == "upstream/wepppy:1", name
        assert "build" not in given[name], name
    # Made from it, with two packages more.
    assert given["fcgiwrap"]["build"]["args"]["APPLICATION_IMAGE"] == "upstream/wepppy:1"
    assert {name for name in given if "build" in given[name]} == {
        "caddy", "status", "preflight", "cap", "weppcloudr", "fcgiwrap", "postgres", "postgres-backup", "assets-vendor",
        "volume-init",
    }  # fmt: skip


def test_new_volumes_have_an_owner_before_anything_writes_into_them(given: dict[str, Any]) -> None:
    init = given["volume-init"]
    assert {each["target"] for each in init["volumes"]} == {"/wc1", "/geodata"}
    assert init["build"]["target"] == "volumes"
    assert given["db-upgrade"]["depends_on"]["volume-init"]["condition"] == "service_completed_successfully"


def test_what_npm_runs_sees_neither_runs_nor_geodata(tree: dict[str, Any], given: dict[str, Any]) -> None:
    for services in (tree, given):
        targets = {name: {each["target"] for each in services[name]["volumes"]} for name in ASSETS}
        assert not [name for name, found in targets.items() if found & {"/wc1", "/geodata"}]


def test_development_mounts_the_whole_tree_and_production_nothing_of_it(
    tree: dict[str, Any], mode: str
) -> None:
    mounting = {
        name
        for name, each in tree.items()
        if any(volume["target"] == "/workdir/wepppy" for volume in each.get("volumes", []))
    }
    assert mounting - {"webpush"} == (set(source_mounts.SERVICES) if mode == "dev" else set())
    if mode == "prod":
        assert "/home/somebody" not in str([each.get("volumes") for each in tree.values()])


def test_the_generated_file_fits_the_model(
    render_with: Callable[..., Model], mode: str, tmp_path: Path
) -> None:
    if mode == "prod":
        pytest.skip("production mounts nothing of the tree")
    for folder in ("wepppy/.git", "beside/wepppyo3"):
        (tmp_path / folder).mkdir(parents=True)
    generated = tmp_path / "source-mounts.yml"
    generated.write_text(source_mounts.text(tmp_path / "wepppy", tmp_path / "beside"))
    model = render_with([*files(mode), str(generated)], **TREE)
    for name in source_mounts.SERVICES:
        targets = {volume["target"] for volume in model["services"][name]["volumes"]}
        assert {"/workdir/wepppy", "/workdir/wepppy/.git", "/workdir/wepppyo3"} <= targets, name


def test_the_application_waits_for_its_front_end(tree: dict[str, Any]) -> None:
    waited = tree["weppcloud"]["depends_on"]
    for name in ("assets", "assets-vendor", "db-upgrade"):
        assert waited[name]["condition"] == "service_completed_successfully", name


def test_limits_of_a_large_host_are_settings(render_with: Callable[..., Model], mode: str) -> None:
    model = render_with(
        files(mode, "wepppy-open-files"), WORKER_NOFILE="1000000", RQ_WORKER_BATCH_SHM="8g", WORKER_CPUSET="0-39",
        RQ_WORKER_BATCH_COUNT="4", **TREE,
    )["services"]  # fmt: skip
    for name in ("rq-worker", "rq-worker-batch", "rq-worker-fork-archive", "weppcloud"):
        assert model[name]["ulimits"]["nofile"] == {"soft": 1000000, "hard": 1000000}, name
    batch = model["rq-worker-batch"]
    assert (batch["shm_size"], batch["cpuset"]) == (str(8 << 30), "0-39")
    assert batch["environment"]["RQ_WORKER_COUNT"] == "4"


def test_every_line_of_the_preset_for_a_large_host_is_read_by_a_compose_file() -> None:
    preset = dotenv_values(ROOT / "docker" / "limits-40-cores.env")
    text = "".join(path.read_text() for path in (ROOT / "docker").glob("docker-compose.*.yml"))
    assert len(preset) > 30
    assert not [key for key in preset if f"${{{key}:" not in text and f"${{{key}}}" not in text]
