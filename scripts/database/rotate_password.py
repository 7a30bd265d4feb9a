"""`db-rotate-password`: role, secret file and services get another password, jobs are finished before.

Whatever ends this task, the next one completes the change: see credentials.py.
"""

from __future__ import annotations

import contextlib
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.base.clock import SYSTEM_CLOCK, Clock
from scripts.base.console import Console
from scripts.base.errors import ExitCode, StackError, refuse, usage
from scripts.database.credentials import Credentials
from scripts.database.recovery import sole_task
from scripts.engine import database_server
from scripts.engine.compose import Compose
from scripts.engine.container import Container
from scripts.settings import secret_files
from scripts.settings.envfile import display_path
from scripts.settings.secret_ids import token

TASK = "db-rotate-password"
SHORTEST = 12
# What every reader of URLs and of password files takes as it stands.
MARKS = "-_.~!*+,=@%^"
CHARACTERS = frozenset(string.ascii_letters + string.digits + MARKS)
# A service that is started by the first is a pool of workers; the second drains all of them.
POOL = "/opt/stack/rq-worker.py"
DRAIN = ("python", "/opt/stack/rq-drain.py")


@dataclass(frozen=True)
class Options:
    """The task's flags. password_file: holds the new password; empty: one is made. now: wait for no job."""

    password_file: str = ""
    superuser: bool = False
    now: bool = False
    yes: bool = False
    dry_run: bool = False


def rotate(compose: Compose, console: Console, options: Options, *, clock: Clock = SYSTEM_CLOCK) -> None:
    """Change the password. Raise StackError; when the server did not take it, the old one holds."""
    new = read_password(Path(options.password_file)) if options.password_file else token()
    credentials = Credentials(compose, console, clock, superuser=options.superuser)
    external = database_server.is_external(compose)
    if options.superuser and external:
        raise StackError(
            "the superuser of an external server is not the stack's", "ask whoever runs that server"
        )
    file = display_path(credentials.secret_file)
    with sole_task(compose, console, start_server=False):
        old = secret_files.read(credentials.secret_file)
        if not old:
            raise StackError(f"{file} holds no password", "run `invoke env-init`")
        if new == old:
            refuse("that is the password already; nothing was changed", "choose another")
        readers = credentials.running_readers()
        names = [each.service for each in readers]
        server = compose.setting("POSTGRES_HOST") if external else "the stack's own server"
        console.say(
            f"role      {credentials.role} at {server}\n"
            f"file      {file}\n"
            f"restarts  {', '.join(names) or 'nothing: no service that logs in is running'}"
        )
        facts = {"role": credentials.role, "secret_file": str(credentials.secret_file), "services": names}
        if options.dry_run or compose.runner.dry:
            console.answer({"ok": True, "dry_run": True, **facts}, "nothing was changed")
            return
        console.require_yes(options.yes, "change the password now?", console.again(TASK, "--yes"))
        database_server.require_running(compose, console)
        with _drained(compose, console, [] if options.now else readers):
            credentials.change(old, new)
            seconds = credentials.restart_readers()
        credentials.end()
    console.answer(
        {"ok": True, **facts, "downtime": round(seconds, 2)},
        f"{credentials.role} has a new password, in {file} and in {len(names)} services; "
        f"application away for {seconds:.1f} s",
    )


@contextlib.contextmanager
def _drained(compose: Compose, console: Console, readers: list[Container]) -> Iterator[None]:
    """Wait until no worker is at a job; they take no other until the block is left, or for a minute."""
    services = compose.model["services"]
    pools = [each.service for each in readers if POOL in (services[each.service].get("command") or ())]
    if not pools:
        yield
        return
    if not compose.stream_in(["exec", "-T", pools[0]], DRAIN, on_line=console.say).ok:
        refuse(
            "the jobs under way could not be waited for; nothing was changed",
            f"see the lines above, or have them queued again: {console.again(TASK, '--now')}",
        )
    try:
        yield
    finally:
        compose.capture("exec", "-T", pools[0], *DRAIN, "resume")


def read_password(path: Path) -> str:
    """Return the first line of the file. Raise StackError where it cannot be a password for every reader."""
    password = secret_files.first_line(path, ExitCode.USAGE)
    if len(password) < SHORTEST or not set(password) <= CHARACTERS:
        usage(
            f"{path} does not hold a password that URLs and Postgres take as it stands",
            f"one line of at least {SHORTEST} letters, digits or {MARKS}",
        )
    return password
