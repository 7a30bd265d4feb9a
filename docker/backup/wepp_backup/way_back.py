"""The way by which the stack's server reaches the source of a live migration.

socat forwards a socket in a folder that the server sees to where the source listens. A password goes into a file that
only the server's own account may read, in memory, for as long as the subscription lasts: a connection string would be
on show in pg_subscription, and in the log should it fail. The server's shell writes the file; its content is a
parameter of a session that logs nothing, never part of a statement.
"""

from __future__ import annotations

import base64
import re
import time
from contextlib import suppress
from pathlib import Path

import psycopg

from wepp_backup import programs
from wepp_backup.events import Problem, fail
from wepp_backup.server import Session, execute, value
from wepp_backup.staging import Lock

# In the server's container. {} is the cluster's own number: another server there has ways of its own.
PASSFILES = "/dev/shm/wepp-way-back-{}-"  # noqa: S108
CLUSTER = "SELECT system_identifier FROM pg_control_system()"
QUIET = "SET log_statement = none; SET log_min_duration_statement = -1; SET log_min_error_statement = panic"
START_SECONDS = 10.0


class WayBack:
    """The way for one migration. folder: of the socket, as we see it; folder_of_server: as the stack's server does."""

    def __init__(self, lock: Lock, folder: Path, folder_of_server: str) -> None:
        self.lock, self.folder_of_server = lock, folder_of_server
        number = time.time_ns() // 1_000_000
        self.passfiles = PASSFILES.format(value(lock.session, CLUSTER))
        self.port, self.passfile = 10_000 + number % 50_000, f"{self.passfiles}{number}"
        self.socket = folder / f".s.PGSQL.{self.port}"
        self._child: programs.Child | None = None

    def sweep(self) -> None:
        """Remove every way, whose migrations are over: whoever holds the lock is alone. Raise Problem."""
        for left in self.socket.parent.glob(".s.PGSQL." + 5 * "[0-9]"):
            with suppress(OSError):  # another account's stays, and does no harm
                left.unlink()
        self._run(f"cat >/dev/null; rm -f {self.passfiles}*")

    def open(self, source: Session, passfile: str) -> str:
        """Open a way to the database that `source` is a session in; return its connection string there. Raise Problem.

        passfile: that the session has its password from.
        """
        about = source.info
        address = f"[{about.hostaddr}]" if ":" in about.hostaddr else about.hostaddr
        there = f"TCP:{address}:{about.port},nodelay"
        if about.host.startswith("/"):
            there = f"UNIX-CONNECT:{_escaped(f'{about.host}/.s.PGSQL.{about.port}')}"
        here = f"UNIX-LISTEN:{_escaped(str(self.socket))},fork,mode=777,unlink-early"
        self._child = programs.start(["socat", here, there])
        until = time.monotonic() + START_SECONDS
        while not self.socket.exists():
            if self._child.poll() is not None or time.monotonic() > until:
                raise fail(
                    f"socat makes no socket at {self.socket}", "see whether that folder can be written to"
                )
            time.sleep(0.01)
        if about.password:
            self._run(f"umask 077; base64 -d >{self.passfile}", Path(passfile).read_text(encoding="utf-8"))
        return psycopg.conninfo.make_conninfo(
            host=self.folder_of_server, port=self.port, user=about.user, dbname=about.dbname, passfile=self.passfile
        )  # fmt: skip

    def close(self) -> None:
        """End it. To be called once nobody uses it."""
        if self._child:
            programs.stop(self._child)
            with suppress(psycopg.Error, Problem):
                self.sweep()

    def _run(self, command: str, text: str = "") -> None:
        """Run a command of the server's shell with the text, in base64, as its input."""
        with self.lock.server.connect(self.lock.session.info.dbname) as session:
            execute(session, QUIET)
            value(
                session,
                "SELECT set_config('wepp.text', %s, false)",
                [base64.b64encode(text.encode()).decode()],
            )
            execute(session, f"COPY (SELECT current_setting('wepp.text')) TO PROGRAM '{command}'")


def _escaped(path: str) -> str:
    """Return a path for an address of socat's, where some characters mean something."""
    return re.sub(r"([\\,:!\"'(){}\[\]])", r"\\\1", path)
