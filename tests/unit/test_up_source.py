"""compose-up stops before it starts anything when the source tree and the images do not fit together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.stack.up import Options
from tests.unit.attempt import Attempt
from tests.unit.fakes import Checkout, model


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    checkout.with_secrets()
    return Attempt(checkout)


def test_changed_requirements_stop_a_start_that_does_not_build(attempt: Attempt) -> None:
    runner = attempt.checkout.runner
    changed = model(attempt.checkout.root)
    changed["services"]["weppcloud"] = {
        "image": "wepppy-status:dev",
        "build": {"args": {"PYTHON_IMAGE": "python:3.13"}},
    }
    runner.on("config", "json", stdout=json.dumps(changed))
    facts = {"interpreter": "3.13", "tree": True, "requirements": "those of before", "names": []}
    runner.on("docker", "run", stdout=json.dumps(facts))
    attempt.options = Options(services=("status",))
    error = attempt.fails()
    assert error.exit_code == 3
    assert "requirements.txt changed after the image wepppy-status:dev was built" in error.what
    assert error.fix == "run `invoke compose-up --build`"
    attempt.options = Options(services=("status",), build=True)
    attempt.run()
    assert len(attempt.streamed("build")) == 1


def test_base_images_that_the_tree_cannot_be_built_upon_are_told_before_the_build(attempt: Attempt) -> None:
    """Where no registry answers, other images stand in for those that the tree was checked against."""
    runner = attempt.checkout.runner
    tree = attempt.checkout.root / "docker" / "sample"
    (tree / "services/status2/cmd/status2").mkdir(parents=True)
    (tree / "services/status2/cmd/status2/main.go").touch()
    (tree / "services/status2/go.mod").write_text("module m\n\ngo 1.26\n")

    def with_go(image: str) -> None:
        changed = model(attempt.checkout.root)
        changed["services"]["status"]["build"] = {
            "additional_contexts": {"source": str(tree)},
            "args": {"SERVICE": "status2", "GO_IMAGE": image},
        }
        runner.on("config", "json", stdout=json.dumps(changed))

    with_go("golang:1.27")
    attempt.options = Options(build=True)
    attempt.choose_images = lambda: with_go("wepp-base/go:1.24-trixie")
    error = attempt.fails()
    assert error.exit_code == 3
    assert "says go 1.26, the builder wepp-base/go:1.24-trixie is Go 1.24" in error.what
    assert attempt.streamed("build") == []
