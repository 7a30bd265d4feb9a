"""The checks: `nox` runs lint, tests, smoke and database; `nox --list` names them all.

Everything runs inside the locked environment that scripts/setup made (.venv), so the tools' versions are
those of requirements.lock and nowhere else. What needs a container says so in its first line.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.02.09"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "tests", "smoke", "database"]
nox.options.error_on_external_run = False

ROOT = Path(__file__).resolve().parent
DOCKER = ROOT / "docker"
COMPOSE_SETS = (
    ["docker-compose.dev.yml"],
    ["docker-compose.dev.yml", "docker-compose.fast-start.yml"],
    ["docker-compose.dev.yml", "docker-compose.external-postgres.yml", "docker-compose.external-redis.yml"],
    ["docker-compose.prod.yml", "docker-compose.fast-start.yml", "docker-compose.backup-hook.yml"],
    ["docker-compose.prod.yml", "docker-compose.external-postgres.yml", "docker-compose.external-redis.yml"],
)


@nox.session(tags=["quick"])
def lint(session: nox.Session) -> None:
    """Format, lint and types; Dockerfiles, Compose, shell; the Caddyfile (in the proxy's image)."""
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")
    session.run("yamllint", "--strict", *_tracked("*.yml", "*.yaml"))
    session.run("hadolint", *_tracked("*Dockerfile"))
    shell = _tracked("*.sh", "scripts/setup", ".ci/run")
    session.run("shellcheck", *shell)
    session.run("shfmt", "-d", "-i", "2", "-ci", "-bn", *shell)
    _check_compose(session)
    _check_caddyfile(session)


@nox.session(tags=["quick"])
def tests(session: nox.Session) -> None:
    """Host code and the rendered model without an engine; then the sample tree (in its own container)."""
    session.run("pytest", "tests/unit", "tests/model", *session.posargs)
    if not session.posargs:
        session.notify("sample")
        session.notify("go")


@nox.session
def sample(session: nox.Session) -> None:
    """The sample's Python services, with a real Postgres, Redis and GDAL beside them in one container."""
    session.run("python", "-m", "tests.containers", "sample", *session.posargs)


@nox.session
def go(session: nox.Session) -> None:
    """The Go programs: vet, the race detector, a real Redis and Postgres beside them, a little fuzzing."""
    session.run("python", "-m", "tests.containers", "go", *session.posargs)
    session.run("python", "-m", "tests.containers", "backup", *session.posargs)


@nox.session
def smoke(session: nox.Session) -> None:
    """A whole stack of its own on a real engine, end to end, always torn down; `-- --attach` uses yours."""
    session.run("pytest", "tests/engine", "--timeout", "1800", *session.posargs)


@nox.session
def database(session: nox.Session) -> None:
    """Backups, restores and passwords on a real stack: refusals, and a tenth of the sweeps of deaths and damage."""
    session.run("pytest", "tests/database", "--timeout", "1800", *session.posargs)


@nox.session
def sweep(session: nox.Session) -> None:
    """The sweeps in full: kill -9 at more than 100 moments, 500 damaged dumps; about half an hour on two cores."""
    session.run(
        "pytest", "tests/database", "-k", "sweep", "--sweep=full", "--timeout", "7200", *session.posargs
    )


@nox.session
def bench(session: nox.Session) -> None:
    """Figures and their goals, never part of the tests: all, or `-- sample`, `-- sample/status`, ..."""
    session.run("python", "-m", "tests.bench", *session.posargs)


def _tracked(*patterns: str) -> list[str]:
    """Files of the repository (tracked, or new and not ignored) that match."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "--", *patterns],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [name for name in listing.stdout.splitlines() if (ROOT / name).exists()]


def _check_compose(session: nox.Session) -> None:
    """Each set of Compose files, rendered by Compose, against the Compose specification's schema."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / ".env"
        settings.write_text((ROOT / ".env.example").read_text())
        for files in COMPOSE_SETS:
            rendered = Path(folder) / "model.json"
            arguments = [argument for name in files for argument in ("-f", str(DOCKER / name))]
            session.run(
                "docker", "compose", "--env-file", str(settings), *arguments, "--profile", "*",
                "config", "--format", "json", "--output", str(rendered), silent=True,
            )  # fmt: skip
            session.run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(rendered))


def _check_caddyfile(session: nox.Session) -> None:
    """`caddy validate` and `caddy fmt` in the image that the stack's proxy is built from."""
    session.run("python", "-m", "tests.containers", "caddyfile")
