"""The stack as Docker Swarm gets it: nothing of the rendered model is lost in silence, no secret is in it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.engine.compose import Compose
from scripts.engine.runner import Runner
from scripts.settings import secret_ids
from scripts.stack.swarm.stack_file import HANDLED, PROXY, SAME, STORES, StackFile
from tests.model.conftest import ROOT

PROD = "docker/docker-compose.prod.yml"
TREE = f"{PROD}:docker/docker-compose.wepppy.yml:docker/docker-compose.wepppy-prod.yml"
SHARED = {"WC1_DIR": "/srv/wc1", "GEODATA_DIR": "/srv/geodata"}
EMPTY = "openet_api_key"
Make = Callable[..., StackFile]
PINS = {STORES: "node-of-stores", PROXY: "node-of-proxy"}


@pytest.fixture(scope="module")
def folder(env_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an `.env` and of secrets, one of them not filled in."""
    folder = tmp_path_factory.mktemp("swarm")
    (folder / ".env").write_text(env_file.read_text() + f"SECRETS_DIR={folder}\n")
    for secret in secret_ids.BY_ID:
        (folder / secret).write_text("" if secret == EMPTY else f"content of {secret}")
    return folder


@pytest.fixture(scope="module")
def compose_with(folder: Path) -> Callable[..., Compose]:
    """Gives the stack of this checkout in production, each rendered once."""
    known: dict[str, Compose] = {}

    def of(files: str = PROD, profiles: str = "*", **variables: str) -> Compose:
        exported = {"COMPOSE_FILE": files, "SECRETS_DIR": str(folder), **variables}
        environment = {**os.environ, "WEPP_ENV_FILE": str(folder / ".env"), **exported}
        made = Compose(ROOT, Exporting(ROOT, exported), environment=environment, profiles=[profiles])
        return known.setdefault(f"{profiles} {exported}", made)

    return of


class Exporting(Runner):
    """Runs programs with variables that the caller exported."""

    def __init__(self, root: Path, variables: dict[str, str]) -> None:
        super().__init__(root)
        self.variables = variables

    def capture(self, *arguments: Any, env: Any = None, **how: Any) -> Any:
        """Adds the variables."""
        return super().capture(*arguments, env={**(env or {}), **self.variables}, **how)


@pytest.fixture(scope="module")
def stack_file(compose_with: Callable[..., Compose]) -> Make:
    """Gives the file of a stack."""

    def of(*arguments: str, replicas: dict[str, int] | None = None, **variables: str) -> StackFile:
        images = {"wepppy-python:prod": "registry.example/python:0123456789ab"}
        return StackFile(compose_with(*arguments, **variables), images, PINS, replicas or {})

    return of


def tree_variables() -> dict[str, str]:
    """Settings of a real tree."""
    return {"WEPPPY_SRC": str(ROOT / "tests" / "tree" / "skeleton")}


