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

from scripts import images
from scripts.compose import Compose
from scripts.console import Console
from scripts.runner import SystemRunner

ROOT = Path(__file__).resolve().parents[1]
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
        SystemRunner(ROOT),
        environment={**os.environ, "COMPOSE_PROJECT_NAME": PROJECT, "WEPP_ENV_FILE": str(SETTINGS)},
    )
    images.ensure(compose, Console())
    compose.forget()
    return images.chosen_images(compose.model)


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
    pytest = ["python", "-m", "pytest", "-p", "no:cacheprovider", "--timeout", "600"]
    run([*in_image(sample_image()), *pytest, *(arguments or ["tests/sample"])])


def go_image(chosen: dict[str, str], service: str, target: str, *arguments: str) -> str:
    """One stage of a Go service's image: `test` runs its tests, `load` holds it and what puts it under load."""
    image = f"{PROJECT}-{service}-{target}:dev"
    run(
        ["docker", "build", "--target", target, "--tag", image,
         "--build-context", f"source={ROOT / 'docker' / 'sample'}",
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
    """The Go services' tests: vet, the race detector, a real Redis, a few seconds of fuzzing."""
    chosen = base_images()
    for service in ("status2", "preflight2"):
        go_image(chosen, service, "test", "--progress", "plain", *arguments)


def bench_image() -> str:
    """What the sample's benchmarks run in."""
    chosen = base_images()
    image = f"{PROJECT}-bench:dev"
    run(
        ["docker", "build", "--quiet", "--tag", image,
         "--build-arg", f"TESTS_IMAGE={sample_image()}",
         "--build-arg", f"STATUS_IMAGE={go_image(chosen, 'status2', 'load', '--quiet')}",
         "--build-arg", f"PREFLIGHT_IMAGE={go_image(chosen, 'preflight2', 'load', '--quiet')}",
         str(ROOT / "tests" / "bench")],
    )  # fmt: skip
    return image


def backup(arguments: Sequence[str]) -> None:
    """The tests of the backup sidecar's program (with the race detector), beside the real server's programs."""
    chosen = base_images()
    run(
        ["docker", "build", "--target", "test", "--progress", "plain", "--tag", f"{PROJECT}-backup-test:dev",
         "--build-context", f"mirrors={ROOT / 'docker' / 'mirrors'}",
         "--build-arg", f"GO_IMAGE={chosen['GO_IMAGE']}", "--build-arg", f"POSTGRES_IMAGE={chosen['POSTGRES_IMAGE']}",
         "--secret", f"id=ca_bundle,src={ca_bundle()}", *arguments, str(ROOT / "docker" / "backup")],
    )  # fmt: skip


def caddyfile(arguments: Sequence[str]) -> None:
    """`caddy validate` for development and production, and `caddy fmt`, in the image that the proxy is built from."""
    image = base_images()["CADDY_IMAGE"]
    folder = ROOT / "docker" / "caddy"
    base = ["docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/data",
            "--env", "XDG_DATA_HOME=/data", "--volume", f"{folder / 'Caddyfile'}:/caddy/Caddyfile:ro"]  # fmt: skip
    public = ["--volume", f"{folder / 'public.caddy'}:/caddy/sites/public.caddy:ro", "--env", "SITE_ADDRESS=localhost",
              "--env", "SITE_TLS=internal", "--env", "AUTO_HTTPS=ignore_loaded_certs"]  # fmt: skip
    for more in ([], public):
        run(
            [*base, *more, image, "caddy", "validate", "--config", "/caddy/Caddyfile", "--adapter", "caddyfile",
             *arguments],
        )  # fmt: skip
    for name in ("Caddyfile", "sites/public.caddy"):
        file = folder / Path(name).name
        # Caddy 2.6 ends with 0 whether or not the file is formatted, so its answer is compared here.
        formatted = subprocess.run(
            [*base, *public, image, "caddy", "fmt", f"/caddy/{name}"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        if formatted.stdout != file.read_text():
            sys.exit(f"{file} is not formatted; `caddy fmt` would write:\n{formatted.stdout}")


if __name__ == "__main__":
    {"sample": sample, "go": go, "backup": backup, "caddyfile": caddyfile}[sys.argv[1]](sys.argv[2:])
