"""`invoke seed` on a real stack: filled, found filled, emptied again, and never without the project's name."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.engine.stack import Stack


@pytest.fixture(autouse=True)
def _own_stack(attached: bool) -> None:
    if attached:
        pytest.skip("somebody's own stack is not filled")


def seed(stack: Stack, *options: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(stack.invoke("seed", "--json", *options).stdout)
    assert answer["ok"]
    return answer


def seeded_runs(stack: Stack) -> list[str]:
    runs = stack.get("/weppcloud/api/runs?limit=1000").content["runs"]
    return [run["runid"] for run in runs if run["runid"].startswith("seed-")]


def wait_for_the_worker(stack: Stack) -> None:
    """The first two runs are computed; a reset refuses meanwhile."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        runs = stack.get("/weppcloud/api/runs?limit=1000").content["runs"]
        states = [run["job"]["status"] for run in runs if run["job"] and run["runid"].startswith("seed-")]
        if states == ["finished", "finished"]:
            return
        time.sleep(0.5)
    raise AssertionError(f"the worker did not finish the seeded runs: {states}")


def test_a_stack_is_filled_found_filled_and_emptied(stack: Stack) -> None:
    made = seed(stack, "--scale", "20")
    assert (made["site"]["runs"], made["site"]["started"], made["geodata"]["made"]) == (20, 2, 0)
    listed = seeded_runs(stack)
    assert 10 < len(listed) <= 20  # private ones are not shown to a visitor
    again = seed(stack, "--scale", "20")
    assert {
        key: again["site"][key] for key in ("runs", "accounts", "checklists", "folders", "started")
    } == dict.fromkeys(("runs", "accounts", "checklists", "folders", "started"), 0)
    wait_for_the_worker(stack)
    refused = stack.invoke("seed", "--reset", check=False)
    assert refused.returncode == 4
    assert f"--yes={stack.name}" in refused.stderr
    assert seeded_runs(stack) == listed
    removed = seed(stack, "--reset", f"--yes={stack.name}", "--scale", "0")
    assert removed["site"]["removed"]["runs"] == 20
    assert seeded_runs(stack) == []
    folders = stack.compose("exec", "-T", "rq-worker", "find", "/wc1/runs/se", "-mindepth", "1").stdout
    assert folders == ""


def test_another_landscape_is_not_put_in_place_without_a_reset(stack: Stack) -> None:
    refused = stack.invoke("seed", "--seed", "7", "--json", check=False)
    assert refused.returncode == 4
    assert "nothing was changed" in json.loads(refused.stdout)["error"]["what"]
