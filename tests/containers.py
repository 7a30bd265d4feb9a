"""Containers that checks run in: the sample's Python and Go tests, the backup program's, and the proxy's own linter.

    python -m tests.containers sample|go|backup|caddyfile [arguments for the test runner]

`tests.bench` uses them too. They start from the images that the stack itself is built from, under a project name
of their own, so a machine that can run the stack can run the checks and nothing is installed on it for them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.base.console import Console
from scripts.engine.compose import Compose
from scripts.engine.runner import Runner
from scripts.prepare import images
from scripts.settings import env_editing, envfile

ROOT = Path(__file__).resolve().parents[1]
# Two at a time, each file as a whole: servers belong to a file's or a worker's fixtures.
PARALLEL = ["--numprocesses", "2", "--dist", "loadfile"]
PROJECT = "wepp-checks"
SETTINGS = ROOT / ".docker-data" / "checks" / ".env"


def run(command: Sequence[str], **variables: str) -> None:
    """Run a command in the repository's root; ends the program with its exit code when it fails."""
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def base_images() -> dict[str, str]:
    """The base image of each `*_IMAGE` variable, found or built; the checks' own `.env` remembers them."""
    SETTINGS.parent.mkdir(parents=True, exist_ok=True)
    run(["invoke", "env-init"], COMPOSE_PROJECT_NAME=PROJECT, WEPP_ENV_FILE=str(SETTINGS))
    compose = Compose(
        ROOT,
        Runner(ROOT),
        environment={**os.environ, "COMPOSE_PROJECT_NAME": PROJECT, "WEPP_ENV_FILE": str(SETTINGS)},
    )
    images.ensure(compose, Console())
    compose.forget()
    return images.chosen_images(compose.model)


def stand_in(name: str, settings: Path = SETTINGS, **changes: str) -> str:
    """A base image made from packages whether or not there is a registry; returns its name.

    settings: the `.env` that remembers it. changes: what is set there first.
    """
    settings.parent.mkdir(parents=True, exist_ok=True)
    variables = {"COMPOSE_PROJECT_NAME": PROJECT, "WEPP_ENV_FILE": str(settings)}
    run(["invoke", "env-init"], **variables)
    env_editing.set_keys(settings, changes)
    run(["invoke", "images-base", "--names", name], **variables)
    return envfile.read(settings).get(f"{name.upper()}_IMAGE")


def bookworm_image() -> str:
    """The one of Debian 12, whose own PostgreSQL is 15."""
    settings = SETTINGS.with_name("bookworm.env")
    return stand_in("python", settings, PYTHON_VERSION_WITHOUT_REGISTRY="3.11")


def build_environment() -> str:
    """The caller's package mirrors for builds, as the checks' own `.env` names them, or an empty file."""
    return envfile.read(SETTINGS).get("BUILD_ENVIRONMENT_FILE") or os.devnull


def ca_bundle() -> str:
    """The caller's CA bundle for builds, or an empty file."""
    return os.environ.get("SSL_CERT_FILE") or "/dev/null"


def in_image(image: str) -> list[str]:
    """The command up to its arguments: this repository, read-only, in an image, without a network."""
    return [
        "docker", "run", "--rm", "--init", "--network", "none", "--shm-size", "256m",
        "--env", "HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis",
        "--env", "PYTHONPATH=/repository/docker/sample",
        "--volume", f"{ROOT}:/repository:ro", "--workdir", "/repository", image,
    ]  # fmt: skip


def sample_image() -> str:
    """The stack's Python image with Postgres, Redis and GDAL's command line added."""
    run(
        ["invoke", "compose-build", "--services", "weppcloud"],
        COMPOSE_PROJECT_NAME=PROJECT,
        WEPP_ENV_FILE=str(SETTINGS),
    )
    image = f"{PROJECT}-sample-tests:dev"
    run(
        ["docker", "build", "--quiet", "--tag", image, "--secret", f"id=ca_bundle,src={ca_bundle()}",
         "--build-arg", f"PYTHON_IMAGE={PROJECT}-python:dev", str(ROOT / "tests" / "sample")],
    )  # fmt: skip
    return image


def sample(arguments: Sequence[str]) -> None:
    """The sample's Python tests."""
    base_images()
    pytest = ["python", "-m", "pytest", "-p", "no:cacheprovider", "--timeout", "600", *PARALLEL]
    run([*in_image(sample_image()), *pytest, *(arguments or ["tests/sample"])])


def go_image(
    chosen: dict[str, str],
    service: str,
    target: str,
    *arguments: str,
    source: Path = ROOT / "docker" / "sample",
) -> str:
    """One stage of a tree's Go service: `test` runs its tests, `builder` holds it in /image."""
    image = f"{PROJECT}-{source.name}-{service}-{target}:dev"
    run(
        ["docker", "build", "--target", target, "--tag", image,
         "--build-context", f"source={source}",
         "--build-context", f"mirrors={ROOT / 'docker' / 'mirrors'}",
         "--build-context", f"probe={ROOT / 'docker' / 'probe'}",
         "--build-arg", f"GO_IMAGE={chosen['GO_IMAGE']}", "--build-arg", f"SERVICE={service}",
         "--secret", f"id=ca_bundle,src={ca_bundle()}", *arguments, str(ROOT / "docker" / "go")],
    )  # fmt: skip
    return image


