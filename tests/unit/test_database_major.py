"""A server of another major is never put before the database's files, and where it stands there, that is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.base.errors import ExitCode, StackError
from scripts.engine.database_server import BOTH_MAJORS, require_not_replaced, require_same_major
from tests.unit.fakes import Checkout, container, model

VOLUME = "wepppy_postgres-data"


def checkout(folder: Path, *, files: str, image: str, running_image: str = "sha256:old") -> Checkout:
    """A stack whose database's files and image are of these majors; nothing said where empty."""
    made = Checkout(folder)
    made.with_env()
    document = model(folder)
    document["services"]["postgres"]["image"] = "wepppy-postgres:dev"
    document["volumes"] = {"postgres-data": {"name": VOLUME}}
    runner = made.runner
    runner.on("config", "json", stdout=json.dumps(document))
    runner.on("docker", "volume", "ls", stdout=f"{VOLUME}\n" if files else "\n")
    runner.on("docker", "run", BOTH_MAJORS, stdout=f"{image} {files}\n")
    runner.on("docker", "image", "inspect", "wepppy-postgres:dev", stdout="sha256:new\n")
    runner.on("docker", "inspect", "{{.Image}}", stdout=f"{running_image}\n")
    made.containers_are([container("postgres")])
    return made


def test_a_server_of_another_major_does_not_replace_the_one_that_runs(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="are PostgreSQL 17's and the image is 18") as caught:
        require_not_replaced(checkout(tmp_path, files="17", image="18").compose())
    assert caught.value.exit_code == ExitCode.NOT_READY
    assert "POSTGRES_IMAGE" in caught.value.fix


@pytest.mark.parametrize(
    ("files", "image"), [("17", "17"), ("", "18"), ("17", "")], ids=["same", "no volume", "unknown"]
)
def test_nothing_is_said_where_nothing_is_wrong_or_known(tmp_path: Path, files: str, image: str) -> None:
    require_same_major(checkout(tmp_path, files=files, image=image).compose())


def test_a_server_that_stays_costs_no_look_at_its_files(tmp_path: Path) -> None:
    made = checkout(tmp_path, files="17", image="18", running_image="sha256:new")
    require_not_replaced(made.compose())
    assert not [argv for argv in made.runner.commands("capture") if argv[:2] == ["docker", "run"]]
