"""`.env`: its two readings differ where we say so, and the example knows every setting of the Compose files."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from scripts.engine.compose import unescaped
from scripts.settings import env_editing, envfile
from tests.model.conftest import ROOT

SAME = {
    "PLAIN": "PLAIN=abc-DEF_1.2/3:4@5+6=7",
    "HASH": "HASH=a#b",
    "COMMENT": "COMMENT=value # costs $5",
    "EXPORTED": "export EXPORTED=1",
    "SINGLE": "SINGLE='pa$word$$x#y z'",
    "DOUBLE": 'DOUBLE="two words # and all"',
    "EMPTY": "EMPTY=",
}
DIFFERENT = {
    "DOLLAR": "DOLLAR=pa$word",
    "TWICE": "TWICE=a$$b",
    "QUOTED": 'QUOTED="pa$word"',
    "ESCAPE": "ESCAPE='a\\\\b'",
}
# What the tasks give to Compose, and what production.env says.
OURS = {"DOCKER_DATA_DIR", "PYTHON_STAGE", "SECRETS_DIR", "STACK_ENV_FILE", "STACK_TAG_DEFAULT"}
# Of each service, as a comment of the example says.
LIMIT = re.compile(r".+_(MEMORY|PIDS|SHM)")


def as_compose_reads(assignment: str, key: str, folder: Path) -> str:
    """The value that a container would get."""
    (folder / ".env").write_text(assignment + "\n")
    (folder / "compose.yml").write_text(
        f"services:\n  one:\n    image: scratch\n    environment:\n      KEY: ${{{key}}}\n"
    )
    command = ["docker", "compose", "--env-file", ".env", "-f", "compose.yml", "config", "--format", "json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    value = unescaped(json.loads(done.stdout))["services"]["one"]["environment"]["KEY"]
    assert isinstance(value, str)
    return value


@pytest.mark.parametrize("key", SAME)
def test_values_that_are_not_reported_are_read_the_same(key: str, tmp_path: Path) -> None:
    assert envfile.different_readings(SAME[key]) == ""
    ours = envfile.parse(SAME[key] + "\n", tmp_path / ".env").values[key]
    assert as_compose_reads(SAME[key], key, tmp_path) == ours


@pytest.mark.parametrize("key", DIFFERENT)
def test_values_that_are_reported_are_read_differently(key: str, tmp_path: Path) -> None:
    assert envfile.different_readings(DIFFERENT[key])
    ours = envfile.parse(DIFFERENT[key] + "\n", tmp_path / ".env").values[key]
    assert as_compose_reads(DIFFERENT[key], key, tmp_path) != ours


@pytest.mark.parametrize(
    "value", ["pa$word", "two words", "a#b", "50%", "x;y|z&", "`id`", "*", "~", "ä€", ' " ']
)
def test_values_that_we_write_reach_a_container_unchanged(value: str, tmp_path: Path) -> None:
    assert as_compose_reads(env_editing.formatted("KEY", value), "KEY", tmp_path) == value


def test_the_example_has_every_setting_of_the_compose_files_and_no_other_default() -> None:
    example = (ROOT / ".env.example").read_text()
    values = dict(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)=(.*)$", example, re.MULTILINE))
    compose = "".join(path.read_text() for path in (ROOT / "docker").glob("docker-compose*.yml"))
    read = set(re.findall(r"\$\{([A-Z][A-Z0-9_]*):?-", compose)) - OURS
    assert {key for key in read - values.keys() if not LIMIT.fullmatch(key)} == set()
    for key in read & {key for key, value in values.items() if value}:
        assert re.search(rf"\$\{{{key}:?-{re.escape(values[key])}\}}", compose), key
