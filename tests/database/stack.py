"""The part of a stack that database tests need, and questions to its database that go past the product's own code."""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.database.programs import programs
from tests.engine.stack import Command, Stack

SERVICES = ("postgres", "redis", "weppcloud", "postgres-backup")
# Rows and contents of every table and filled materialised view, where each sequence stands, large objects,
# asked by psql alone.
CONTENT = r"""
SET extra_float_digits = 1; SET timezone = 'UTC'; SET bytea_output = 'hex';
SELECT format('SELECT %L, count(*), coalesce(sum(hashtextextended(t::text COLLATE "C", 0)), 0) FROM ONLY %I.%I t',
              n.nspname || '.' || c.relname, n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE (c.relkind = 'r' OR c.relkind = 'm' AND c.relispopulated) AND n.nspname !~ '^pg_'
  AND n.nspname <> 'information_schema'
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C" \gexec
SELECT format('SELECT %L, last_value, is_called FROM %I.%I', c.relname, n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S'
ORDER BY c.relname COLLATE "C" \gexec
SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY 1;
"""
# What belongs to a database but stands outside it: owner, limit, settings, rights.
BELONGINGS = """
SELECT pg_get_userbyid(datdba), datconnlimit FROM pg_database WHERE datname = current_database();
SELECT coalesce(r.rolname, 'everybody'), unnest(setconfig)
FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole
WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1, 2;
SELECT coalesce(r.rolname, 'everybody'), a.privilege_type, a.is_grantable
FROM pg_database d, aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE d.datname = current_database() ORDER BY 1, 2;
"""
READY_SECONDS = 90.0
# The health check of the Python services.
HEALTH = ("/opt/venv/bin/python", "-I", "-S", "/opt/stack/http-health.py")
# What the sidecar keeps among the backups for itself.
SIDECARS_OWN = (
    ".lock", ".last-attempt.json", ".last-attempt-by-hand.json", ".last-drill.json", ".drill-try.json",
)  # fmt: skip


