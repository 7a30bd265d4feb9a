"""An edit that only a build brings into the images is told, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.prepare import last_build
from scripts.prepare.build import build
from scripts.stack.up import Options
from tests.unit.attempt import Attempt
from tests.unit.fakes import Checkout, Screen, model


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A stack whose images were built from a Go service and from a requirements file."""
    made = Checkout(tmp_path)
    made.with_env()
    made.with_secrets()
    docker, tree = tmp_path / "docker", tmp_path / "docker/sample"
    for name in ("go/Dockerfile", "python/Dockerfile", "python/stack/worker.py", "mirrors/with-mirrors.sh",
                 "sample/services/status2/main.go", "sample/requirements.txt"):  # fmt: skip
        file = docker / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("first")
    changed = model(tmp_path)
    others = {"source": str(tree), "mirrors": str(docker / "mirrors")}
    services: dict[str, Any] = changed["services"]
    services["status"]["build"] = {
        "context": str(docker / "go"), "args": {"SERVICE": "status2"}, "additional_contexts": others,
    }  # fmt: skip
    services["metquery"] |= {
        "image": "wepppy-python:dev",
        "build": {
            "context": str(docker / "python"),
            "args": {"WEPPPY_REQUIREMENTS": "requirements.txt"},
            "additional_contexts": others,
        },
        "volumes": [{"type": "bind", "source": str(docker / "python/stack"), "target": "/opt/stack"}],
    }
    made.runner.on("config", "json", stdout=json.dumps(changed))
    made.images_are("wepppy-caddy:dev", "wepppy-status:dev", "wepppy-python:dev", "postgres:17-trixie")
    made.note_volumes()
    rebuild(made)
    return made


def rebuild(checkout: Checkout) -> None:
    build(checkout.compose(), Screen().console, base=lambda *_: None)


def changed(checkout: Checkout) -> list[str]:
    names = ["caddy", "status", "metquery", "postgres"]
    return [
        str(Path(each).relative_to(checkout.root)) for each in last_build.changed(checkout.compose(), names)
    ]


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("sample/services/status2/main.go", "docker/sample/services"),
        ("sample/services/status2/new.go", "docker/sample/services"),
        ("sample/requirements.txt", "docker/sample/requirements.txt"),
        ("go/Dockerfile", "docker/go"),
        ("mirrors/with-mirrors.sh", "docker/mirrors"),
    ],
)
def test_an_edit_that_needs_a_build_is_seen_until_that_is_done(
    checkout: Checkout, file: str, place: str
) -> None:
    assert changed(checkout) == []
    (checkout.root / "docker" / file).write_text("second and longer")
    assert changed(checkout) == [place]
    rebuild(checkout)
    assert changed(checkout) == []


@pytest.mark.parametrize(
    "file",
    ["sample/wepppy/weppcloud/app.py", "python/stack/worker.py", "sample/services/status2/main_test.go"],
)
def test_what_is_mounted_or_in_no_image_needs_no_build(checkout: Checkout, file: str) -> None:
    (checkout.root / "docker" / file).write_text("second and longer")
    assert changed(checkout) == []


def test_an_image_that_others_built_or_loaded_is_not_judged(checkout: Checkout) -> None:
    (checkout.root / "docker/sample/services/status2/main.go").write_text("second and longer")
    checkout.runner.on("docker", "image", "inspect", stdout="sha256:other\twepppy-status:dev\n")
    assert changed(checkout) == []
    (checkout.root / ".docker-data/last-build.json").unlink()
    assert changed(checkout) == []


def test_a_start_tells_the_edit_with_a_command_that_repeats_its_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = Attempt(Checkout(tmp_path))
    attempt.checkout.with_env()
    attempt.checkout.with_secrets()
    attempt.options = Options(services=("status",))
    attempt.profiles = ("geo",)
    monkeypatch.chdir(tmp_path)
    attempt.run()
    monkeypatch.setattr(last_build, "changed", lambda *_: [str(tmp_path / "docker/sample/services")])
    attempt.screen.err.truncate(0)
    attempt.run()
    said = attempt.screen.err.getvalue()
    assert (
        "changed since the images were built, and not in them: docker/sample/services "
        "(invoke compose-up --build)"
    ) in said
    assert "nothing changed" not in said
