"""`invoke seed` on a real stack: filled, found filled, emptied again, and never without the project's name."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import Any

import pytest

from tests.engine.flights import redis, until
from tests.engine.stack import ROOT, Stack


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


def interrupted_seed(stack: Stack, number: signal.Signals, once: str, *options: str) -> str:
    """Start a large `invoke seed`, send it the signal at the first line that holds `once`; return what it said."""
    with subprocess.Popen(
        ["invoke", "seed", *options], cwd=ROOT, env=stack.task_environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=0,
    ) as task:  # fmt: skip
        assert task.stderr
        said = []
        for line in task.stderr:
            said.append(line)
            if once in line:
                os.kill(task.pid, number)
                break
        said.append(task.stderr.read())
        task.wait(60)
    return "".join(said)


def programs(stack: Stack) -> str:
    """The processes of `flask seed` in the web container."""
    listed = stack.compose("top", "weppcloud").stdout.splitlines()
    return "\n".join(line for line in listed if "flask seed" in line and "attended" not in line)


def rows(stack: Stack) -> int:
    """How many seeded runs the database holds."""
    sql = "SELECT count(*) FROM run WHERE runid LIKE 'seed-%'"
    command = ["exec", "-T", "postgres", "psql", "-U", "wepppy", "-d", "wepppy", "-Atc", sql]
    return int(stack.compose(*command).stdout)


def folders(stack: Stack) -> int:
    """How many seeded runs have a folder: they go last, and bit by bit."""
    return int(stack.compose("exec", "-T", "rq-worker", "sh", "-c", "ls /wc1/runs/se | wc -l").stdout)


def wait_for_the_end(stack: Stack) -> None:
    deadline = time.monotonic() + 60
    while programs(stack):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_an_interrupted_seed_ends_in_the_container_too_and_the_next_one_makes_the_rest(stack: Stack) -> None:
    said = interrupted_seed(stack, signal.SIGINT, " of 10000", "--scale", "10000")
    assert "what it made or removed until then stays so" in said
    assert "no data was touched" not in said
    assert programs(stack) == ""
    assert rows(stack) < 10000
    seed(stack, "--scale", "3000")
    assert rows(stack) >= 3000
    jobs = (("llen", "rq:queue:default"), ("zcard", "rq:wip:default"))
    until(lambda: all(redis(stack, *each) == "0" for each in jobs), "the end of jobs, which refuse a reset")
    # Killed, it cannot wait for its program, which ends all the same.
    said = interrupted_seed(stack, signal.SIGKILL, "runs removed", "--reset", f"--yes={stack.name}")
    assert " of 3000 runs removed" in said
    wait_for_the_end(stack)
    assert folders(stack) > 0
    seed(stack, "--reset", f"--yes={stack.name}", "--scale", "0")
    assert (rows(stack), folders(stack)) == (0, 0)


def test_another_landscape_is_not_put_in_place_without_a_reset(stack: Stack) -> None:
    refused = stack.invoke("seed", "--seed", "7", "--json", check=False)
    assert refused.returncode == 4
    assert "nothing was changed" in json.loads(refused.stdout)["error"]["what"]
