"""The watcher that outlives a task: real processes, one of them killed; only `docker` is a stand-in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts import guard, journal
from tests.unit.fakes import Checkout, container, model

# Writes down its arguments and answers what the files beside it say.
DOCKER = """#!/bin/sh
echo "$*" >> "{folder}/calls"
case "$1" in
  ps) cat "{folder}/ids" ;;
  inspect) cat "{folder}/containers" ;;
  compose) cat "{folder}/model" ;;
esac
"""
# A task: enters the watch, says so, and does not end.
TASK = """
import sys, time
from pathlib import Path
from scripts import guard, journal
from scripts.compose import Compose
from scripts.runner import SystemRunner

root = Path(sys.argv[1])
compose = Compose(root, SystemRunner(root))
kept = (journal.Kept("id-status", "wepppy-status-1", "status"),)
journal.write(compose, journal.Entry("db-restore", 1, 0.0, kept, ()))
with guard.watching(compose):
    print("watched", flush=True)
    if sys.argv[2] == "wait":
        time.sleep(60)
    if sys.argv[2] == "done":
        journal.remove(compose)
"""


class Machine:
    """A checkout and a `docker` that knows of one stopped container."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = Checkout(folder)
        self.made.with_env()
        stopped = container("status", status="exited", health="")
        (folder / "ids").write_text(f"{stopped['Id']}\n")
        (folder / "containers").write_text(json.dumps([stopped]))
        (folder / "model").write_text(json.dumps(model(folder)))
        program = folder / "bin" / "docker"
        program.parent.mkdir()
        program.write_text(DOCKER.format(folder=folder))
        program.chmod(0o755)
        self.environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("COMPOSE_", "WEPP_", "DOCKER_"))
        }
        self.environment["PATH"] = f"{program.parent}:{os.environ['PATH']}"

    def task(self, what: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", TASK, str(self.folder), what],
            cwd=Path(__file__).resolve().parents[2],
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def finished(self) -> bool:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if not journal.path_of(self.made.compose()).exists():
                return True
            time.sleep(0.02)
        return False


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("whom", ["task", "task and its terminal"])
def test_when_a_task_is_killed_the_watcher_starts_what_it_had_stopped(machine: Machine, whom: str) -> None:
    task = machine.task("wait")
    assert task.stdout
    assert task.stdout.readline() == "watched\n"
    if whom == "task":
        os.kill(task.pid, signal.SIGKILL)
    else:
        os.killpg(task.pid, signal.SIGHUP)
        os.killpg(task.pid, signal.SIGKILL)
    task.wait()
    assert machine.finished()
    assert "start wepppy-status-1" in machine.calls()
    assert "all that ran before runs again" in log_of(machine)


def test_a_watcher_that_is_told_that_all_is_done_does_nothing(machine: Machine) -> None:
    task = machine.task("done")
    assert task.wait(30) == 0
    assert machine.calls() == []
    assert log_of(machine) == ""


def test_a_task_that_ends_with_something_under_way_is_finished_too(machine: Machine) -> None:
    assert machine.task("leave").wait(30) == 0
    assert machine.finished()
    assert "start wepppy-status-1" in machine.calls()


def test_a_watcher_whose_task_died_before_it_said_anything_does_nothing(machine: Machine) -> None:
    watcher = subprocess.run(
        [sys.executable, "-m", "scripts.guard"],
        cwd=Path(guard.__file__).parents[1],
        env=machine.environment,
        input='{"root": "/half/a/pl',
        capture_output=True,
        text=True,
        check=False,
    )
    assert (watcher.returncode, watcher.stdout, watcher.stderr) == (0, "", "")


def test_the_watchers_log_is_private(machine: Machine) -> None:
    machine.task("done").wait(30)
    path = machine.made.compose().data_dir / guard.LOG
    assert path.stat().st_mode & 0o777 == 0o600


def log_of(machine: Machine) -> str:
    path = machine.made.compose().data_dir / guard.LOG
    deadline = time.monotonic() + 5
    # The last line follows the end of the journal.
    while "runs again" not in path.read_text() and time.monotonic() < deadline and machine.calls():
        time.sleep(0.02)
    return path.read_text()
