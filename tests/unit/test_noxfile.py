"""Which checks run when, and with which interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def nox(*arguments: str, interpreter: str = sys.executable) -> subprocess.CompletedProcess[str]:
    """Run nox as another interpreter does that finds the same packages."""
    packages = {"PYTHONPATH": sysconfig.get_path("purelib")}
    command = [interpreter, "-m", "nox", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **packages}, capture_output=True, text=True, check=False
    )


def test_the_quick_checks_are_those_without_a_stack() -> None:
    listed = nox("--list", "-t", "quick")
    chosen = [line.split()[1] for line in listed.stdout.splitlines() if line.startswith("* ")]
    assert chosen == ["lint", "tests"]


def test_everything_but_hosts_kubernetes_sweeps_and_figures_runs_without_arguments() -> None:
    lines = nox("--list").stdout.splitlines()
    left_out = [line.split()[1] for line in lines if line.startswith("- ")]
    assert left_out == ["hosts", "kubernetes", "sweep", "bench"]


def test_another_interpreter_is_refused_before_any_check() -> None:
    refused = nox("-s", "lint", interpreter=str(Path(sys.base_prefix) / "bin" / "python3"))
    assert refused.returncode != 0
    assert "locked ones" in refused.stderr
    assert "scripts/setup nox" in refused.stderr
    assert "ruff" not in refused.stdout + refused.stderr
