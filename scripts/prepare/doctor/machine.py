"""Check the machine: memory, disk and ports, with all thresholds in one place."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

from rich.filesize import decimal

from scripts.base.errors import StackError
from scripts.base.host import engine_is_elsewhere
from scripts.engine.catalogue import Catalogue
from scripts.prepare.doctor.check import Check, Target
from scripts.prepare.finding import Finding, Level

GIB = 1024**3
# Memory in GiB that a profile's services use under load; below the sum there is a warning.
MEMORY_GIB = {"core": 2.0, "geo": 1.0, "push": 0.25, "legacy": 0.25}
# Below half of what is recommended the kernel kills workers at the first run.
MEMORY_FATAL_SHARE = 0.5
# Images, volumes and a build's cache; a full disk stops Postgres in the middle of a transaction.
DISK_FATAL_BYTES, DISK_WARNING_BYTES = 2 * GIB, 8 * GIB


def check_memory(target: Target) -> Iterator[Finding]:
    """The engine's machine has the memory that the active profiles want."""
    total = int(target.compose.engine.info().get("MemTotal") or 0)
    if not total:
        return
    profiles = ["core", *target.compose.active_profiles]
    needed = sum(MEMORY_GIB.get(name, 0.0) for name in dict.fromkeys(profiles)) * GIB
    what = f"{decimal(total)} of memory, {decimal(int(needed))} recommended for {', '.join(profiles)}"
    if total < needed * MEMORY_FATAL_SHARE:
        yield Finding(
            "memory", Level.ERROR, what, "use a larger machine, or fewer profiles: COMPOSE_PROFILES in .env"
        )
    elif total < needed:
        yield Finding("memory", Level.WARNING, what, "switch profiles off: COMPOSE_PROFILES in .env")
    else:
        yield Finding("memory", Level.OK, what)


def check_engine_disk(target: Target) -> Iterator[Finding]:
    """There is room where the engine keeps images and volumes."""
    folder = target.compose.engine.info().get("DockerRootDir")
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
        yield Finding(check, Level.ERROR, f"disk nearly full: {what}", fix)
    elif free < DISK_WARNING_BYTES:
        yield Finding(check, Level.WARNING, what, fix)
    else:
        yield Finding(check, Level.OK, what)


def check_ports(target: Target) -> Iterator[Finding]:
    """Nobody else holds a port that an active service publishes; who does is named."""
    compose = target.compose
    if engine_is_elsewhere(compose.environment):
        return
    services = Catalogue.of(compose.model).active(compose.active_profiles)
    wanted = [(port, service.name) for service in services for port in service.ports]
    by_number: dict[int, list[str]] = {}
    for port, name in wanted:
        by_number.setdefault(port.number, []).append(name)
    held = compose.engine.published_ports()
    trouble = False
    for port, name in wanted:
        finding = _port(target, port.address, port.number, name, held)
        if len(by_number[port.number]) > 1 and name != by_number[port.number][0]:
            other = by_number[port.number][0]
            finding = Finding(
                "ports", Level.ERROR, f"{name} and {other} both want port {port.number}", _port_fix(name)
            )
        if finding:
            trouble = True
            yield finding
    if not trouble:
        yield Finding(
            "ports", Level.OK, f"{', '.join(str(port.number) for port, _ in wanted)} free or our own"
        )


def _port(
    target: Target, address: str, number: int, service: str, held: dict[int, tuple[str, str]]
) -> Finding | None:
    container, project = held.get(number, ("", ""))
    if project == target.compose.project:
        return None
    problem = target.host.bind_problem(address or "0.0.0.0", number)  # noqa: S104 - what an empty address means
    if not problem:
        return None
    if problem == errno.EADDRNOTAVAIL:
        return Finding(
            "ports",
            Level.ERROR,
            f"{service} shall listen on {address}, no address of this machine",
            _port_fix(service),
        )
    who = f"container {container}" if container else target.host.listener(number)
    if container and project:
        who += f" of project {project}"
    return Finding(
        "ports",
        Level.ERROR,
        f"port {number} of {service} is taken by {who or 'another process (run this as root to see which)'}",
        _port_fix(service),
    )


def _port_fix(service: str) -> str:
    return f"stop that, or set PORT_{service.upper().replace('-', '_')} in .env to a free number"


CHECKS: list[Check] = [check_data_disk]
ENGINE_CHECKS: list[Check] = [check_memory, check_engine_disk, check_ports]