def chromium_image() -> str:
    """The image with a headless Chromium for the browser tests, built if it is not there; returns its name."""
    image = f"{PROJECT}-chromium:dev"
    base = f"PYTHON_IMAGE={base_images()['PYTHON_IMAGE']}"
    folder = ROOT / "tests" / "engine" / "chromium"
    run(["docker", "build", "--quiet", "--tag", image, "--build-arg", base, str(folder)])
    return image


def go(arguments: Sequence[str]) -> None:
    """The tests of both trees' Go services: vet, the race detector, a real Redis, a few seconds of fuzzing."""
    chosen = base_images()
    for service in ("status2", "preflight2"):
        for source in (ROOT / "docker" / "sample", ROOT / "tests" / "tree" / "skeleton"):
            go_image(chosen, service, "test", "--progress", "plain", *arguments, source=source)


def bench_image() -> str:
    """What the sample's benchmarks run in."""
    chosen = base_images()
    image = f"{PROJECT}-bench:dev"
    run(
        ["docker", "build", "--quiet", "--tag", image,
         "--build-arg", f"TESTS_IMAGE={sample_image()}",
         "--build-arg", f"STATUS_IMAGE={go_image(chosen, 'status2', 'builder', '--quiet')}",
         "--build-arg", f"PREFLIGHT_IMAGE={go_image(chosen, 'preflight2', 'builder', '--quiet')}",
         "--build-arg", f"GO_IMAGE={chosen['GO_IMAGE']}", "--secret", f"id=ca_bundle,src={ca_bundle()}",
         "--build-context", f"mirrors={ROOT / 'docker' / 'mirrors'}",
         str(ROOT / "tests" / "bench")],
    )  # fmt: skip
    return image


def backup(arguments: Sequence[str]) -> None:
    """The database program's tests, in its image and beside the server's programs."""
    image = f"{PROJECT}-backup-test:dev"
    run(
        ["docker", "build", "--quiet", "--target", "test", "--tag", image,
         "--build-context", f"mirrors={ROOT / 'docker' / 'mirrors'}",
         "--build-arg", f"POSTGRES_IMAGE={base_images()['POSTGRES_IMAGE']}",
         "--secret", f"id=ca_bundle,src={ca_bundle()}", str(ROOT / "docker" / "backup")],
    )  # fmt: skip
    variables = ["--env", "PYTHONDONTWRITEBYTECODE=1", "--env", "PYTHONPATH=/repository/docker/backup"]
    pytest = ["/opt/pip/bin/python", "-m", "pytest", "-p", "no:cacheprovider", "--timeout", "600", *PARALLEL]
    command = in_image(image)
    run([*command[:-1], *variables, command[-1], *pytest, *(arguments or ["tests/backup"])])


def proxy_image(chosen: dict[str, str]) -> str:
    """The stack's proxy."""
    image = f"{PROJECT}-caddy:dev"
    run(
        ["docker", "build", "--quiet", "--tag", image, "--build-context", f"probe={ROOT / 'docker' / 'probe'}",
         "--build-arg", f"CADDY_IMAGE={chosen['CADDY_IMAGE']}", "--build-arg", f"GO_IMAGE={chosen['GO_IMAGE']}",
         str(ROOT / "docker" / "caddy")],
    )  # fmt: skip
    return image


def git_image(chosen: dict[str, str]) -> str:
    """git-http-backend as in the stack, but upon Python alone: none of the application's packages."""
    image = f"{PROJECT}-fcgiwrap:dev"
    run(
        ["docker", "build", "--quiet", "--tag", image,
         "--build-arg", f"APPLICATION_IMAGE={chosen['PYTHON_IMAGE']}", str(ROOT / "docker" / "fcgiwrap")],
    )  # fmt: skip
    return image


def caddyfile(arguments: Sequence[str]) -> None:
    """`caddy validate` for development and production in the proxy's image, and `caddy fmt` of the files."""
    image = proxy_image(base_images())
    base = ["docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/data:mode=1777",
            "--tmpfs", "/config:mode=1777", "--env", "XDG_DATA_HOME=/data"]  # fmt: skip
    public = ["--env", "SITE_ADDRESS=localhost", "--env", "SITE_TLS=internal",
              "--env", "AUTO_HTTPS=disable_redirects"]  # fmt: skip
    for name, more in (("Caddyfile", []), ("public.caddy", public)):
        run(
            [*base, *more, image, "caddy", "validate", "--config", f"/etc/caddy/{name}", "--adapter", "caddyfile",
             *arguments],
        )  # fmt: skip
        mount = f"{ROOT / 'docker' / 'caddy' / name}:/{name}:ro"
        run([*base, "--volume", mount, "--user", "root", image, "caddy", "fmt", "--diff", f"/{name}"])


if __name__ == "__main__":
    {"sample": sample, "go": go, "backup": backup, "caddyfile": caddyfile}[sys.argv[1]](sys.argv[2:])
