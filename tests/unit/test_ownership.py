"""A project that is another checkout's, or another settings file's, is recognised before anything is changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.base.console import Console
from scripts.base.errors import StackError
from scripts.database import recovery
from scripts.database.backup import back_up, verify
from scripts.database.rotate_password import Options as Rotation
from scripts.database.rotate_password import rotate
from scripts.engine.compose import Compose
from scripts.prepare import ownership
from scripts.prepare.build import build
from scripts.settings import scram
from scripts.stack import service_commands
from scripts.stack.down import down
from scripts.stack.up import Options, Up
from tests.unit.fakes import Checkout, FakeHost, Screen, container

PASSWORD = "a-very-secret-word"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A checkout whose project is down, with volumes that it has not seen."""
    folder = tmp_path / "mine"
    folder.mkdir()
    made = Checkout(folder)
    made.with_env()
    made.with_secrets()
    made.containers_are([])
    volumes = ("wepppy_postgres-data", "wepppy_redis-data")
    made.runner.on("docker", "volume", "ls", stdout="".join(f"{name}\n" for name in volumes))
    made.runner.on(
        "docker", "volume", "inspect", stdout="".join(f"{name}\t2026-11-29T14:06:25Z\n" for name in volumes)
    )
    return made


def holds(checkout: Checkout, *lines: str) -> None:
    """What the database's files say when they are looked into."""
    checkout.runner.on("docker", "run", stdout="".join(f"{line}\n" for line in lines))


def refused(checkout: Checkout) -> StackError:
    with pytest.raises(StackError) as caught:
        ownership.require(checkout.compose())
    assert caught.value.exit_code == 4
    assert "nothing was changed" in caught.value.what
    return caught.value


def elsewhere(checkout: Checkout) -> Path:
    """Another checkout, whose containers run."""
    other = checkout.root.parent / "other"
    (other / "docker").mkdir(parents=True)
    checkout.containers_are([container("status", folder=str(other / "docker"))])
    return other


def made_with(env_file: str, folder: Path) -> dict[str, Any]:
    answer = container("status", folder=str(folder))
    answer["Config"]["Labels"]["com.docker.compose.project.environment_file"] = env_file
    return answer


def test_a_free_project_is_anybodys(checkout: Checkout) -> None:
    checkout.runner.on("docker", "volume", "ls")
    ownership.require(checkout.compose())


def test_containers_of_another_checkout_are_refused_with_its_folder_and_the_fix(checkout: Checkout) -> None:
    other = elsewhere(checkout)
    error = refused(checkout)
    assert f"another checkout, in {other};" in error.what
    assert "COMPOSE_PROJECT_NAME" in error.fix


def test_the_same_checkout_by_another_path_is_itself(checkout: Checkout) -> None:
    link = checkout.root.parent / "link"
    link.symlink_to(checkout.root)
    checkout.containers_are([container("status", folder=str(link / "docker"))])
    ownership.require(checkout.compose())


def test_another_settings_file_of_the_same_checkout_is_refused(checkout: Checkout) -> None:
    other = checkout.root / "second.env"
    other.write_text("COMPOSE_PROJECT_NAME=wepppy\n")
    checkout.containers_are([made_with(str(other), checkout.root / "docker")])
    error = refused(checkout)
    assert str(other) in error.what
    assert f"WEPP_ENV_FILE={other}" in error.fix


@pytest.mark.parametrize("name", ["link.env", ".env", "gone.env", ".env,more.env", ""])
def test_settings_that_are_the_same_file_or_are_gone_are_no_others(checkout: Checkout, name: str) -> None:
    (checkout.root / "link.env").symlink_to(".env")
    (checkout.root / "more.env").touch()
    files = ",".join(str(checkout.root / each) for each in name.split(",") if each)
    checkout.containers_are([made_with(files, checkout.root / "docker")])
    ownership.require(checkout.compose())


def test_volumes_that_take_another_password_are_refused(checkout: Checkout) -> None:
    holds(checkout, scram.verifier("somebody-elses-word"))
    error = refused(checkout)
    assert "volumes that this checkout has not made (wepppy_postgres-data)" in error.what
    assert "docker volume rm" in error.fix
    assert not (checkout.root / ".docker-data" / ownership.SEEN_VOLUMES).exists()


