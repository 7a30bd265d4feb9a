"""Which files, project and settings a `docker compose` of this stack gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.base.errors import StackError
from scripts.database import recovery
from scripts.engine.catalogue import Catalogue
from scripts.engine.compose import unescaped
from scripts.engine.runner import NOT_FOUND, TIMED_OUT
from scripts.prepare.doctor import examination
from scripts.stack.up import Options, Up
from tests.unit.fakes import Checkout, Screen, container, model


def test_commands_name_env_file_and_files_relative_to_the_root(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env(COMPOSE_FILE="docker/docker-compose.dev.yml:docker/more.yml")
    assert checkout.compose("geo").argv("ps") == [
        "docker", "compose", "--env-file", ".env", "--file", "docker/docker-compose.dev.yml",
        "--file", "docker/more.yml", "--profile", "geo", "ps",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stderr", "status", "words"),
    [
        (
            "unknown flag: --env-file\n\nRun 'docker --help' for more information",
            125,
            "Compose is not installed",
        ),
        ("docker: not found", NOT_FOUND, "docker is not installed"),
        ("", TIMED_OUT, "does not answer"),
        ("services.web: invalid", 15, "do not render: services.web: invalid"),
    ],
)
def test_files_are_only_blamed_for_what_stands_in_them(
    tmp_path: Path, stderr: str, status: int, words: str
) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    checkout.runner.on("config", stderr=stderr, returncode=status)
    with pytest.raises(StackError, match=words):
        _ = checkout.compose().model


def test_a_container_that_does_not_start_is_told_with_the_engines_reason(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    reason = "Error response from daemon: Ports are not available: bind: address already in use"
    checkout.runner.on(
        "docker", "start", stderr=f"{reason}\nError: failed to start containers: web\n", returncode=1
    )
    assert checkout.compose().engine.change("start", "web") == reason


def test_the_callers_environment_wins_over_the_file(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    checkout.environment["COMPOSE_PROJECT_NAME"] = "other"
    assert checkout.compose().project == "other"


def test_a_second_stack_shares_neither_backups_nor_secrets(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    assert checkout.compose().child_environment() == {}
    checkout.environment["COMPOSE_PROJECT_NAME"] = "other"
    own = tmp_path / ".docker-data" / "other"
    assert checkout.compose().child_environment() == {
        "DOCKER_DATA_DIR": str(own),
        "SECRETS_DIR": str(own / "secrets"),
    }


@pytest.mark.parametrize("exported", [True, False])
def test_a_folder_of_the_main_stack_is_no_stacks_own_data_folder(tmp_path: Path, exported: bool) -> None:
    checkout = Checkout(tmp_path)
    if exported:
        checkout.with_env()
        checkout.environment["COMPOSE_PROJECT_NAME"] = "secrets"
    else:
        checkout.with_env(DOCKER_DATA_DIR="../.docker-data/secrets")
    compose = checkout.compose()
    with pytest.raises(StackError, match="belongs to the main stack"):
        Up(compose, Screen().console, Options(), recover=recovery.finish).run()
    told = {each.what for each in examination.errors_of(examination.examine(compose))}
    assert any("belongs to the main stack" in what for what in told)
    assert not (tmp_path / ".docker-data" / "secrets" / "secrets").exists()


def test_a_folder_that_the_user_names_is_used_for_every_stack(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env(DOCKER_DATA_DIR="../elsewhere")
    checkout.environment["COMPOSE_PROJECT_NAME"] = "other"
    assert checkout.compose().data_dir == tmp_path / "elsewhere"


def test_another_env_file_is_also_the_one_that_containers_see(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    path = checkout.with_env().rename(tmp_path / "other.env")
    checkout.environment["WEPP_ENV_FILE"] = str(path)
    compose = checkout.compose()
    assert compose.argv("ps")[3] == "other.env"
    assert compose.child_environment()["STACK_ENV_FILE"] == str(path)


def test_no_argument_list_and_no_variable_holds_a_secret(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    compose = checkout.compose()
    for words in (compose.argv("up"), list(compose.child_environment().values())):
        assert not any("secret-word" in word for word in words)


def test_dollars_that_compose_doubles_are_single_again() -> None:
    assert unescaped({"a": ["x$$y", {"b": "$$"}], "n": 1}) == {"a": ["x$y", {"b": "$"}], "n": 1}


def test_a_broken_overlay_is_named_with_what_compose_says(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    checkout.runner.on(
        "config", stderr="services.x Additional property imagee is not allowed\n", returncode=15
    )
    with pytest.raises(StackError) as caught:
        _ = checkout.compose().model
    assert "imagee" in caught.value.what
    assert "COMPOSE_FILE" in caught.value.fix
    assert caught.value.exit_code == 3


def test_a_compose_too_old_for_the_files_is_told_to_be_replaced(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    # Compose 2.24.0, 2.25.0 and 2.26.0 as released.
    refusal = "validating base.yml: services.browse.deploy.resources.limits.pids must be a integer"
    checkout.runner.on("docker", "compose", "config", stderr=refusal, returncode=15)
    with pytest.raises(StackError, match="do not render") as caught:
        _ = checkout.compose().model
    assert "2.29" in caught.value.fix


def test_a_compose_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env(COMPOSE_FILE="docker/nowhere.yml")
    with pytest.raises(StackError, match=r"docker/nowhere\.yml, which does not exist"):
        _ = checkout.compose().model


def test_the_catalogue_is_what_the_model_says(tmp_path: Path) -> None:
    catalogue = Catalogue.of(model(tmp_path))
    status, metquery = catalogue.services["status"], catalogue.services["metquery"]
    assert (status.about, status.probe, status.probe_body) == ("Messages", "/status/health", "OK")
    assert status.container == "wepppy-status-1"
    assert catalogue.services["postgres"].container == "wepppy-postgres"
    assert catalogue.services["upgrade"].one_shot
    assert not metquery.active([])
    assert metquery.active(["geo"])
    assert catalogue.url("/met/") == "http://localhost:8080/met/"


def test_ports_that_the_engine_chooses_are_not_promised() -> None:
    document = {"services": {"caddy": {"ports": [{"target": 8080, "published": ""}, {"target": 8080}]}}}
    catalogue = Catalogue.of(json.loads(json.dumps(document)))
    assert catalogue.proxy_address() is None
    assert catalogue.url("/") == ""


@pytest.mark.parametrize(("what", "names"), [("service", ["no"]), ("profile", ["core", "no"])])
def test_a_name_that_is_not_in_the_stack_is_answered_with_those_that_are(
    tmp_path: Path, what: str, names: list[str]
) -> None:
    catalogue = Catalogue.of(model(tmp_path))
    check = catalogue.select if what == "service" else catalogue.check_profiles
    with pytest.raises(StackError, match=f"there is no {what} no") as caught:
        check(names)
    assert "choose from" in caught.value.fix
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("stderr", "returncode"),
    [("docker did not answer within 20 s", 124), ("Cannot connect to the Docker daemon", 1), ("", 1)],
)
def test_an_engine_that_stops_answering_is_no_empty_stack(
    tmp_path: Path, stderr: str, returncode: int
) -> None:
    checkout = Checkout(tmp_path)
    for command in (
        ("docker", "inspect", "container"),
        ("docker", "image", "inspect"),
        ("docker", "volume", "inspect"),
    ):
        checkout.runner.on(*command, stderr=stderr, returncode=returncode)
    engine = checkout.compose().engine
    for question in (
        lambda: engine.containers("wepppy"),
        lambda: engine.image_ids(["postgres:17-trixie"]),
        lambda: engine.volumes_made(["wepppy_pgdata"]),
    ):
        with pytest.raises(StackError, match="engine"):
            question()


def test_a_container_that_went_away_in_between_is_left_out(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.runner.on(
        "docker",
        "inspect",
        "container",
        stdout=json.dumps([container("status")]),
        stderr="Error response from daemon: No such container: 1234\n",
        returncode=1,
    )
    assert [each.service for each in checkout.compose().engine.containers("wepppy")] == ["status"]
