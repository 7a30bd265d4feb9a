"""Which container the program at the database is asked in: the service's own only where it is what the settings say."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.base.errors import StackError
from scripts.database.sidecar_client import answer
from scripts.engine import sidecar
from tests.unit.fakes import Checkout, FakeLineProcess, Screen, container, model

Spoil = Callable[[dict[str, Any]], object]


class Scene:
    """A checkout with a backup service whose running container is as its settings say, until a test spoils it."""

    def __init__(self, folder: Path) -> None:
        self.checkout = Checkout(folder)
        self.checkout.with_env()
        self.secret = folder / ".docker-data" / "secrets" / "postgres_password"
        self.secret.parent.mkdir(parents=True)
        self.secret.write_text("a-very-secret-word")
        os.utime(self.secret, (100, 100))
        self.model = model(folder)
        self.model["services"][sidecar.SERVICE] = {
            "image": "wepppy-backup:dev",
            "user": "1000:1000",
            "environment": {"PGDATABASE": "wepppy"},
            "secrets": [{"source": "postgres_password"}],
            "volumes": [{"type": "bind", "source": "/data/backups", "target": "/backups"}],
        }
        self.container = container(sidecar.SERVICE)
        self.container["Image"] = "sha256:wepppy-backup:dev"
        self.container["State"]["StartedAt"] = "1970-01-01T00:03:00Z"
        self.container["Config"] |= {"Env": ["PGDATABASE=wepppy", "PATH=/bin"], "User": "1000:1000"}
        self.container["Mounts"] = [
            {"Type": "bind", "Source": "/data/backups", "Destination": "/backups"},
            {"Type": "bind", "Source": str(self.secret), "Destination": "/run/secrets/postgres_password"},
        ]
        self.checkout.images_are("wepppy-backup:dev")
        self.tell()

    def tell(self) -> None:
        runner = self.checkout.runner
        runner.on("config", "json", stdout=json.dumps(self.model))
        runner.on("docker", "ps", f"label=com.docker.compose.service={sidecar.SERVICE}", stdout="id\n")
        runner.on("docker", "inspect", "id", stdout=json.dumps([self.container]))

    def is_asked(self) -> bool:
        """Whether a command is run in the service's own container; one that is not begun there is ended."""
        self.tell()
        held, own = (FakeLineProcess(['{"kind": "result", "answer": 1}']) for _ in range(2))
        self.checkout.runner.line_processes[:] = [held, own]
        assert answer(self.checkout.compose(), Screen().console, ["list"]) == 1
        assert held.ended
        assert held.heard == ([] if own.ended else ["begin"])
        return not own.ended


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_container_that_is_as_the_settings_say_is_asked(scene: Scene) -> None:
    scene.checkout.runner.line_processes.append(FakeLineProcess(['{"kind": "result", "answer": 1}']))
    assert answer(scene.checkout.compose(), Screen().console, ["list"]) == 1
    (argv,) = scene.checkout.runner.commands("line_process")
    name = "wepppy-postgres-backup-1"
    assert argv == ["docker", "exec", "--interactive", name, "wepp-backup", "--json", "--held", "list"]


def test_who_needs_other_folders_gets_a_container_of_its_own(scene: Scene) -> None:
    scene.checkout.runner.line_processes.append(FakeLineProcess(['{"kind": "result", "answer": 1}']))
    answer(
        scene.checkout.compose(), Screen().console, ["list"], options=["--volume", "/a:/host-folders/a:ro"]
    )
    assert "run" in scene.checkout.runner.commands("line_process")[0]


def test_a_container_in_another_volume_than_the_settings_name_is_not_asked(scene: Scene) -> None:
    service = scene.model["services"][sidecar.SERVICE]
    service["volumes"] = [{"type": "volume", "source": "postgres-backups", "target": "/backups"}]
    scene.model["volumes"] = {"postgres-backups": {"name": "wepppy_postgres-backups"}}
    mount = {"Type": "volume", "Name": "wepppy_postgres-backups", "Source": "/x", "Destination": "/backups"}
    scene.container["Mounts"][0] = mount
    assert scene.is_asked()
    mount["Name"] = "other_postgres-backups"
    assert not scene.is_asked()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda it: it.update(Image="sha256:older"), id="an older image"),
        pytest.param(lambda it: it["Config"].update(Env=["PGDATABASE=other"]), id="another database"),
        pytest.param(lambda it: it["Config"].update(User="0:0"), id="another user"),
        pytest.param(lambda it: it["Mounts"][0].update(Source="/elsewhere"), id="another folder of backups"),
        pytest.param(lambda it: it["Mounts"][1].update(Source="/else"), id="another secret file"),
        pytest.param(
            lambda it: it["State"].update(StartedAt="1970-01-01T00:01:00Z"), id="a password from before"
        ),
    ],
)
def test_a_container_that_was_made_from_something_else_is_not_asked(scene: Scene, spoil: Spoil) -> None:
    spoil(scene.container)
    assert not scene.is_asked()


def test_a_service_that_does_not_run_is_not_asked(scene: Scene) -> None:
    scene.tell()
    scene.checkout.runner.on("docker", "ps", f"label=com.docker.compose.service={sidecar.SERVICE}")
    scene.checkout.runner.line_processes.append(FakeLineProcess(['{"kind": "result", "answer": 1}']))
    answer(scene.checkout.compose(), Screen().console, ["list"])
    assert "run" in scene.checkout.runner.commands("line_process")[0]


def test_a_program_that_waits_is_ended_when_the_settings_cannot_be_read(scene: Scene) -> None:
    held = FakeLineProcess([])
    scene.checkout.runner.line_processes.append(held)
    scene.checkout.runner.on("config", "json", returncode=1, stderr="yaml: line 3")
    with pytest.raises(StackError, match="do not render"):
        answer(scene.checkout.compose(), Screen().console, ["list"])
    assert (held.heard, held.ended) == ([], True)


def test_a_secret_that_is_gone_is_nothing_to_log_in_with(scene: Scene) -> None:
    scene.secret.unlink()
    assert not scene.is_asked()