def test_volumes_that_take_the_password_are_written_down_and_not_looked_into_again(
    checkout: Checkout,
) -> None:
    holds(checkout, scram.verifier("an-earlier-word"), scram.verifier(PASSWORD))
    ownership.require(checkout.compose())
    ownership.require(checkout.compose())
    looks = [argv for argv in checkout.runner.commands("capture") if argv[1] == "run"]
    assert len(looks) == 1
    assert "wepppy_postgres-data:/files:ro" in looks[0]
    assert looks[0][looks[0].index("--network") :][:2] == ["--network", "none"]
    assert not any(PASSWORD in word for word in looks[0])


def test_the_password_of_an_older_env_counts_too(checkout: Checkout) -> None:
    checkout.with_env(POSTGRES_PASSWORD="the-word-of-env")
    holds(checkout, scram.verifier("the-word-of-env"))
    ownership.require(checkout.compose())


def test_a_volume_without_a_database_yet_is_taken(checkout: Checkout) -> None:
    holds(checkout, ownership.EMPTY)
    ownership.require(checkout.compose())


def test_a_volume_that_was_made_anew_since_is_looked_into(checkout: Checkout) -> None:
    holds(checkout, scram.verifier(PASSWORD))
    ownership.require(checkout.compose())
    holds(checkout, scram.verifier("somebody-elses-word"))
    checkout.runner.on("docker", "volume", "inspect", stdout="wepppy_postgres-data\t2026-12-01T00:00:00Z\n")
    refused(checkout)


def test_a_checkout_that_was_moved_brings_its_note_along(checkout: Checkout) -> None:
    holds(checkout, scram.verifier(PASSWORD))
    ownership.require(checkout.compose())
    holds(checkout, scram.verifier("not-looked-into"))
    checkout.containers_are([container("status", folder="/gone/docker")])
    ownership.require(checkout.compose())


def test_a_fresh_clone_does_not_take_the_containers_of_a_deleted_checkout(checkout: Checkout) -> None:
    holds(checkout, scram.verifier("somebody-elses-word"))
    checkout.containers_are([container("status", folder="/gone/docker")])
    refused(checkout)


def test_without_an_image_to_look_with_nothing_is_taken(checkout: Checkout) -> None:
    checkout.images_are()
    assert "invoke images-base" in refused(checkout).fix


@pytest.mark.parametrize("started", [False, True])
def test_with_the_database_elsewhere_a_stack_that_was_started_here_goes_on(
    checkout: Checkout, started: bool
) -> None:
    checkout.runner.on("docker", "volume", "ls", stdout="wepppy_wc1\n")
    checkout.runner.on("docker", "volume", "inspect", stdout="wepppy_wc1\t2026-11-29T14:06:25Z\n")
    if started:
        (checkout.root / ".docker-data" / "last-up.json").write_text("{}")
        ownership.require(checkout.compose())
    else:
        refused(checkout)


def test_compose_up_in_a_fresh_clone_makes_no_secrets_for_anothers_volumes(checkout: Checkout) -> None:
    (checkout.root / ".env").unlink()
    shutil.rmtree(checkout.root / ".docker-data")
    with pytest.raises(StackError) as caught:
        Up(checkout.compose(), Screen().console, Options(), host=FakeHost(), recover=recovery.finish).run()
    assert caught.value.exit_code == 4
    assert "COMPOSE_PROJECT_NAME=NAME invoke env-init" in caught.value.fix
    assert not (checkout.root / ".env").exists()
    assert not (checkout.root / ".docker-data").exists()
    assert checkout.runner.commands() == []


TASKS: dict[str, Callable[[Compose, Console], object]] = {
    "compose-up": lambda compose, console: Up(
        compose, console, Options(), host=FakeHost(), recover=recovery.finish
    ).run(),
    "compose-down": lambda compose, console: down(compose, console),
    "compose-down --volumes": lambda compose, console: down(compose, console, volumes=True, yes="wepppy"),
    "compose-restart": lambda compose, console: service_commands.restart(compose, console, [], 60),
    "compose-build": build,
    "db-upgrade": service_commands.database_upgrade,
    "db-rotate-password": lambda compose, console: rotate(compose, console, Rotation(yes=True)),
    "db-backup": back_up,
    "db-verify --drill": lambda compose, console: verify(compose, console, "latest", drill=True),
}


@pytest.mark.parametrize("task", TASKS)
def test_a_task_that_changes_something_leaves_anothers_project_alone(checkout: Checkout, task: str) -> None:
    elsewhere(checkout)
    before = (checkout.root / ".env").read_text()
    with pytest.raises(StackError, match="belongs to another checkout") as caught:
        TASKS[task](checkout.compose(), Screen().console)
    assert caught.value.exit_code == 4
    assert checkout.runner.commands() == []
    assert (checkout.root / ".env").read_text() == before
