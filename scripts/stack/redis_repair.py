"""Repair the append-only files of the stack's Redis after a power loss: `redis-repair`.

What is checked and changed in the files is docker/redis/redis-repair.sh, which runs in a container of the service;
the service itself is stopped before anything is changed.
"""

from __future__ import annotations

import time

from rich.filesize import decimal

from scripts.base.clock import SYSTEM_CLOCK, Clock
from scripts.base.console import Console
from scripts.base.errors import fail, refuse
from scripts.engine.compose import Compose
from scripts.engine.failure import unhealthy_after
from scripts.engine.problems import REDIS, damaged_redis
from scripts.prepare import lock

PROGRAM = "docker/redis/redis-repair.sh"
PLACE = "/opt/stack/redis-repair.sh"
STOP_SECONDS, START_SECONDS = 30, 300
# What the program tells, each as `name=value`: `sound` or `damaged`, where the data comes from, lost bytes, keys then.
FACTS = ("state", "source", "lost", "keys")


def repair(
    compose: Compose, console: Console, clock: Clock = SYSTEM_CLOCK, *, yes: bool, dry_run: bool
) -> None:
    """Check the files and, when they are damaged, put a repaired copy in place; start Redis again.

    dry_run: only check. Raise StackError; nothing was changed when nobody says yes.
    """
    if compose.setting("REDIS_HOST", REDIS) != REDIS:
        refuse("Redis is somebody else's server (REDIS_HOST), its files are not here", "repair it there")
    with lock.sole(compose):
        there = compose.containers([REDIS])
        if any(each.fine for each in there):
            console.say("redis runs and is healthy: there is nothing to repair")
            return
        with console.busy("checking the append-only files in a copy"):
            facts, found = _run(compose, "check")
        for each in found:
            console.say(each)
        keys, sound = facts.get("keys", "0"), facts.get("state") == "sound"
        if sound:
            console.say(f"the files are sound, with {keys} keys")
        else:
            console.say(f"after a repair there are {keys} keys; {_loss(facts)}")
        if dry_run or compose.runner.dry:
            return
        if not sound:
            question = "The files found are kept beside the repaired ones."
            console.require_yes(yes, question, console.again("redis-repair", "--yes"))
            names = [each.name for each in there]
            if names and (told := compose.engine.change("stop", "-t", str(STOP_SECONDS), *names)):
                what = f"redis does not stop: {told}"
                fail(what, "restart the container engine")
            moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime(clock.now()))
            _run(compose, "repair", moment)
            kept = f"/data/appendonlydir.damaged-{moment}"
            console.say(f"repaired; the files found are kept in the volume, in {kept}")
            console.say(f"when all is well: invoke compose-exec --service={REDIS} -- rm -r {kept}")
        wait = ("--no-build", "--wait", "--wait-timeout", str(START_SECONDS))
        result = compose.stream("up", "--detach", "--no-deps", *wait, REDIS)
        if not result.ok:
            fail(
                f"redis does not start: {damaged_redis(compose) or result.complaint}",
                f"see `invoke compose-logs --services={REDIS}`; the files found before are kept in its volume",
            )
        with console.busy("waiting for the services that were unhealthy without redis"):
            left = unhealthy_after(compose, clock)
    if left:
        console.warn(f"redis is healthy, not yet: {', '.join(left)} (see `invoke compose-status`)")
    console.say("redis is healthy; `invoke compose-up` starts what waited for it")


def _loss(facts: dict[str, str]) -> str:
    """What is not there any more, as the end of a sentence."""
    source = facts.get("source", "")
    if source == "nothing":
        return (
            "no snapshot is there either: Redis starts empty (everybody is logged out, waiting jobs are gone)"
        )
    if source.startswith("dump.rdb"):
        return f"Redis starts with the snapshot {source}, what came after it is lost"
    return f"{decimal(int(facts.get('lost', 0)))} of entries, the youngest ones, are not replayed"


def _run(compose: Compose, *arguments: str) -> tuple[dict[str, str], list[str]]:
    """Run the program; return the facts that it tells and what it found in the files."""
    facts: dict[str, str] = {}
    found: list[str] = []
    others: list[str] = []

    def hear(line: str) -> None:
        name, _, value = line.partition("=")
        if name == "found":
            found.append(value)
        elif name in FACTS:
            facts[name] = value
        else:
            others.append(line)

    mount = f"{compose.root / PROGRAM}:{PLACE}:ro"
    result = compose.stream(
        "run", "--rm", "--no-deps", "-T", "--volume", mount, "--entrypoint", "sh", REDIS, PLACE, *arguments,
        on_line=hear,
    )  # fmt: skip
    if not result.ok or ("state" not in facts and not compose.runner.dry):
        fail(
            f"the append-only files could not be {'repaired' if arguments[0] == 'repair' else 'checked'}: "
            f"{others[-1] if others else result.complaint}",
            "the lines above say why (a copy needs as much free space as the files); the files are as they were",
            details="\n".join(others),
        )
    return facts, found
