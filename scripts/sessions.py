"""Owns what reaches into single services: commands and shells in them, their logs, restarts, the database's prompt."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from scripts import cluster
from scripts.catalogue import Catalogue, Service
from scripts.compose import ALL_PROFILES, Compose
from scripts.console import Console
from scripts.errors import ExitCode, StackError

SHELLS = ("bash", "sh")
DATABASE = "postgres"
WEB = "weppcloud"
# ECMA-48 control sequences: colours, cursor movements.
CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
MIGRATE = ("flask", "db", "upgrade")


def split_names(values: Sequence[str]) -> list[str]:
    """`--services=a,b --services=c` as [a, b, c]."""
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


def running(compose: Compose, name: str) -> bool:
    """True when a container of the service runs."""
    containers = compose.engine.containers(compose.project)
    return any(each.service == name and each.state == "running" and not each.oneoff for each in containers)


def known(compose: Compose, names: Sequence[str]) -> list[Service]:
    """The services of that name. Raises StackError for one that does not exist."""
    return Catalogue.of(compose.model).select(names)


def run_in(compose: Compose, service: str, command: Sequence[str]) -> int:
    """Runs a command in a running container with the user's terminal; returns its exit status."""
    demand_running(compose, service)
    if not command:
        raise StackError(
            "no command was given",
            f"put it after two dashes: invoke compose-exec --service={service} -- ls -l",
            ExitCode.USAGE,
        )
    return compose.attach("exec", *terminal_flags(), service, *command)


def demand_running(compose: Compose, service: str) -> None:
    """Raises StackError when the service does not exist or does not run."""
    known(compose, [service])
    if not running(compose, service):
        raise StackError(f"{service} does not run", f"start it: invoke compose-up --services={service}")


def shell(compose: Compose, service: str) -> int:
    """Opens the best shell that the service's image has; returns its exit status."""
    demand_running(compose, service)
    for name in SHELLS:
        if compose.capture("exec", "-T", service, name, "-c", ":").ok:
            return compose.attach("exec", *terminal_flags(), service, name)
    raise StackError(
        f"the image of {service} holds no shell, on purpose",
        f"look from outside: invoke compose-logs --services={service}",
        ExitCode.REFUSED,
    )


def terminal_flags() -> list[str]:
    """Compose allocates a terminal unless told otherwise, and then fails in a pipe or under cron."""
    return [] if sys.stdin.isatty() and sys.stdout.isatty() else ["-T"]


def demand_database(compose: Compose, console: Console) -> None:
    """Starts the stack's own database when it does not run. Raises StackError when it does not come up."""
    if compose.setting("POSTGRES_HOST", DATABASE) != DATABASE or running(compose, DATABASE):
        return
    console.say("the database does not run: starting it")
    if not compose.stream("up", "--detach", "--wait", "--no-deps", DATABASE).ok:
        cluster.demand_same_major(compose)
        raise StackError(
            "the database does not start",
            f"see `invoke compose-logs --services {DATABASE}` and `invoke doctor`",
            ExitCode.NOT_READY,
        )


def revive_database(compose: Compose) -> None:
    """Starts the database's container when it was killed; the engine starts none again that somebody stopped."""
    if compose.setting("POSTGRES_HOST", DATABASE) != DATABASE:
        return
    for each in compose.engine.containers(compose.project):
        if each.service == DATABASE and not each.oneoff and each.state != "running":
            compose.engine.start([each.name])


def database_shell(compose: Compose) -> int:
    """psql on the stack's database; SQL on stdin works too. Returns psql's exit status."""
    demand_running(compose, DATABASE)
    stop = ["--set", "ON_ERROR_STOP=1"] if terminal_flags() else []
    user, database = compose.setting("POSTGRES_USER", "wepppy"), compose.setting("POSTGRES_DB", "wepppy")
    psql = ["psql", "--username", user, "--dbname", database, *stop]
    return compose.attach("exec", *terminal_flags(), DATABASE, *psql)


def database_upgrade(compose: Compose, console: Console) -> None:
    """Brings the database's schema up to date. Raises StackError when that fails."""
    if running(compose, WEB):
        result = compose.stream("exec", "-T", WEB, *MIGRATE)
    else:
        console.say(f"{WEB} does not run: a container is started for this alone")
        result = compose.stream("run", "--rm", "-T", WEB, *MIGRATE)
    if not result.ok:
        raise StackError(
            "the database was not upgraded, see above",
            "the failed revision was rolled back by Postgres; mend it and run `invoke db-upgrade` again",
            ExitCode.FAILED,
        )


def logs(compose: Compose, services: Sequence[str], *, follow: bool, tail: str, since: str) -> int:
    """Shows logs, of all services when none is named; returns Compose's exit status."""
    known(compose, services)
    arguments = ["logs", "--tail", tail]
    if follow:
        arguments.append("--follow")
    if since:
        arguments += ["--since", since]
    if sys.stdout.isatty():
        return compose.attach(*arguments, *services, profiles=ALL_PROFILES)
    # Compose clears the line of a terminal that is not there; a file or `grep` shall get text alone.
    arguments.append("--no-color")
    return compose.stream(*arguments, *services, profiles=ALL_PROFILES, on_line=_plain).returncode


def _plain(line: str) -> None:
    print(CONTROL_SEQUENCE.sub("", line), flush=True)


def restart(compose: Compose, console: Console, services: Sequence[str], timeout: int) -> None:
    """Restarts containers as they are and waits until they are healthy. Raises StackError.

    Settings and images are not read anew: that is what `compose-up` does.
    """
    catalogue = Catalogue.of(compose.model)
    up = {each.service for each in compose.engine.containers(compose.project) if each.state == "running"}
    chosen = catalogue.select(services) if services else list(catalogue.services.values())
    names = [each.name for each in chosen if each.name in up and not each.one_shot]
    idle = sorted(set(services) - set(names))
    if idle or not names:
        raise StackError(
            f"not running: {', '.join(idle) or 'any service'}", "start it with `invoke compose-up`"
        )
    console.say(f"restarting {', '.join(names)}")
    for arguments in (
        ["restart"],
        ["up", "--detach", "--no-recreate", "--no-deps", "--wait", "--wait-timeout", str(timeout)],
    ):
        if not compose.stream(*arguments, *names, profiles=ALL_PROFILES).ok:
            from scripts.failure import explain

            failed, details = explain(compose, names)
            raise StackError(
                f"not healthy after the restart: {', '.join(failed) or ', '.join(names)}",
                "the lines above say why; `invoke compose-up` starts what is missing",
                ExitCode.FAILED,
                details=details,
            )


def rendered(compose: Compose) -> str:
    """The rendered model as YAML; secrets are files in it, not values."""
    _ = compose.model
    result = compose.capture("config", profiles=compose.profiles)
    if not result.ok:
        raise StackError(f"the compose files do not render: {result.complaint}", "mend the file it names")
    return result.stdout.rstrip()
