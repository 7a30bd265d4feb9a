"""gunicorn's hooks in development: a worker that read a file before it was saved again is ended."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tests.unit.stack_script import load


@pytest.fixture
def hooks() -> ModuleType:
    return load("gunicorn-reload")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a module that the worker has imported."""
    loaded = ModuleType("loaded")
    path = tmp_path / "loaded.py"
    path.touch()
    os.utime(path, (1, 1))
    loaded.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "loaded", loaded)
    return path


@pytest.mark.parametrize(
    ("saved", "changed"),
    [(-10.0, False), (0.0, True), (3600.0, False)],
    ids=["before", "since", "clock-ahead"],
)
def test_a_file_that_was_saved_since_the_worker_began_to_read_is_a_changed_one(
    hooks: ModuleType, file: Path, saved: float, changed: bool
) -> None:
    hooks.post_fork(None, None)
    moment = time.time() + saved
    os.utime(file, (moment, moment))
    assert hooks.changed_file() == (str(file) if changed else "")


def test_a_worker_ends_whenever_one_of_its_files_is_saved(hooks: ModuleType, file: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            hooks.post_fork(None, None)
            hooks.post_worker_init(SimpleNamespace(pid=process.pid, log=logging.getLogger("worker")))
            assert process.poll() is None
            now = time.time()  # the kernel's own time may be some milliseconds older
            os.utime(file, (now, now))
            assert process.wait(timeout=30) == -signal.SIGTERM
        finally:
            process.kill()
