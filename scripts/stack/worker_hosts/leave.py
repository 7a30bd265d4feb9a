"""`worker-leave`: end a host's workers and take its access away; on the worker host itself, or on the main host."""

from __future__ import annotations

import contextlib

from scripts.base.clock import SYSTEM_CLOCK, Clock, duration
from scripts.base.console import Console
from scripts.base.errors import StackError, fail, refuse, usage
from scripts.engine.compose import Compose
from scripts.prepare import lock
from scripts.stack.worker_hosts import access
from scripts.stack.worker_hosts.containers import GATEWAY, WORKER, ask, remove_own_files, worker_services
from scripts.stack.worker_hosts.invite import forget_tokens
from scripts.stack.worker_hosts.listing import MISSED_SECONDS

# What a worker has with --now. Its job is found lost on the main host, and queued again there.
NOW_SECONDS = 10
NAME = "WORKER_HOST"


def leave(compose: Compose, console: Console, host: str, *, now: bool) -> None:
    """On a worker host: end its workers, tell the main host, delete what the invitation brought. Raise StackError.

    host: on the main host, whose access is to end; its workers must have ended or be lost. now: there, end it all the
    same; on the worker host, do not wait for jobs: they are queued again.
    """
    here = compose.setting(NAME)
    if host and not here:
        end_access(compose, console, host, now=now)
        return
    if not here:
        usage("this is no worker host", "on the main host name one: --host=NAME; `invoke workers` lists them")
    if host and host != here:
        usage(f"--host={host} is not this host ({here})", "leave the flag out, or run it on the main host")
    if compose.runner.dry:
        console.say(f"would end the workers of {here} and take its access away")
        return
    with lock.sole(compose):
        console.say(
            "ending the workers; " + ("jobs are queued again" if now else "each ends the job it is at first")
        )
        for service in worker_services(compose)[:1]:
            with contextlib.suppress(StackError):
                ask(compose, service, "release", here)
        flags = ["--timeout", str(NOW_SECONDS)] if now else []
        result = compose.stream("stop", *flags, *worker_services(compose))
        if not result.ok:
            fail(f"the workers do not end: {result.complaint}", "run it again, or with --now")
        told = compose.capture("exec", "-T", GATEWAY, "python", "/opt/stack/gateway.py", "ask", "leave")
        if not told.ok or "refused" in told.stdout:
            console.warn(
                f"the main host was not told: take the access of {here} away there: invoke worker-leave --host={here}"
            )
        down = compose.stream("down")
        if not down.ok:
            fail(f"not all containers could be removed: {down.complaint}", "run it again")
        remove_own_files(compose)
    console.say(
        f"{here} has left; its user and role at the stores go with the main host's next `invoke workers`"
    )


def end_access(
    compose: Compose, console: Console, host: str, *, now: bool, clock: Clock = SYSTEM_CLOCK
) -> None:
    """On the main host: take a host's access away. Raise StackError (refused) while its workers are at work."""
    if host not in access.hosts(compose):
        usage(f"no host {host} has access", "`invoke workers` lists those that have")
    pools = [each for each in ask(compose, WORKER, "list")["pools"] if each["host"] == host]
    for each in pools:
        age = clock.now() - float(each["heartbeat"])
        if age < MISSED_SECONDS and not now:
            refuse(
                f"workers of {host} are at work: their last heartbeat was {duration(age)} ago",
                f"run `invoke worker-leave` on {host}, or add --now: its jobs are queued again",
            )
    if compose.runner.dry:
        console.say(f"would take the access of {host} away")
        return
    with lock.sole(compose):
        access.revoke(compose, host)
        ask(compose, WORKER, "release", host)
        forget_tokens(compose, clock)
    console.say(f"{host} has no access any more")
