"""Which base images are built where no registry answers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts.errors import StackError
from scripts.images import BaseImages, major_of, stand_ins
from scripts.runner import Result
from tests.unit.fakes import FakeRunner

RECIPES = Path(__file__).parents[2] / "docker" / "base"


def builder(folder: Path, postgres: str) -> tuple[BaseImages, FakeRunner, dict[str, str]]:
    """What builds the stand-in of one server image, on a machine that has none yet."""
    shutil.copytree(RECIPES, folder / "docker" / "base")
    runner = FakeRunner()
    remembered: dict[str, str] = {}
    runner.on("docker", "image", "inspect", returncode=1)
    runner.on("docker", "buildx", "imagetools", "inspect", returncode=1, stderr="no such host")
    runner.on("apt-get", "indextargets", stdout="Debian http://mirror/debian\n")
    for command in ("build", "import"):
        runner.on("docker", command)
    runner.on("mmdebstrap")
    made = BaseImages(
        folder,
        runner,
        {"POSTGRES_IMAGE": postgres},
        {},
        remembered.__setitem__,
        lambda line: None,
        which=lambda name: name,
    )
    return made, runner, remembered


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
    made, runner, remembered = builder(tmp_path, wanted)
    made.ensure()
    assert remembered.get("POSTGRES_IMAGE", wanted) == built
    (command,) = [argv for argv in runner.commands() if argv[:2] == ["docker", "build"]]
    assert f"DEBIAN_IMAGE=wepp-base/debian:{release}" in command
    assert (f"POSTGRES_MAJOR={major_of(wanted)}" in command) == (release != "trixie")


def test_a_major_that_no_release_carries_is_refused_and_not_replaced_by_another(tmp_path: Path) -> None:
    made, _, remembered = builder(tmp_path, "postgres:16-bookworm")
    with pytest.raises(StackError, match="carries PostgreSQL 16") as caught:
        made.ensure()
    assert "17, 18" in caught.value.mend
    assert remembered == {}


def test_two_majors_are_two_recipes(tmp_path: Path) -> None:
    made, _, _ = builder(tmp_path, "postgres:18")
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
    made, runner, remembered = builder(tmp_path, wanted)
    runner.on("docker", "buildx", "imagetools", "inspect", returncode=1, stderr=reason)
    with pytest.raises(StackError, match=words) as caught:
        made.ensure()
    assert "docker pull" in caught.value.mend
    assert remembered == {}
    assert not [argv for argv in runner.commands() if argv[:2] == ["docker", "build"]]


def test_what_was_pulled_before_the_registry_failed_is_not_to_blame(tmp_path: Path) -> None:
    made, runner, remembered = builder(tmp_path, "postgis/postgis:17")
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
    assert remembered == {"REDIS_IMAGE": "wepp-base/redis:8-trixie"}
