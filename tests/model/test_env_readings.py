"""What scripts/envfile.py says about two readings of `.env` is what Compose and python-dotenv really do."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from scripts.engine.compose import unescaped
from scripts.settings import env_editing, envfile

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
