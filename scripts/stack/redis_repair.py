"""Repair the append-only files of the stack's Redis after a power loss: `redis-repair`.

What is checked and changed in the files is docker/redis/redis-repair.sh, which runs in a container of the service;
the service itself is stopped before anything is changed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich.filesize import decimal

from scripts.base import prompts
from scripts.base.clock import Clock
from scripts.base.console import Console
from scripts.base.errors import ExitCode, StackError
from scripts.engine.compose import Compose
from scripts.engine.failure import unhealthy_after
from scripts.engine.redis_damage import SERVICE, complaint
from scripts.prepare import lock

PROGRAM = "docker/redis/redis-repair.sh"
PLACE = "/opt/stack/redis-repair.sh"
STOP_SECONDS, START_SECONDS = 30, 300


@dataclass
class Examined:
    """What the program found: state `sound` or `damaged`, where the data comes from, lost bytes, keys afterwards."""

    state: str = ""
    source: str = ""
    lost: int = 0
    keys: int = 0
    found: list[str] = field(default_factory=list)

    @property
    def loss(self) -> str:
        """What is not there any more, as the end of a sentence."""
        if self.source == "nothing":
            return "no snapshot is there either: Redis starts empty (everybody is logged out, waiting jobs are gone)"
        if self.source.startswith("dump.rdb"):
            return f"Redis starts with the snapshot {self.source}, what came after it is lost"
        return f"{decimal(self.lost)} of entries, the youngest ones, are not replayed"


def repair(compose: Compose, console: Console, clock: Clock, *, yes: bool, dry_run: bool) -> None:
    """Check the files and, when they are damaged, put a repaired copy in place; start Redis again.

    dry_run: only check. Raise StackError; nothing was changed when nobody says yes.
    """
    if compose.setting("REDIS_HOST", SERVICE) != SERVICE:
        raise StackError(
            "Redis is somebody else's server (REDIS_HOST), its files are not here",
            "repair it there",
            ExitCode.REFUSED,
        )
    with lock.sole(compose):
        there = compose.containers([SERVICE])
        if any(each.fine for each in there):
            console.say("redis runs and is healthy: there is nothing to repair")
            return
        with console.busy("checking the append-only files in a copy"):
            examined = _run(compose, "check")
        for each in examined.found:
            console.say(each)
        if examined.state == "sound":
            console.say(f"the files are sound, with {examined.keys} keys")
        else:
            console.say(f"after a repair there are {examined.keys} keys; {examined.loss}")
        if dry_run or compose.runner.dry:
            return
        if examined.state != "sound":
            prompts.require_yes(
                console,
                yes,
                "The files found are kept beside the repaired ones.",
                console.again("redis-repair", "--yes"),
            )
            names = [each.name for each in there]
            if names and (told := compose.engine.stop(names, STOP_SECONDS)):
                raise StackError(
                    f"redis does not stop: {told}", "restart the container engine", ExitCode.FAILED
                )
            moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime(clock.now()))
            _run(compose, "repair", moment)
            kept = f"/data/appendonlydir.damaged-{moment}"
            console.say(f"repaired; the files found are kept in the volume, in {kept}")
            console.say(f"when all is well: invoke compose-exec --service={SERVICE} -- rm -r {kept}")
        _start(compose)
        with console.busy("waiting for the services that were unhealthy without redis"):
            left = unhealthy_after(compose, clock)
    if left:
        console.warn(f"redis is healthy, not yet: {', '.join(left)} (see `invoke compose-status`)")
    console.say("redis is healthy; `invoke compose-up` starts what waited for it")


def _run(compose: Compose, *arguments: str) -> Examined:
    examined, others = Examined(), []

    def hear(line: str) -> None:
        name, _, value = line.partition("=")
        if name == "found":
            examined.found.append(value)
        elif name in ("state", "source"):
            setattr(examined, name, value)
        elif name in ("lost", "keys") and value.isdecimal():
            setattr(examined, name, int(value))
        else:
            others.append(line)

    mount = f"{compose.root / PROGRAM}:{PLACE}:ro"
    result = compose.stream(
        "run", "--rm", "--no-deps", "-T", "--volume", mount, "--entrypoint", "sh", SERVICE, PLACE, *arguments,
        on_line=hear,
    )  # fmt: skip
    if not result.ok or (not examined.state and not compose.runner.dry):
        raise StackError(
            f"the append-only files could not be {'repaired' if arguments[0] == 'repair' else 'checked'}: "
            f"{others[-1] if others else result.complaint}",
            "the lines above say why (a copy needs as much free space as the files); the files are as they were",
            ExitCode.FAILED,
            details="\n".join(others),
        )
    return examined


def _start(compose: Compose) -> None:
    result = compose.stream(
        "up", "--detach", "--no-deps", "--no-build", "--wait", "--wait-timeout", str(START_SECONDS), SERVICE
    )
    if not result.ok:
        raise StackError(
            f"redis does not start: {complaint(compose) or result.complaint}",
            f"see `invoke compose-logs --services={SERVICE}`; the files found before are kept in its volume",
            ExitCode.FAILED,
        )
