"""Check the container engine and what it already holds for this project."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.engine.catalogue import base_images
from scripts.engine.docker import ANSWER_SECONDS, version_of
from scripts.prepare.finding import Check, Finding, Level, Target

ENGINE = "engine"
# Debian's 2.26.1; others take the files since 2.29, and the model's rendering tells of those between.
MINIMUM_COMPOSE = (2, 26)


def check_engine(target: Target) -> Iterator[Finding]:
    """The engine answers."""
    info = target.compose.engine.info()
    yield Finding(ENGINE, f"engine {info['ServerVersion']}, {info.get('NCPU', '?')} cores", level=Level.OK)


def check_compose(target: Target) -> Iterator[Finding]:
    """Compose v2 is there and new enough."""
    result = target.compose.runner.capture(
        ["docker", "compose", "version", "--short"], timeout=ANSWER_SECONDS
    )
    needed = ".".join(map(str, MINIMUM_COMPOSE))
    if not result.ok:
        yield Finding("compose", "Docker Compose v2 is missing", "scripts/setup installs it")
    elif version_of(result.stdout) < MINIMUM_COMPOSE:
        yield Finding(
            "compose",
            f"Docker Compose {result.stdout.strip()} is older than {needed}",
            "scripts/setup installs a newer one",
        )
    else:
        yield Finding("compose", f"Compose {result.stdout.strip()}", level=Level.OK)


def check_buildx(target: Target) -> Iterator[Finding]:
    """buildx is there: builds need cache mounts and secrets."""
    result = target.compose.runner.capture(["docker", "buildx", "version"], timeout=ANSWER_SECONDS)
    if result.ok:
        version = result.stdout.split()
        yield Finding("buildx", f"buildx {version[1] if len(version) > 1 else ''}".strip(), level=Level.OK)
    else:
        yield Finding("buildx", "docker buildx is missing", "scripts/setup installs it")


def check_base_images(target: Target) -> Iterator[Finding]:
    """Base images are here, or there is a way to get them."""
    names = base_images(target.compose.model)
    absent = sorted(set(names) - target.compose.engine.images(names))
    if not absent:
        yield Finding("base images", f"all {len(names)} are here", level=Level.OK)
    elif target.host.has_command("mmdebstrap"):
        yield Finding(
            "base images", f"to be pulled or built from packages: {', '.join(absent)}", level=Level.OK
        )
    else:
        yield Finding(
            "base images",
            f"must be pulled, and cannot be built from packages without mmdebstrap: {', '.join(absent)}",
            "scripts/setup installs mmdebstrap",
            Level.WARNING,
        )


CHECKS: list[Check] = [check_engine, check_compose, check_buildx]
MODEL_CHECKS: list[Check] = [check_base_images]
