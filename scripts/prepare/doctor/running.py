"""The checks of what runs of this project now. `compose-up` does without them: it starts what is down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scripts.engine import problems, run_stores
from scripts.prepare import ownership
from scripts.prepare.finding import Check, Finding, Level, Target
from scripts.settings.envfile import display_path


def check_second_checkout(target: Target) -> Iterator[Finding]:
    """The project is this checkout's own; see ownership.require."""
    compose = target.compose
    ownership.require(compose)
    for folder in sorted({each.folder for each in compose.engine.containers(compose.project) if each.folder}):
        if not Path(folder).is_dir():
            yield Finding(
                "second checkout",
                f"containers of project {compose.project} come from {folder}, which is gone; they will be replaced",
                "nothing to do if this checkout was moved",
                Level.WARNING,
            )


def check_services(target: Target) -> Iterator[Finding]:
    """What should run does, and is healthy."""
    compose = target.compose
    containers = compose.containers()
    if not containers:
        yield Finding("services", f"{compose.project} is down; `invoke compose-up` starts it", level=Level.OK)
        return
    found = problems.of_services(compose, containers)
    for each in found:
        yield Finding("services", each.what, each.fix)
    if not found:
        yield Finding("services", f"{compose.project} is up, all services are healthy", level=Level.OK)


def check_secret_files(target: Target) -> Iterator[Finding]:
    """The secret files that a stack was started with are there: the next start mounts them."""
    compose = target.compose
    services = compose.catalogue.active(compose.active_profiles)
    files = {compose.secret_file(name) for each in services for name in each.secrets}
    missing = sorted(file.name for file in files if not file.is_file())
    if missing and compose.engine.volumes(compose.project):
        yield Finding(
            "secrets",
            f"{display_path(compose.secrets_dir)} lacks {', '.join(missing)}",
            "put back a copy; without one `invoke env-init` makes new values, then run `invoke doctor` again (README, "
            "Change a secret: what a new value costs)",
        )


def check_database_roles(target: Target) -> Iterator[Finding]:
    """The database takes the passwords of the secret files, and the application's role is no superuser."""
    compose = target.compose
    containers = compose.containers()
    for each in problems.of_password(compose, containers):
        yield Finding("database password", each.what, each.fix)
    for each in problems.of_roles(compose, containers):
        yield Finding("database roles", each.what, each.fix, Level.WARNING)


def check_redis_files(target: Target) -> Iterator[Finding]:
    """Redis did not refuse its files the last time it was started."""
    if told := problems.damaged_redis(target.compose):
        yield Finding("redis", f"redis does not start with its files: {told}", problems.REPAIR, Level.WARNING)


def check_redis_events(target: Target) -> Iterator[Finding]:
    """A Redis of others tells of changes in the checklists."""
    for each in problems.of_redis(target.compose, target.compose.containers()):
        yield Finding("redis", each.what, each.fix)


def check_runs(target: Target) -> Iterator[Finding]:
    """Database, folders and Redis know the same runs; asked where the sample's application is well."""
    compose = target.compose
    web = compose.containers([run_stores.SERVICE], running=True)
    if not compose.is_sample or not any(each.fine for each in web):
        return
    found = run_stores.find(compose)
    if not found.ok:
        fix = "`invoke runs-check` lists them, with --fix it reconciles them after a question"
        yield Finding("runs", found.summary, fix, Level.WARNING)


CHECKS: list[Check] = [
    check_second_checkout,
    check_services,
    check_secret_files,
    check_database_roles,
    check_redis_files,
    check_redis_events,
    check_runs,
]
