"""What reaches into single services: commands and shells in them, their logs, restarts, the database's prompt."""

from __future__ import annotations

import re
import secrets
import signal
import sys
from collections.abc import Sequence

from scripts.base.console import Console
from scripts.base.errors import ExitCode, StackError, fail, usage
from scripts.engine import failure, sidecar
from scripts.engine.compose import ALL_PROFILES, Compose
from scripts.engine.database_server import DATABASE, is_external
from scripts.prepare import lock

SHELLS = ("bash", "sh")
WEB = "weppcloud"
# ECMA-48 control sequences: colours, cursor movements.
CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
MIGRATE = ("flask", "db", "upgrade")
TASK_VARIABLE = "WEPP_TASK"
# Exit statuses of a client that was stopped: by Ctrl-C, or by a signal as the shell and as Python tell it.
INTERRUPTED = (130, 143, -signal.SIGINT, -signal.SIGTERM)
# Ends the processes whose environment holds the mark: as by Ctrl-C first, and killed when they stay.
END_MARKED = r"""
for signal in INT INT KILL; do
  found=no
  for process in /proc/[0-9]*; do
    if tr '\0' '\n' <"$process/environ" 2>/dev/null | grep -qxF "$1"; then
      kill -s "$signal" "${process#/proc/}" && found=yes
    fi
  done
  [ $found = yes ] || exit 0
  sleep 1
done
"""


def running(compose: Compose, name: str) -> bool:
    """Return True when a container of the service runs."""
    return bool(compose.containers([name], running=True))


def run_in(compose: Compose, service: str, command: Sequence[str]) -> int:
    """Run a command in a running container with the user's terminal; return its exit status."""
    require_running(compose, service)
    if not command:
        usage(
            "no command was given",
            f"put it after two dashes: invoke compose-exec --service={service} -- ls -l",
        )
    return _attach(compose, service, command)


def _attach(compose: Compose, service: str, command: Sequence[str]) -> int:
    """Run a command in a container with the user's terminal or, without one, in a pipe; return its exit status."""
    flags = terminal_flags()
    if not flags:
        return compose.attach("exec", service, *command)
    # A terminal passes Ctrl-C on to the command. Without one only the client ends, and the command runs on
    # (moby/moby#9098), its input being the caller's own: it is found again by a variable.
    mark = f"{TASK_VARIABLE}={secrets.token_hex(8)}"
    status = compose.attach("exec", *flags, "--env", mark, service, *command)
    if status in INTERRUPTED:
        compose.capture("exec", "-T", service, "sh", "-c", END_MARKED, "sh", mark)
    return status


def require_running(compose: Compose, service: str) -> None:
    """Raise StackError when the service does not exist or does not run."""
    compose.catalogue.select([service])
    if not running(compose, service):
        raise StackError(f"{service} does not run", f"start it: invoke compose-up --services={service}")


def shell(compose: Compose, service: str) -> int:
    """Open the best shell that the service's image has; return its exit status."""
    require_running(compose, service)
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


def database_shell(compose: Compose) -> int:
    """psql on the stack's database, wherever that is; SQL on stdin works too. Return psql's exit status."""
    stop = ["--set", "ON_ERROR_STOP=1"] if terminal_flags() else []
    if is_external(compose):
        # The backup service's variables say where that is.
        require_running(compose, sidecar.SERVICE)
        return _attach(compose, sidecar.SERVICE, ["psql", *stop])
    require_running(compose, DATABASE)
    user, database = compose.setting("POSTGRES_USER", "wepppy"), compose.setting("POSTGRES_DB", "wepppy")
    psql = ["psql", "--username", user, "--dbname", database, *stop]
    return _attach(compose, DATABASE, psql)


def database_upgrade(compose: Compose, console: Console) -> None:
    """Bring the database's schema up to date. Raise StackError when that fails."""
    with lock.sole(compose):
        if running(compose, WEB):
            result = compose.stream_in(["exec", "-T", WEB], MIGRATE)
        else:
            console.say(f"{WEB} does not run: a container is started for this alone")
            result = compose.stream_in(["run", "--rm", "-T", WEB], MIGRATE)
    if not result.ok:
        fail(
            "the database was not upgraded, see above",
            "a revision that failed was rolled back by Postgres: correct it; a container that did not start changed "
            "nothing: see to what it says; then run `invoke db-upgrade` again",
        )


def logs(compose: Compose, services: Sequence[str], *, follow: bool, tail: str, since: str) -> int:
    """Show logs, of all services when none is named; return Compose's exit status."""
    compose.catalogue.select(services)
    arguments = ["logs", "--tail", tail, *(["--follow"] if follow else [])]
    arguments += ["--since", since] if since else []
    if sys.stdout.isatty():
        return compose.attach(*arguments, *services, profiles=ALL_PROFILES)
    # Compose clears the line of a terminal that is not there; a file or `grep` shall get text alone.
    arguments.append("--no-color")
    return compose.stream(*arguments, *services, profiles=ALL_PROFILES, on_line=_plain).returncode


def _plain(line: str) -> None:
    print(CONTROL_SEQUENCE.sub("", line), flush=True)


def restart(compose: Compose, console: Console, services: Sequence[str], timeout: int) -> None:
    """Restart containers as they are, those that are stopped or missing too, and wait until they are healthy.

    Settings and images are not read anew: that is what `compose-up` does. services: empty for all that should run.
    Raise StackError when one is not healthy, and when nothing of the stack is there to be restarted.
    """
    catalogue = compose.catalogue
    chosen = catalogue.select(services) if services else list(catalogue.services.values())
    active = {each.name for each in catalogue.active(compose.active_profiles)}
    with lock.sole(compose):
        there = {each.service: each for each in compose.containers()}
        wanted = [each.name for each in chosen if not each.one_shot and each.name in active | there.keys()]
        absent = sorted(set(services) - set(wanted))
        if absent or not there or not wanted:
            raise StackError(
                f"not there to be restarted: {', '.join(absent) or 'any service'}",
                "start it with `invoke compose-up`",
            )
        console.say(f"restarting {', '.join(wanted)}")
        paused = [there[name].name for name in wanted if name in there and there[name].state == "paused"]
        if paused:
            compose.engine.change("unpause", *paused)
        failure.restart_and_wait(compose, [name for name in wanted if name in there], wanted, timeout)


def rendered(compose: Compose) -> str:
    """Return the rendered model as YAML; secrets are files in it, not values."""
    _ = compose.model
    result = compose.capture("config", profiles=compose.profiles)
    if not result.ok:
        raise StackError(f"the compose files do not render: {result.complaint}", "fix the file it names")
    return result.stdout.rstrip()
