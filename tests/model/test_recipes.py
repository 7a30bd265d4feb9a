"""The README's recipes, followed on a copy of the Compose files: what comes out meets the policies of every service."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.model import test_policy as policy
from tests.model.conftest import ROOT

Model = dict[str, Any]
RECIPE = re.compile(r"^### Add a service\n(.*?)^### ", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^ *```yaml\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
NAME = "hillslopes"
OVERLAY = f'services:\n  {NAME}:\n    environment: {{COLOUR: "${{COLOUR:-green}}"}}\n'


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the folder of Compose files with the recipe's blocks put in, each into the file that it names."""
    folder = tmp_path_factory.mktemp("recipe") / "docker"
    shutil.copytree(ROOT / "docker", folder, ignore=shutil.ignore_patterns(".env"))
    recipe = RECIPE.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert recipe
    blocks = [dedent(block) for block in BLOCK.findall(recipe[1])]
    assert len(blocks) == 2
    for block in blocks:
        head, body = block.split("services:\n")
        path = folder / head.strip("# \n")
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("\nservices:\n", f"\nservices:\n{body}", 1))
    return folder


@pytest.fixture(scope="module")
def development(followed: Path, render_with: Callable[..., Model]) -> Model:
    """The development stack with the service."""
    return render_with([str(followed / "docker-compose.dev.yml")])


@pytest.mark.parametrize(
    "holds",
    [
        policy.test_every_long_running_service_has_a_health_check,
        policy.test_only_services_labelled_as_one_shots_are_not_restarted,
        policy.test_dependencies_say_what_they_wait_for,
        policy.test_every_service_runs_without_capabilities_on_a_read_only_root,
        policy.test_no_service_runs_as_root,
        policy.test_memory_and_processes_are_limited_everywhere,
        policy.test_logs_are_rotated_everywhere,
        policy.test_ports_are_published_on_the_loopback_only,
        policy.test_images_are_tagged_and_never_latest,
        policy.test_the_stores_are_out_of_reach_of_the_edge,
        policy.test_the_whole_stack_is_probed_less_than_once_a_second,
        policy.test_every_backend_behind_the_proxy_names_its_probe_and_its_answer,
        policy.test_writers_to_the_database_are_those_that_hold_its_password,
    ],
)
def test_a_service_that_is_added_by_the_recipe_meets_the_policies(
    development: Model, holds: Callable[[Model], None]
) -> None:
    assert NAME in development["services"]
    holds(development)


def test_the_added_service_has_its_source_mounted_in_development_and_inside_in_production(
    followed: Path, development: Model, render_with: Callable[..., Model]
) -> None:
    here = development["services"][NAME]
    assert "/workdir/wepppy" in {volume["target"] for volume in here["volumes"]}
    assert [port["published"] for port in here["ports"]] == ["8090"]
    there = render_with([str(followed / "docker-compose.prod.yml")])["services"][NAME]
    assert "/workdir/wepppy" not in {volume["target"] for volume in there["volumes"]}
    assert "ports" not in there
    assert there["image"].endswith("-python:prod")


def test_a_setting_and_an_overlay_that_are_added_by_the_recipes_reach_the_service(
    followed: Path, render_with: Callable[..., Model]
) -> None:
    overlay = followed / "docker-compose.colour.yml"
    overlay.write_text(OVERLAY)
    files = [str(followed / "docker-compose.dev.yml"), str(overlay)]
    by_default = render_with(files)["services"][NAME]
    assert by_default["environment"]["COLOUR"] == "green"
    set_otherwise = render_with(files, COLOUR="blue", HILLSLOPES_WORKERS="3")["services"][NAME]
    assert set_otherwise["environment"]["COLOUR"] == "blue"
    assert set_otherwise["command"][set_otherwise["command"].index("--workers") + 1] == "3"