@pytest.mark.parametrize("files", [PROD, TREE, f"{PROD}:docker/docker-compose.external-postgres.yml"])
def test_docker_stack_takes_the_file_and_ignores_nothing_of_it(
    stack_file: Make, tmp_path: Path, files: str
) -> None:
    made = stack_file(files, **tree_variables())
    path = tmp_path / "stack.json"
    path.write_text(made.text())
    read = subprocess.run(
        ["docker", "stack", "config", "--compose-file", str(path)], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert read.returncode == 0, read.stderr
    assert "gnoring" not in read.stderr
    # Commands hold variables of their containers, which are none of the file.
    assert "$GEODATA_DIR" in read.stdout


def test_no_secret_is_in_the_file_and_an_empty_one_is_left_out(stack_file: Make) -> None:
    made = stack_file(TREE, **tree_variables())
    assert "content of" not in made.text()
    assert EMPTY not in made.document()["secrets"]
    used = {each["source"] for service in made.services.values() for each in service.get("secrets", [])}
    assert used == set(made.document()["secrets"])
    assert "postgres_password" in used


def test_a_changed_secret_or_file_is_a_new_object_and_all_others_keep_their_names(
    stack_file: Make, folder: Path
) -> None:
    before = stack_file().document()["secrets"]
    (folder / "redis_password").write_text("another content of it")
    after = stack_file().document()["secrets"]
    assert {key for key in before if before[key]["name"] != after[key]["name"]} == {"redis_password"}
    documents = (stack_file().document(), stack_file(TREE, **tree_variables()).document())
    for document in documents:
        for each in (*document["secrets"].values(), *document["configs"].values()):
            assert Path(each["file"]).is_file()
            assert len(each["name"]) <= 64


def test_containers_keep_their_limits_and_have_no_more_power_than_with_compose(
    compose_with: Callable[..., Compose], stack_file: Make
) -> None:
    model = compose_with(TREE, **tree_variables()).model["services"]
    for name, each in stack_file(TREE, **tree_variables()).services.items():
        for key in ("cap_drop", "read_only", "user", "init", "healthcheck", "logging", "stop_signal"):
            assert each.get(key) == model[name].get(key), (name, key)
        limits = each["deploy"]["resources"]["limits"]
        assert limits == model[name]["deploy"]["resources"]["limits"], name
        assert limits["memory"], name


def test_what_swarm_has_not_is_told_with_the_services_that_lack_it(
    compose_with: Callable[..., Compose], stack_file: Make
) -> None:
    made = stack_file(TREE, **tree_variables())
    told = "\n".join(made.remarks())
    for name, each in compose_with(TREE, **tree_variables()).model["services"].items():
        for key in set(each) - {*SAME, *HANDLED} if name in made.services else ():
            if each[key] not in ("", [], "none"):
                word = "no-new-privileges" if key == "security_opt" else key
                line = next(line for line in told.splitlines() if word in line)
                assert name in line.rpartition(": ")[2].split(", "), (name, key)
    assert "port 8080 is not published" in told
    assert "no-new-privileges" in told


def test_every_mount_of_compose_is_there_in_swarm(
    compose_with: Callable[..., Compose], stack_file: Make
) -> None:
    model = compose_with(TREE, **tree_variables()).model["services"]
    for name, each in stack_file(TREE, **tree_variables()).services.items():
        here = {mount["target"] for mount in each.get("volumes", [])}
        files = {config["target"] for config in each.get("configs", [])}
        wanted = {mount["target"] for mount in model[name].get("volumes", [])}
        wanted |= {entry.partition(":")[0] for entry in model[name].get("tmpfs", [])}
        wanted |= {"/dev/shm"} if model[name].get("shm_size") else set()
        covered = here | {str(parent) for file in files for parent in (Path(file), Path(file).parent)}
        assert wanted <= covered, name
    stack = ROOT / "docker" / "python" / "stack"
    files = {config["target"] for config in stack_file().services["weppcloud"]["configs"]}
    assert files == {f"/opt/stack/{path.name}" for path in stack.iterdir() if path.is_file()}


def test_the_database_has_the_folder_of_its_sockets_to_itself(stack_file: Make) -> None:
    document = stack_file().document()
    (mount,) = [
        m for m in document["services"]["postgres"]["volumes"] if m["target"] == "/var/run/postgresql"
    ]
    options = document["volumes"][mount["source"]]["driver_opts"]
    assert options["type"] == "tmpfs"
    assert {"uid=999", "gid=999", "mode=3775", "size=1m"} <= set(options["o"].split(","))


def test_an_entry_point_that_is_none_does_not_become_the_images(stack_file: Make) -> None:
    weppcloud = stack_file().services["weppcloud"]
    assert weppcloud["entrypoint"][0] == "gunicorn"
    assert "command" not in weppcloud
    assert weppcloud["image"] == "registry.example/python:0123456789ab"


def test_with_shared_folders_only_the_stores_are_bound_to_their_node(stack_file: Make) -> None:
    shared = stack_file(PROD, "none", **SHARED)
    assert {name for name, label in shared.labels.items() if label == STORES} == {
        "postgres",
        "postgres-backup",
        "redis",
    }
    constraints = shared.services["postgres"]["deploy"]["placement"]["constraints"]
    assert constraints == [f"node.labels.{STORES} == true", "node.id == node-of-stores"]
    assert "placement" not in shared.services["weppcloud"]["deploy"]
    assert "/srv/geodata, /srv/wc1" in "\n".join(shared.remarks())


def test_without_shared_folders_all_that_use_the_runs_are_bound_to_the_volumes_node(stack_file: Make) -> None:
    alone = stack_file(PROD, "none")
    assert {alone.labels[name] for name in ("weppcloud", "rq-worker", "browse", "db-upgrade")} == {STORES}
    assert "status" not in alone.labels


def test_what_must_be_one_is_with_the_stores_so_that_no_second_is_started_beside_one_that_is_cut_off(
    stack_file: Make,
) -> None:
    made = stack_file(TREE, "none", **tree_variables(), **SHARED)
    assert {made.labels[name] for name in ("scheduler", "rq-worker-fork-archive")} == {STORES}
    assert "rq-worker" not in made.labels


def test_the_proxy_and_what_fills_its_volumes_are_on_the_node_that_publishes_the_site(
    stack_file: Make,
) -> None:
    made = stack_file(TREE, **tree_variables(), **SHARED)
    on_proxy = {name for name, label in made.labels.items() if label == PROXY}
    assert on_proxy == {"caddy", "assets", "assets-vendor"}
    ports = made.services["caddy"]["ports"]
    assert {(port["published"], port["protocol"], port["mode"]) for port in ports} == {
        (80, "tcp", "host"),
        (443, "tcp", "host"),
        (443, "udp", "host"),
    }


def test_one_shots_run_once_before_what_waits_for_them_and_after_what_they_need(stack_file: Make) -> None:
    made = stack_file(TREE, "none", **tree_variables())
    first, second, last = made.stages()
    assert {"postgres", "redis", "sample-data", "assets"} <= set(first)
    assert second == ["db-upgrade"]
    assert {"weppcloud", "rq-worker", "caddy"} <= set(last)
    assert sorted([*first, *second, *last]) == sorted(made.services)
    for name in made.one_shots:
        deploy = made.services[name]["deploy"]
        assert (deploy["mode"], deploy["restart_policy"]) == ("replicated-job", {"condition": "none"})


def test_updates_start_the_new_container_first_except_where_never_two_may_run(stack_file: Make) -> None:
    made = stack_file(TREE, **tree_variables(), replicas={"weppcloud": 3, "postgres": 2, "scheduler": 2})
    ones = {"caddy", "postgres", "redis", "postgres-backup", "scheduler", "rq-worker-fork-archive", "cap"}
    assert ones <= made.single
    for name in set(made.services) - set(made.one_shots):
        deploy = made.services[name]["deploy"]
        assert deploy["restart_policy"] == {"condition": "any", "delay": "1s"}
        assert deploy["update_config"]["failure_action"] == "rollback"
        assert deploy["update_config"]["order"] == ("stop-first" if name in made.single else "start-first")
    replicas = {
        name: made.services[name]["deploy"]["replicas"] for name in ("weppcloud", "postgres", "scheduler")
    }
    assert replicas == {"weppcloud": 3, "postgres": 1, "scheduler": 1}


def test_what_goes_between_nodes_is_encrypted_where_that_is_wanted(stack_file: Make) -> None:
    networks = stack_file(SWARM_ENCRYPTED="yes").document()["networks"]
    assert [each["driver_opts"] for each in networks.values()] == [{"encrypted": "true"}] * 3


@pytest.mark.parametrize("mode", ["dnsrr", "vip"])
def test_services_find_each_other_by_name_on_overlays_of_which_the_stores_has_no_way_out(
    stack_file: Make, mode: str
) -> None:
    made = stack_file(SWARM_ENDPOINT_MODE=mode)
    assert {each["deploy"]["endpoint_mode"] for each in made.services.values()} == {mode}
    networks = made.document()["networks"]
    assert {name: (each["driver"], each["internal"]) for name, each in networks.items()} == {
        "edge": ("overlay", False),
        "data": ("overlay", True),
        "nowhere": ("overlay", True),
    }
    assert not any("driver_opts" in each for each in networks.values())
    assert list(made.services["sample-data"]["networks"]) == ["nowhere"]
    assert json.loads(made.text(["redis"]))["services"].keys() == {"redis"}
