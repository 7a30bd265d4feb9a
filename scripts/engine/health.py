"""Tell which containers are healthy, and wait for those that are not yet."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NoReturn

from scripts.base.clock import Clock
from scripts.base.errors import ExitCode, StackError
from scripts.engine.compose import ALL_PROFILES, Compose
from scripts.engine.failure import details, explain

# A service is looked at every 30 s; a worker whose store was away needs some seconds more.
RECOVERY_SECONDS, PAUSE_SECONDS = 120.0, 1.0


def unhealthy_after(
    compose: Compose,
    clock: Clock,
    services: Collection[str] | None = None,
    *,
    seconds: float = RECOVERY_SECONDS,
) -> list[str]:
    """Wait until every running container is healthy, of these services or of all; return the services not in time.

    Raise StackError when the engine does not answer.
    """
    deadline = clock.monotonic() + seconds
    while True:
        left = sorted(each.service for each in compose.containers(services, running=True) if not each.fine)
        if not left or clock.monotonic() >= deadline:
            return left
        clock.sleep(PAUSE_SECONDS)


def restart_and_wait(
    compose: Compose, present: Sequence[str], wanted: Sequence[str], seconds: int, flags: Sequence[str] = ()
) -> None:
    """Restart containers of services, then wait until the wanted ones are healthy, started where they are missing.

    flags: for `docker compose restart`. Raise StackError when one is not healthy within the seconds.
    """
    wait = ["--no-build", "--no-recreate", "--no-deps", "--wait", "--wait-timeout", str(seconds)]
    steps = [["restart", *flags, *present]] if present else []
    steps += [["up", "--detach", *wait, *wanted]] if wanted else []
    for arguments in steps:
        if not compose.stream(*arguments, profiles=ALL_PROFILES).ok:
            _refuse(compose, [*present, *wanted])


def _refuse(compose: Compose, names: Sequence[str]) -> NoReturn:
    failed = explain(compose, names)
    raise StackError(
        f"not healthy after the restart: {'; '.join(each.text for each in failed) or ', '.join(names)}",
        "the lines above say why; `invoke compose-up` starts what is missing",
        ExitCode.FAILED,
        details=details(failed),
    )
