"""The checks of what runs of this project now. `compose-up` does without them: it starts what is down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scripts.engine import problems, redis_damage
from scripts.prepare import ownership
from scripts.prepare.doctor.check import Check, Target
from scripts.prepare.finding import Finding, Level


def check_second_checkout(target: Target) -> Iterator[Finding]:
    """The project is this checkout's own; see ownership.require."""
    compose = target.compose
    ownership.require(compose)
    for folder in sorted({each.folder for each in compose.engine.containers(compose.project) if each.folder}):
        if not Path(folder).is_dir():
            yield Finding(
                "second checkout",
                Level.WARNING,
                f"containers of project {compose.project} come from {folder}, which is gone; they will be replaced",
                "nothing to do if this checkout was moved",
            )


def check_services(target: Target) -> Iterator[Finding]:
    """What should run does, and is healthy."""
    compose = target.compose
    containers = compose.containers()
    if not containers:
        yield Finding("services", Level.OK, f"{compose.project} is down; `invoke compose-up` starts it")
        return
    found = problems.of_services(compose, containers)
    for each in found:
        yield Finding("services", Level.ERROR, each.what, each.fix)
    if not found:
        yield Finding("services", Level.OK, f"{compose.project} is up, all services are healthy")


def check_database_roles(target: Target) -> Iterator[Finding]:
    """The database takes the passwords of the secret files, and the application's role is no superuser."""
    compose = target.compose
    containers = compose.containers()
    for each in problems.of_password(compose, containers):
        yield Finding("database password", Level.ERROR, each.what, each.fix)
    for each in problems.of_roles(compose, containers):
        yield Finding("database roles", Level.WARNING, each.what, each.fix)


def check_redis_files(target: Target) -> Iterator[Finding]:
    """Redis did not refuse its files the last time it was started."""
    if told := redis_damage.complaint(target.compose):
        yield Finding(
            "redis", Level.WARNING, f"redis does not start with its files: {told}", redis_damage.FIX
        )


CHECKS: list[Check] = [check_second_checkout, check_services, check_database_roles, check_redis_files]
