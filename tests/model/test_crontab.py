"""The crontab of the README: each line does its work as cron runs it, from another folder and with few variables."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.model.conftest import ROOT

LINES = re.search(r"```text\nMAILTO=[^\n]*\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
assert LINES
# Five fields of time, then what the shell gets, unless a % ends that.
COMMANDS = [line.split(maxsplit=5)[5].partition("%")[0] for line in LINES[1].splitlines()]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """This checkout under another path."""
    folder = tmp_path / "checkout"
    (folder / ".venv").mkdir(parents=True)
    for name in ("tasks.py", "scripts"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv/bin").symlink_to(Path(sys.executable).parent)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_line_of_the_crontab_runs_its_task_and_mails_what_is_not_well(command: str, checkout: Path) -> None:
    assert "/path/to/the/checkout" in command
    done = subprocess.run(
        ["/bin/sh", "-c", command.replace("/path/to/the/checkout", str(checkout))],
        # As cron's, and no engine that could be asked or settings that could be read.
        env={"HOME": "/", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "operator",
             "DOCKER_HOST": "tcp://127.0.0.1:9", "WEPP_ENV_FILE": str(checkout / "absent.env")},
        cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    # The task's own words, in two lines: it was found, and it ran.
    assert re.search(r"^error: .*absent\.env.*\n  fix: ", done.stdout, re.MULTILINE), done.stdout
