"""Owns `db-rotate-password`: role, `.env` and secret file get a new password together, and the services with them.

Until the services have logged in with the new one, the journal holds the way back: whatever ends this task, the old
password is then the one everywhere again.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from scripts import lock, recovery
from scripts.clock import Clock, SystemClock
from scripts.compose import Compose
from scripts.consent import demand_yes
from scripts.console import Console
from scripts.credentials import KEY, Credentials
from scripts.envfile import shown
from scripts.envinit import token
from scripts.errors import ExitCode, StackError
from scripts.journal import Rotation
from scripts.quiesce import Keeper, kept_running, uninterrupted
from scripts.sessions import demand_database

TASK = "db-rotate-password"
SHORTEST = 12
# What every reader of `.env`, of URLs and of password files takes as it stands.
MARKS = "-_.~!*+,=@%^"
CHARACTERS = frozenset(string.ascii_letters + string.digits + MARKS)

Keeping = Callable[[Compose, Console, str], AbstractContextManager[Keeper]]


@dataclass(frozen=True)
class Options:
    """The flags of the task. password_file: holds the new password; empty: one is made."""

    password_file: str = ""
    yes: bool = False
    dry_run: bool = False


def rotate(
    compose: Compose,
    console: Console,
    options: Options,
    *,
    keeping: Keeping = kept_running,
    clock: Clock | None = None,
) -> None:
    """Changes the password. Raises StackError; the old one then holds everywhere."""
    clock = clock or SystemClock()
    new = read_password(Path(options.password_file)) if options.password_file else token()
    credentials = Credentials(compose, console, clock)
    with lock.sole(compose):
        recovery.recover(compose, console)
        # Where somebody has edited .env, the one that works is the way back, and this task is the mend.
        old = credentials.in_use()
        if not old:
            raise StackError(f"{KEY} is empty in {shown(compose.env_path)}", "run `invoke env-init`")
        if new == old:
            raise StackError(
                "that is the password already; nothing was changed", "choose another", ExitCode.REFUSED
            )
        up = {each.service for each in compose.engine.containers(compose.project) if each.state == "running"}
        readers = [name for name in credentials.readers() if name in up]
        _show_plan(compose, console, credentials, readers)
        if options.dry_run or compose.runner.dry:
            _answer(
                console, {"ok": True, "dry_run": True, **_facts(credentials, readers)}, "nothing was changed"
            )
            return
        demand_yes(console, options.yes, "change the password now?", f"invoke {TASK} --yes")
        demand_database(compose, console)
        with keeping(compose, console, TASK) as keeper:
            downtime = _change(keeper, credentials, Rotation(credentials.role, old, new))
    text = (
        f"{credentials.role} has a new password, in {shown(compose.env_path)} and in {len(readers)} services; "
        f"application away for {downtime:.1f} s"
    )
    _answer(console, {"ok": True, **_facts(credentials, readers), "downtime": round(downtime, 2)}, text)


def _change(keeper: Keeper, credentials: Credentials, rotation: Rotation) -> float:
    """Changes it, or takes it back; returns for how many seconds the application was away."""
    keeper.note(replace(keeper.entry, rotation=rotation))
    tried = False
    try:
        with keeper.stopped(credentials.readers()) as pause:
            try:
                credentials.put(rotation.new, [rotation.old])
            except BaseException:
                # Before the services start: the role may have the new password already, and they would wait in vain.
                tried = True
                _take_back(keeper, credentials, rotation)
                raise
        credentials.prove(rotation.new, rotation.old, keeper.running(pause.services))
        keeper.note(replace(keeper.entry, rotation=replace(rotation, settled=True)))
    except BaseException as error:
        if not tried:
            with uninterrupted(keeper.console), keeper.stopped(credentials.readers()):
                _take_back(keeper, credentials, rotation)
        if isinstance(error, StackError) and keeper.entry.rotation is None:
            raise StackError(
                f"{error.what}; the old password holds again",
                error.mend,
                error.exit_code if error.exit_code == ExitCode.REFUSED else ExitCode.FAILED,
                details=error.details,
            ) from None
        raise
    return pause.seconds


def _take_back(keeper: Keeper, credentials: Credentials, rotation: Rotation) -> None:
    with uninterrupted(keeper.console):
        credentials.take_back(rotation)
        keeper.note(replace(keeper.entry, rotation=None))


def read_password(path: Path) -> str:
    """The first line of the file. Raises StackError where it cannot be a password for every reader."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise StackError(
            f"{path} cannot be read: {reason}", "name a file that holds the new password", ExitCode.USAGE
        ) from None
    lines = text.splitlines()
    password = lines[0] if lines else ""
    if len(lines) > 1 or len(password) < SHORTEST or not set(password) <= CHARACTERS:
        raise StackError(
            f"{path} does not hold a password that .env, URLs and Postgres all take as it stands",
            f"one line of at least {SHORTEST} letters, digits or {MARKS}",
            ExitCode.USAGE,
        )
    return password


def _facts(credentials: Credentials, readers: list[str]) -> dict[str, object]:
    return {
        "role": credentials.role,
        "env_file": str(credentials.compose.env_path),
        "secret_file": str(credentials.secret_file),
        "services": readers,
    }


def _show_plan(compose: Compose, console: Console, credentials: Credentials, readers: list[str]) -> None:
    where = compose.setting("POSTGRES_HOST") if credentials.external else "the stack's own server"
    console.say(
        f"role      {credentials.role} at {where}\n"
        f"files     {shown(compose.env_path)}, {shown(credentials.secret_file)}\n"
        f"restarts  {', '.join(readers) or 'nothing: no service that logs in is running'}"
    )


def _answer(console: Console, document: dict[str, object], text: str) -> None:
    if console.as_json:
        console.document(document)
    else:
        console.text(text)