@dataclass
class LightStack(Stack):
    """Web application, stores and backup sidecar, driven by `invoke`."""

    services: tuple[str, ...] = SERVICES

    # ---- tasks ----

    def task(self, *arguments: str, timeout: float = 300) -> Command:
        """Runs a task to its end, whatever its status."""
        return self.invoke(*arguments, check=False, timeout=timeout)

    def must(self, *arguments: str, timeout: float = 300) -> str:
        """Runs a task that has to succeed; its standard output."""
        return self.invoke(*arguments, timeout=timeout).stdout

    # ---- containers ----

    def docker(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Runs `docker`; its standard output."""
        done = subprocess.run(
            ["docker", *arguments], input=stdin, capture_output=True, text=True, timeout=300, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"docker {arguments} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def inspect(self) -> list[dict[str, Any]]:
        """All containers of the project."""
        ids = self.docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={self.name}").split()
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", *ids, check=False)) if ids else []
        return found

    def container(self, service: str) -> str:
        """Name of a service's container."""
        return f"{self.name}-{service}" if service == "postgres" else f"{self.name}-{service}-1"

    def in_sidecar(self, *command: str, stdin: str | None = None, check: bool = True) -> str:
        """Runs a command in the backup sidecar."""
        return self.docker(
            "exec", "-i", self.container("postgres-backup"), *command, stdin=stdin, check=check
        )

    @property
    def backups(self) -> Path:
        """The folder of backups on the host."""
        return self.env_file.parent / "postgres-backups"

    @property
    def state_files(self) -> list[Path]:
        """What tasks write down while something has to be finished: by themselves, or by the next one."""
        state = self.env_file.parent / "stopped-writers"
        return [state] if state.exists() else []

    def started(self) -> dict[str, str]:
        """When each container of a service was started; equal answers mean that none was stopped in between."""
        return {
            each["Name"].lstrip("/"): each["State"]["StartedAt"]
            for each in self.inspect()
            if each["Config"]["Labels"].get("com.docker.compose.oneoff") != "True"
        }

    def one_offs(self) -> list[str]:
        """Containers that some task left behind."""
        return [
            each["Name"].lstrip("/")
            for each in self.inspect()
            if each["Config"]["Labels"].get("com.docker.compose.oneoff") == "True"
        ]

    def programs(self) -> list[str]:
        """What tasks run in the backup sidecar now."""
        return programs(self.container("postgres-backup"))

    def down(self) -> list[str]:
        """What of the services does not run, or does not answer, right now."""
        state = {
            each["Config"]["Labels"]["com.docker.compose.service"]: each["State"]["Status"]
            for each in self.inspect()
            if each["Config"]["Labels"].get("com.docker.compose.oneoff") != "True"
        }
        idle = [name for name in self.services if state.get(name) != "running"]
        return idle or ([] if self.serves() else ["weppcloud does not answer"])

    def serves(self) -> bool:
        """True when the web application answers, which it does when database and Redis answer it."""
        probe = ["docker", "exec", self.container("weppcloud"), *HEALTH, "http://127.0.0.1:8000/health"]
        return subprocess.run(probe, capture_output=True, timeout=60, check=False).returncode == 0

    def wait_until_idle(self, seconds: float = READY_SECONDS) -> None:
        """Returns when nothing is under way, no helper container is left and all services answer."""
        deadline = time.monotonic() + seconds
        while True:
            missing = [
                *(f"{each.name} is there" for each in self.state_files),
                *(f"{name} is left" for name in (*self.one_offs(), *self.programs())),
                *self.down(),
            ]
            if not missing:
                return
            assert time.monotonic() < deadline, f"after {seconds:g} s: {', '.join(missing)}"
            time.sleep(0.2)

    # ---- database ----

    def psql(self, sql: str, database: str = "", *, check: bool = True) -> str:
        """Asks the database over its own socket, as the superuser; rows as lines, columns separated by `|`."""
        command = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database or "wepppy"]
        return self.docker("exec", "-i", self.container("postgres"), *command, stdin=sql, check=check)

    def content(self, database: str = "") -> str:
        """Rows and hash of every table, state of every sequence, large objects: equal texts are equal databases."""
        return self.psql(CONTENT, database)

    def definitions(self, database: str = "") -> str:
        """What is defined in the database, as pg_dump writes it."""
        command = ["pg_dump", "-U", "postgres", "--schema-only", database or "wepppy"]
        return statements(self.docker("exec", self.container("postgres"), *command))

    def everything(self, database: str = "") -> str:
        """What the database holds, what is defined in it and what belongs to it."""
        inside = self.content(database) + self.definitions(database)
        return inside + self.psql(BELONGINGS, database)

    def databases(self) -> list[str]:
        """Names of all databases of people."""
        sql = "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres' ORDER BY 1"
        return self.psql(sql, "postgres").split()

    def roles(self) -> list[str]:
        """Names of all roles that are not the server's own."""
        return self.psql(
            "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1", "postgres"
        ).split()

    def drop_kept(self) -> None:
        """Drops what restores kept; tests make dozens."""
        for name in self.databases():
            if "_before_" in name:
                self.psql(f'DROP DATABASE "{name}" WITH (FORCE)', "postgres")

    def left_behind(self) -> list[str]:
        """Everything that a task should have taken away: databases, containers, programs, temporary files, state."""
        # A backup of the schedule's own has a temporary file; it holds this lock meanwhile.
        with (self.backups / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            hidden = [each.name for each in self.backups.glob(".*") if each.name not in SIDECARS_OWN]
        return [
            *(name for name in self.databases() if "_incoming_" in name),
            *self.one_offs(),
            *self.programs(),
            *hidden,
            *(each.name for each in self.state_files),
        ]

    def dump(self, name: str, *options: str) -> Path:
        """A dump made with Postgres' own program, its checksum beside it as sha256sum writes it."""
        options = options or ("-Fc", "-Z", "zstd:1")
        self.in_sidecar("pg_dump", "-U", "postgres", *options, "-f", f"/backups/{name}")
        if (self.backups / name).is_file():
            sums = self.in_sidecar("sh", "-c", 'cd /backups && sha256sum "$1"', "sh", name)
            (self.backups / f"{name}.sha256").write_text(sums)
        return self.backups / name


def statements(dump: str) -> str:
    """A dump as SQL without remarks, blank lines and the words that differ between any two (CVE-2025-8714)."""
    kept = (line for line in dump.splitlines() if line and not re.match(r"--|\\(un)?restrict", line))
    return "".join(f"{line}\n" for line in kept)
