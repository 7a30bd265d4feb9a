"""Check the container engine and the machine: memory, disk and ports, with all thresholds in one place."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

from rich.filesize import decimal

from scripts.base.errors import StackError
from scripts.base.host import engine_is_elsewhere
from scripts.engine.catalogue import Catalogue, Port
from scripts.engine.docker import version_of
from scripts.prepare.finding import Check, Finding, Level, Target
from scripts.prepare.images import chosen_images

ENGINE = "engine"
# Debian's 2.26.1; others take the files since 2.29, and the model's rendering tells of those between.
MINIMUM_COMPOSE = (2, 26)
# Older ones refuse health checks that begin quickly (moby/moby#48874).
MINIMUM_ENGINE = 25
GIB = 1024**3
# Memory in GiB that a profile's services use under load; below the sum there is a warning.
MEMORY_GIB = {"core": 2.0, "geo": 1.0, "push": 0.25, "legacy": 0.25}
# Below half of what is recommended the kernel kills workers at the first run.
MEMORY_FATAL_SHARE = 0.5
# Images, volumes and a build's cache; a full disk stops Postgres in the middle of a transaction.
DISK_FATAL_BYTES, DISK_WARNING_BYTES = 2 * GIB, 8 * GIB


def check_engine(target: Target) -> Iterator[Finding]:
    """The engine answers and is new enough."""
    info = target.compose.engine.info
    version = info["ServerVersion"]
    if 0 < version_of(version)[0] < MINIMUM_ENGINE:
        yield Finding(
            ENGINE, f"Docker Engine {version} is older than {MINIMUM_ENGINE}", "upgrade the engine's packages"
        )
    else:
        yield Finding(ENGINE, f"engine {version}, {info.get('NCPU', '?')} cores", level=Level.OK)


def check_plugins(target: Target) -> Iterator[Finding]:
    """Compose v2 is there and new enough, and buildx: builds need cache mounts and secrets."""
    client = target.compose.engine.info.get("ClientInfo") or {}
    versions = {each["Name"]: each.get("Version", "") for each in client.get("Plugins") or ()}
    for name, minimum in (("compose", MINIMUM_COMPOSE), ("buildx", (0,))):
        if name not in versions:
            yield Finding(name, f"docker {name} is missing", "scripts/setup installs it")
        elif version_of(versions[name]) < minimum:
            needed = ".".join(map(str, minimum))
            what = f"docker {name} {versions[name]} is older than {needed}"
            yield Finding(name, what, "scripts/setup installs a newer one")
        else:
            yield Finding(name, f"{name} {versions[name]}", level=Level.OK)


def check_base_images(target: Target) -> Iterator[Finding]:
    """Base images are here, or there is a way to get them."""
    names = sorted(set(chosen_images(target.compose.model).values()))
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


def check_memory(target: Target) -> Iterator[Finding]:
    """The engine's machine has the memory that the active profiles want."""
    total = int(target.compose.engine.info.get("MemTotal") or 0)
    if not total:
        return
    profiles = ["core", *target.compose.active_profiles]
    needed = sum(MEMORY_GIB.get(name, 0.0) for name in dict.fromkeys(profiles)) * GIB
    what = f"{decimal(total)} of memory, {decimal(int(needed))} recommended for {', '.join(profiles)}"
    fix = "use a larger machine, or fewer profiles: COMPOSE_PROFILES in .env"
    if total < needed:
        fatal = total < needed * MEMORY_FATAL_SHARE
        yield Finding("memory", what, fix, Level.ERROR if fatal else Level.WARNING)
    else:
        yield Finding("memory", what, level=Level.OK)


def check_engine_disk(target: Target) -> Iterator[Finding]:
    """There is room where the engine keeps images and volumes."""
    folder = target.compose.engine.info.get("DockerRootDir")
    if folder and not engine_is_elsewhere(target.compose.environment):
        yield from _disk(target, "engine disk", Path(folder))


def check_data_disk(target: Target) -> Iterator[Finding]:
    """There is room where backups are written."""
    try:
        folder = target.compose.data_dir
    except StackError:
        # Without settings the default place is the one to look at.
        folder = target.compose.root
    yield from _disk(target, "disk", folder)


def _disk(target: Target, check: str, folder: Path) -> Iterator[Finding]:
    free = target.host.free_bytes(folder)
    if free is None:
        return
    what = f"{decimal(free)} free at {folder}"
    fix = "free some: docker builder prune (only the build cache); docker system df shows what takes it"
    if free < DISK_FATAL_BYTES:
        yield Finding(check, f"disk nearly full: {what}", fix)
    elif free < DISK_WARNING_BYTES:
        yield Finding(check, what, fix, Level.WARNING)
    else:
        yield Finding(check, what, level=Level.OK)


def check_ports(target: Target) -> Iterator[Finding]:
    """Nobody else holds a port that an active service publishes; who does is named."""
    compose = target.compose
    if engine_is_elsewhere(compose.environment):
        return
    services = Catalogue.of(compose.model).active(compose.active_profiles)
    wanted = [(port, service.name) for service in services for port in service.ports]
    held = compose.engine.published_ports()
    first: dict[int, str] = {}
    trouble = False
    for port, name in wanted:
        other = first.setdefault(port.number, name)
        what = f"{name} and {other} both want port {port.number}"
        if other == name:
            what = _problem(target, port, name, held.get(port.number, ("", "")))
        if what:
            trouble = True
            variable = f"PORT_{name.upper().replace('-', '_')}"
            yield Finding("ports", what, f"stop that, or set {variable} in .env to a free number")
    if not trouble:
        numbers = ", ".join(str(port.number) for port, _ in wanted)
        yield Finding("ports", f"{numbers} free or our own", level=Level.OK)


def _problem(target: Target, port: Port, service: str, holder: tuple[str, str]) -> str:
    """Return what keeps a service from its port; holder: the container that has it, and its project."""
    container, project = holder
    if project == target.compose.project:
        return ""
    problem = target.host.bind_problem(port.address or "0.0.0.0", port.number)  # noqa: S104 - what an empty one means
    if not problem:
        return ""
    if problem == errno.EADDRNOTAVAIL:
        return f"{service} shall listen on {port.address}, no address of this machine"
    who = f"container {container}" if container else target.host.listener(port.number)
    if container and project:
        who += f" of project {project}"
    return f"port {port.number} of {service} is taken by {who or 'another process (run this as root to see which)'}"


CHECKS: list[Check] = [check_engine, check_plugins, check_data_disk]
MODEL_CHECKS: list[Check] = [check_base_images, check_memory, check_engine_disk, check_ports]
