"""The stack that databases move into, as far as moves need it, and what it holds as psql alone tells."""

from __future__ import annotations

import re
import time
from pathlib import Path

from tests.database.migrate.bare import BareServer, docker, quoted
from tests.database.programs import programs
from tests.database.running import Running
from tests.database.stack import CONTENT, statements
from tests.engine.stack import Stack

SERVICES = "postgres,postgres-backup"
END_SECONDS = 120.0
# 1 at a source that a live move has closed.
READ_ONLY = "SELECT count(*) FROM pg_db_role_setting, unnest(setconfig) c WHERE c = 'default_transaction_read_only=on'"
# When one of these is told, the switchover may be over before whoever heard of it kills something.
MAY_BE_MOVED = ("comparing", "following", "switching over")


class Target(Stack):
    """A stack of database and backup service."""

    def psql(self, sql: str, database: str = "wepppy", *, check: bool = True) -> str:
        """Asks the database over its own socket; rows as lines, columns separated by `|`."""
        command = [
            "exec",
            "-i",
            f"{self.name}-postgres",
            "psql",
            "-XqAt",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
        ]
        return docker(*command, "-d", database, stdin=sql, check=check)

    def content(self) -> str:
        """What the live database holds: equal texts are equal contents."""
        return self.psql(CONTENT)

    def definitions(self) -> list[str]:
        """What is defined in the live database, as pg_dump writes it."""
        command = ["exec", f"{self.name}-postgres", "pg_dump", "-U", "postgres", "--schema-only", "wepppy"]
        return comparable(docker(*command))

    def definitions_of(self, server: BareServer, database: str) -> list[str]:
        """The same of a bare server's database, by the same pg_dump."""
        return comparable(server.definitions(database, self.image))

    @property
    def sidecar(self) -> str:
        """Name of the container of the backup service."""
        return f"{self.name}-postgres-backup-1"

    @property
    def port(self) -> str:
        """The port of this machine that the database is published on."""
        return docker("port", f"{self.name}-postgres", "5432/tcp").split()[0].rpartition(":")[2]

    @property
    def image(self) -> str:
        """The image of the server."""
        return docker("inspect", "--format", "{{.Image}}", f"{self.name}-postgres").strip()

    def names(self) -> tuple[list[str], list[str]]:
        """Databases and roles, without those that the stack's server has by itself."""
        databases = (
            "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres' ORDER BY 1"
        )
        roles = "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' AND rolname <> 'postgres' ORDER BY 1"
        return self.psql(databases, "postgres").splitlines(), self.psql(roles, "postgres").splitlines()

    def reset(self) -> None:
        """An empty database with one table, and no role but the stack's own."""
        databases, roles = self.names()
        for name in databases:
            self.psql(f"DROP DATABASE {quoted(name)} WITH (FORCE)", "postgres")
        for name in roles:
            if name != "wepppy":
                self.psql(f"DROP ROLE {quoted(name)}", "postgres")
        self.psql("CREATE DATABASE wepppy OWNER wepppy", "postgres")
        self.psql("CREATE TABLE before (id int PRIMARY KEY); INSERT INTO before VALUES (1)")

    @property
    def report_folder(self) -> Path:
        """Where the reports of moves are."""
        return self.env_file.parent / "moves"

    def leftovers(self) -> list[str]:
        """What a move should have taken away, apart from databases and roles."""
        oneoff = ["--filter", "label=com.docker.compose.oneoff=True", "--format", "{{.Names}}"]
        mine = docker(
            "ps", "--all", "--filter", f"label=com.docker.compose.project={self.name}", *oneoff
        ).split()
        mine += programs(self.sidecar)
        there = docker("exec", f"{self.name}-postgres", "ls", "-A", "/tmp").split()
        in_memory = docker("exec", f"{self.name}-postgres", "ls", "-A", "/dev/shm").split()
        mine += [each for each in in_memory if each.startswith("wepp-")]
        return mine + [each for each in there if each not in (".s.PGSQL.5432", ".s.PGSQL.5432.lock")]

    def wait_until_clean(self, source: BareServer) -> None:
        """Returns when nothing of a move is left on either side."""
        deadline = time.monotonic() + END_SECONDS
        while left := [*self.leftovers(), *source.leftovers().split(), *self.scratch()]:
            assert time.monotonic() < deadline, f"left behind: {left}"
            time.sleep(0.3)

    def scratch(self) -> list[str]:
        """Databases that are neither live nor kept."""
        return [name for name in self.names()[0] if name != "wepppy" and "_before_" not in name]


def open_again(source: BareServer, database: str) -> None:
    """Opens a source that a live move has closed, as it was told to."""
    schemas = source.psql("SELECT nspname FROM pg_namespace WHERE nspname ~ '^wepp_move'", database).split()
    for name in schemas:
        opening = f"DROP SCHEMA {name} CASCADE; ALTER DATABASE {database} RESET default_transaction_read_only"
        source.psql(f"BEGIN READ WRITE; {opening}; COMMIT", database)


def comparable(dump: str) -> list[str]:
    """The statements of a dump without what differs between majors.

    Up to 15 a view's columns are told with their table, since 16 only where it is needed.
    """
    return re.sub(r"\b(run|flow|flow_by_day)\.", "", statements(dump)).splitlines()


class Moving(Running):
    """`bare-metal-migrate` under way."""

    def __init__(self, target: Target, *arguments: str, **variables: str) -> None:
        super().__init__(target, "bare-metal-migrate", *arguments, **variables)


def flags(server: BareServer, database: str, way: str, **changes: str) -> list[str]:
    """The source's flags for one way in (peer, trust or password), some of them changed."""
    named = {"port": str(server.port), "dbname": database, "service": ""}
    if way == "password":
        named |= {"host": "127.0.0.1", "user": "keyed", "password-file": str(server.password_file)}
    else:
        named |= {"socket-dir": str(server.sockets), "user": "nobody" if way == "peer" else "open"}
    return [f"--{flag}={value}" for flag, value in {**named, **changes}.items()]
