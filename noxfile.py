"""The checks: `nox` runs those of `sessions` below, `nox -t quick` lint and tests; `nox --list` names all.

Everything runs inside the locked environment that scripts/setup made (.venv), so the tools' versions are
those of requirements.lock and nowhere else. What needs a container says so in its first line.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.02.09"
nox.options.default_venv_backend = "none"
nox.options.sessions = [
    "lint",
    "tests",
    "sample",
    "go",
    "backup",
    "smoke",
    "tree",
    "database",
    "worker_hosts",
]
nox.options.error_on_external_run = False

ROOT = Path(__file__).resolve().parent
if Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
    sys.exit(
        f"nox runs with the tools of {sys.prefix}, not with the locked ones of {ROOT / '.venv'}: "
        "a check might pass here and fail in CI\n  fix: scripts/setup nox, or .venv/bin/nox"
    )
DOCKER = ROOT / "docker"
COMPOSE_SETS = (
    ["docker-compose.dev.yml"],
    ["docker-compose.dev.yml", "docker-compose.external-postgres.yml", "docker-compose.external-redis.yml"],
    ["docker-compose.prod.yml", "docker-compose.backup-hook.yml"],
    ["docker-compose.prod.yml", "docker-compose.external-postgres.yml", "docker-compose.external-redis.yml"],
    ["docker-compose.prod.yml", "docker-compose.own-certificate.yml", "docker-compose.worker-hosts.yml"],
    ["docker-compose.worker.yml", "docker-compose.worker-wepppy.yml"],
    ["docker-compose.dev.yml", "docker-compose.wepppy.yml", "docker-compose.wepppy-dev.yml"],
    ["docker-compose.prod.yml", "docker-compose.wepppy.yml", "docker-compose.wepppy-prod.yml"],
    ["docker-compose.prod.yml", "docker-compose.wepppy.yml", "docker-compose.wepppy-prod.yml",
     "docker-compose.wepppy-image.yml", "docker-compose.wepppy-open-files.yml", "docker-compose.external-postgres.yml",
     "docker-compose.external-redis.yml", "docker-compose.docker-socket.yml"],
)  # fmt: skip
# Tests that are run beside the others of their folder, with a stack of their own: as many minutes of them.
BESIDE = {
    "tests/engine": ["faults", "redis_memory", "redis_repair"],
    "tests/database": ["external", "full_disks", "new_cluster", "sweep_of_kills"],
}
# What some of them require.
COMPOSE_SETTINGS = (
    "WEPPPY_SRC=/home/me/wepppy\nWEPPPY_IMAGE=wepppy:1\nWORKER_NOFILE=65536\nDOCKER_GID=999\n"
    "SITE_CERTIFICATES_DIR=/etc/site\nWORKER_ADDRESS=10.0.0.1\nWORKER_HOST=two\nWORKER_IMAGE=wepppy-python:prod\n"
    "GATEWAY_ADDRESS=10.0.0.1:7380\nWC1_DIR=/srv/wc1\nGEODATA_DIR=/srv/geodata\n"
)


@nox.session(tags=["quick"])
def lint(session: nox.Session) -> None:
    """Format, types, imports; Dockerfiles, Compose, manifests, shell, workflows; Caddyfile (in the proxy's image)."""
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")
    session.run("lint-imports", "--no-cache", "--no-logo")
    session.run("yamllint", "--strict", *_tracked("*.yml", "*.yaml"))
    session.run("hadolint", *_tracked("*Dockerfile"))
    shell = _tracked("*.sh", "scripts/setup", ".ci/run")
    session.run("shellcheck", *shell)
    session.run("shfmt", "-d", "-i", "2", "-ci", "-bn", *shell)
    _check_workflows(session)
    _check_compose(session)
    _check_manifests(session)
    _check_caddyfile(session)


@nox.session(tags=["quick"])
def tests(session: nox.Session) -> None:
    """Host code and the rendered model, without an engine."""
    session.run("pytest", "--numprocesses", "2", "tests/unit", "tests/model", *session.posargs)


@nox.session
def sample(session: nox.Session) -> None:
    """The sample's Python services, with a real Postgres, Redis and GDAL beside them in one container."""
    session.run("python", "-m", "tests.containers", "sample", *session.posargs)


@nox.session
def go(session: nox.Session) -> None:
    """The Go services: vet, the race detector, a real Redis beside them, a little fuzzing."""
    session.run("python", "-m", "tests.containers", "go", *session.posargs)


@nox.session
def backup(session: nox.Session) -> None:
    """The database program's modules, beside a real server in its own image."""
    session.run("python", "-m", "tests.containers", "backup", *session.posargs)


@nox.session
def smoke(session: nox.Session) -> None:
    """Every route of the proxy; a whole stack of its own, end to end, always torn down; `-- --attach` uses yours."""
    if not session.posargs:
        session.run("pytest", "tests/proxy", "--timeout", "600")
    _run_in_two(session, "tests/engine")


@nox.session
def tree(session: nox.Session) -> None:
    """Stacks of a real checkout's skeleton: an image of the kit's in dev, the tree's own in prod; `-- full`."""
    arguments = ["--full" if argument == "full" else argument for argument in session.posargs]
    session.run("pytest", "tests/tree", "--timeout", "1800", *arguments)


@nox.session
def database(session: nox.Session) -> None:
    """Backups, restores and passwords on a real stack: refusals, and a tenth of the sweeps of kills and damage."""
    _run_in_two(session, "tests/database", "tests/database/migrate")


@nox.session
def hosts(session: nox.Session) -> None:
    """Several hosts, each a container engine of its own in a privileged container: what is lost, cut off, moved."""
    session.run("pytest", "tests/hosts", "--timeout", "1800", "--durations", "20", *session.posargs)


@nox.session
def kubernetes(session: nox.Session) -> None:
    """A real API server takes every manifest; built by Go first, once: 12.5 minutes of processor time."""
    session.run("pytest", "tests/kubernetes", "--timeout", "5400", *session.posargs)


@nox.session
def worker_hosts(session: nox.Session) -> None:
    """Of hosts: a worker host joins, computes, is lost in the middle of runs; the stores' port is open to it alone."""
    session.run(
        "pytest", "tests/hosts", "-m", "core", "--timeout", "1800", "--durations", "20", *session.posargs
    )


@nox.session
def sweep(session: nox.Session) -> None:
    """The sweeps in full: kill -9 at more than 100 moments, 500 damaged dumps; about half an hour on two cores."""
    for chosen in (["-k", "sweep"], ["-m", "full"]):
        session.run(
            "pytest", "tests/database", *chosen, "--sweep=full", "--timeout", "7200", *session.posargs
        )


@nox.session
def bench(session: nox.Session) -> None:
    """Figures and their goals, never part of the tests: all, or `-- sample`, `-- sample/status`, ..."""
    session.run("python", "-m", "tests.bench", *session.posargs)


def _run_in_two(session: nox.Session, folder: str, *beside: str) -> None:
    """A folder's tests in two halves at a time, since stacks mostly wait; with arguments of the session, just those."""
    pytest = ["pytest", "--timeout", "1800", "--durations", "20"]
    if session.posargs:
        session.run(*pytest, folder, *session.posargs)
        return
    second = [*beside, *(f"{folder}/test_{name}.py" for name in BESIDE[folder])]
    with tempfile.TemporaryFile() as told:
        running = subprocess.Popen([*pytest, *second], cwd=ROOT, stdout=told, stderr=subprocess.STDOUT)
        try:
            session.run(*pytest, folder, *(f"--ignore={each}" for each in second))
        finally:
            failed = running.wait()
            sys.stdout.flush()
            told.seek(0)
            shutil.copyfileobj(told, sys.stdout.buffer)
    if failed:
        session.error(f"pytest of {', '.join(second)} ended with {failed}")


def _tracked(*patterns: str) -> list[str]:
    """Files of the repository (tracked, or new and not ignored) that match."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "--", *patterns],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [name for name in listing.stdout.splitlines() if (ROOT / name).exists()]


def _check_workflows(session: nox.Session) -> None:
    """The forge's workflow files: their schema, and what would let a stranger in or out. Asks no network."""
    workflows = _tracked(".github/workflows/*.yml")
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    session.run(
        "zizmor", "--offline", "--no-progress", "--persona=auditor", "--strict-collection", *workflows
    )


def _check_compose(session: nox.Session) -> None:
    """Each set of Compose files, rendered by Compose, against the Compose specification's schema."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / ".env"
        settings.write_text((ROOT / ".env.example").read_text() + COMPOSE_SETTINGS)
        for files in COMPOSE_SETS:
            rendered = Path(folder) / "model.json"
            arguments = [argument for name in files for argument in ("-f", str(DOCKER / name))]
            session.run(
                "docker", "compose", "--env-file", str(settings), *arguments, "--profile", "*",
                "config", "--format", "json", "--output", str(rendered), silent=True,
            )  # fmt: skip
            session.run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(rendered))


def _check_manifests(session: nox.Session) -> None:
    """What k8s-render writes, in every way, against the schema of Kubernetes' API."""
    with tempfile.TemporaryDirectory() as folder:
        session.run("python", "-m", "tests.kubernetes.manifests", folder)
        files = sorted(str(path) for path in Path(folder).iterdir())
        session.run("kubernetes-validate", "--strict", "--quiet", "-k", "1.37", *files)


def _check_caddyfile(session: nox.Session) -> None:
    """`caddy validate` and `caddy fmt` in the image that the stack's proxy is built from."""
    session.run("python", "-m", "tests.containers", "caddyfile")
