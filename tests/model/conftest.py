"""The rendered Compose model, as every promise about the topology is tested on it; needs no engine."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

ROOT = Path(__file__).resolve().parents[2]
Model = dict[str, Any]


def render(files: list[str], env_file: Path, *, profiles: str = "*", **variables: str) -> Model:
    """The model of `files` (names inside docker/, or whole paths) with all profiles, as Compose itself renders it."""
    command = ["docker", "compose", "--env-file", str(env_file)]
    for name in files:
        command += ["-f", str(ROOT / "docker" / name)]
    command += ["--profile", profiles, "config", "--format", "json"]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **variables}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    model: Model = json.loads(done.stdout)
    return model


@pytest.fixture(scope="session")
def env_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `.env` like the one that env-init writes."""
    values = dotenv_values(ROOT / ".env.example", interpolate=False)
    path = tmp_path_factory.mktemp("model") / ".env"
    filled = {"UID": "1000", "GID": "1000"}
    path.write_text("".join(f"{key}={value or filled.get(key, '')}\n" for key, value in values.items()))
    return path


@pytest.fixture(scope="session")
def model(env_file: Path) -> Model:
    """The development stack with every profile on."""
    return render(["docker-compose.dev.yml"], env_file)


@pytest.fixture(scope="session")
def render_with(env_file: Path) -> Callable[..., Model]:
    """Renders other sets of files or variables with the same `.env`."""

    def with_variables(files: list[str] | None = None, **variables: str) -> Model:
        return render(files or ["docker-compose.dev.yml"], env_file, **variables)

    return with_variables
