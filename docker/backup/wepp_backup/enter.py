"""The image's entry point: write the password file, then become another program.

Every command in the container has its password through PGPASSFILE then, so `docker compose run --rm postgres-backup
bash -lc 'pg_dump ...'` and `exec` need none on a command line.
"""

from __future__ import annotations

import os
from argparse import REMAINDER, ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path

from wepp_backup.app import App
from wepp_backup.events import refuse, usage


def flags_of_enter(parser: ArgumentParser) -> None:
    """Add the flags of `enter`."""
    parser.add_argument("command", nargs=REMAINDER)


def run_enter(app: App, flags: Namespace) -> None:
    """Write the password file and become the command. Raise Problem when there is no password or no such command."""
    settings, command = app.settings, flags.command
    logins = {settings.user: settings.password_file, settings.superuser: settings.superuser_password_file}
    try:
        passwords = {
            user: Path(file).read_text(encoding="utf-8").rstrip("\r\n")
            for user, file in logins.items()
            if user and file
        }
        if passwords:
            write_passfile(Path(settings.passfile), passwords)
    except OSError as error:
        fix = "see that the secrets are there: `invoke compose-up` writes them"
        raise refuse(f"the password is not available: {error}", fix) from error
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except (FileNotFoundError, IndexError):
        raise usage(f"there is no command {' '.join(command)!r}", "name a command of the image") from None


def write_passfile(path: Path, passwords: Mapping[str, str]) -> None:
    """Write libpq's password file for any server and database. passwords: by role. Raise OSError."""
    new = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        for fields in passwords.items():
            escaped = [each.replace("\\", "\\\\").replace(":", "\\:") for each in fields]
            print("*", "*", "*", *escaped, sep=":", file=file)
    # Renamed, so that a command that reads it meanwhile finds the old one or the new one.
    new.replace(path)
