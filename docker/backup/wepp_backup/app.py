"""What every command of the program gets: the container's settings, whom it talks to, the server, the backups."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from wepp_backup.caller import Caller
from wepp_backup.catalog import LATEST, Catalog, newest
from wepp_backup.events import Problem, Reporter, refuse, usage
from wepp_backup.retention import find_collapse

if TYPE_CHECKING:
    from wepp_backup.server import Server

# Larger ones would overflow a time span; nobody means three centuries.
LARGEST = 1 << 33


class Settings:
    """Settings of one container. The password is not among them: libpq reads it from PGPASSFILE."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Read them. Raise Problem for a value that makes no sense."""

        def text(name: str, default: str = "") -> str:
            return environment.get(name, "").strip() or default

        def number(name: str, default: int, least: int, most: int = LARGEST) -> int:
            value = text(name, str(default))
            if not (value.isascii() and value.isdigit()) or not least <= int(value) <= most:
                what = f"{name} is {value!r}, not a number from {least} to {most}"
                raise usage(what, "give a whole number in .env")
            return int(value)

        self.host = text("PGHOST", "postgres")
        self.port = text("PGPORT", "5432")
        self.user = text("PGUSER", "wepppy")  # the application's role
        self.superuser = text("WEPP_SUPERUSER")  # "" where it is not ours
        self.database = text("PGDATABASE", "wepppy")
        self.passfile = text("PGPASSFILE")
        self.password_file = text("POSTGRES_PASSWORD_FILE")
        self.superuser_password_file = text("WEPP_SUPERUSER_PASSWORD_FILE")
        self.folder = Path(text("BACKUP_DIR", "/backups"))
        self.interval = timedelta(seconds=number("BACKUP_INTERVAL_SECONDS", 86400, 1))
        # Age at which a backup may be pruned, and how many are kept whatever their age.
        self.keep = timedelta(days=number("BACKUP_KEEP_DAYS", 7, 0, 99999))
        self.keep_min = number("BACKUP_KEEP_MIN", 3, 1)
        # Of the rows or tables of before; less is a collapse, see retention.py.
        self.collapse_percent = number("BACKUP_COLLAPSE_PERCENT", 50, 0, 100)
        # 0: none.
        self.restore_test_interval = timedelta(seconds=number("BACKUP_DRILL_INTERVAL_SECONDS", 604800, 0))
        # Who is told of each success and failure, "" for nobody. It may stand in a file instead: it often holds a
        # token, and a container's variables are no secret.
        self.hook_url = text("BACKUP_HOOK_URL")
        self.hook_url_file = text("BACKUP_HOOK_URL_FILE")


class App:
    """What every command gets. `cleanup` runs once the answer is told, the last entry first."""

    def __init__(self, settings: Settings, report: Reporter, caller: Caller) -> None:
        self.settings, self.report, self.caller = settings, report, caller
        self.catalog = Catalog(settings.folder, settings.database)
        self.cleanup = ExitStack()

    def choose(self, named: str, *, force: bool = False) -> Path:
        """Return the path of a dump: of `latest`, of a name among the backups, or a path as it is. Raise Problem.

        `latest` is refused after a collapse (see retention.py) unless forced.
        """
        folder, now = self.settings.folder, datetime.now(UTC)
        if named != LATEST:
            return folder / named if named and "/" not in named else Path(named)
        backups = [each for each in self.catalog.entries() if each.is_backup]
        found = newest([each for each in backups if each.is_generation], now)
        if not found:
            fix = "name the dump you mean: `invoke db-backups` lists them, verified or not"
            raise refuse(f"there is no verified backup of {self.settings.database} in {folder}", fix)
        for each in backups:
            if each.is_ahead(now):
                self.report.message(f"{each.name} is from the future: a clock ran ahead when it was made")
            elif each.created > found.created and each.manifest:
                self.report.message(
                    f"{each.name} is passed over, not restorable: {each.manifest.not_restorable}"
                )
        collapse = find_collapse(backups, now, self.settings.collapse_percent)
        if collapse and not force:
            raise refuse(str(collapse), f"say --dump={collapse.good.name} (the last good one), or --force")
        return Path(found.path)

    @property
    def application(self) -> Server:
        """The server as the application's role, which owns the database.

        What the application may have been made to store (a function in a constraint, a cast) runs as whoever loads
        or reads it: rows are loaded and looked into as this role, never as the superuser.
        """
        from wepp_backup.server import Server

        return Server(self.settings.host, self.settings.port, self.settings.user, self.settings.passfile)

    @cached_property
    def server(self) -> Server:
        """The server as its superuser; as the application's role where the superuser is not ours.

        That is so on a volume of the time before there was one, and at a server that others run. Raise Problem when
        nobody answers.
        """
        from dataclasses import replace

        from wepp_backup.server import maintenance, refuses_login

        if not self.settings.superuser:
            return self.application
        superuser = replace(self.application, user=self.settings.superuser)
        try:
            superuser.connect(maintenance(self.settings.database)).close()
        except Problem as problem:
            if refuses_login(problem):
                return self.application
            raise
        return superuser
