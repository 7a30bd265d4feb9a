"""A server that systemd looks after, as on machines of the distribution: its own systemd and its own units, in a
container on the host's network. A task reaches that systemd by the `systemctl` of a folder that is in its PATH."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

from scripts.base.host import free_port_numbers
from tests.database.migrate.bare import PASSWORD, HostServer, build_image, docker

IMAGE = "wepp-checks-managed:dev"
# Debian's: the handle, and the server that is part of it.
HANDLE, SERVER = "postgresql.service", "postgresql@15-main.service"
SETTINGS = "/etc/postgresql/15/main/conf.d"
START_SECONDS = 60.0
SYSTEMCTL = """#!/bin/sh
exec docker exec {name} systemctl "$@"
"""
# Where the tests do not run as root: the unit's systemd asks for no password.
SUDO = """#!/bin/sh
[ "$1" != -n ] || shift
exec "$@"
"""


@dataclass
class ManagedServer(HostServer):
    """PostgreSQL 15 and its systemd. The server is down at first."""

    port: int = field(default_factory=lambda: int(free_port_numbers(1)[0]))

    def __post_init__(self) -> None:
        build_image("managed", IMAGE)
        shown = self.prepare("managed")
        self.programs = self.folder / "bin"
        self.programs.mkdir()
        for program, text in (("systemctl", SYSTEMCTL), ("sudo", SUDO)):
            (self.programs / program).write_text(text.format(name=self.name))
            (self.programs / program).chmod(0o755)
        docker(
            "run", "--detach", "--name", self.name, "--network", "host", "--cgroupns", "private",
            "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
            "--tmpfs", "/run:mode=755", "--tmpfs", "/run/lock", "--env", "container=docker",
            "--volume", f"{self.sockets}:/sockets", "--volume", f"{shown}:/password:ro",
            IMAGE, str(self.port), "/sockets",
        )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while self.systemctl("is-system-running", check=False) not in ("running", "degraded"):
            assert time.monotonic() < deadline, docker("logs", self.name)
            time.sleep(0.2)

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        """What its systemd answers."""
        return self.run("systemctl", *arguments, check=check).strip()

    def state(self) -> tuple[str, str]:
        """Of the handle and of the server: `active`, `inactive`, `failed`."""
        handle, server = self.systemctl("is-active", HANDLE, SERVER, check=False).split()
        return handle, server

    def set_state(self, handle: str, server: str) -> None:
        """Has both as said: `active` or `inactive`."""
        self.systemctl("start" if handle == "active" else "stop", HANDLE)
        self.systemctl("start" if server == "active" else "stop", SERVER)
        self.systemctl("reset-failed")
        assert self.state() == (handle, server)

    def answers(self) -> bool:
        """True when somebody can log in."""
        return self.psql("SELECT 1", check=False) == "1\n"

    def psql(self, sql: str, database: str = "postgres", *, check: bool = True) -> str:
        """Asks the server as its superuser; rows as lines, columns separated by `|`."""
        command = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", "/sockets", "-p", str(self.port)]
        login = ["--user", "postgres", "--interactive", self.name]
        return docker("exec", *login, *command, "-d", database, stdin=sql, check=check)

    def run(self, *command: str, check: bool = True) -> str:
        """Runs a command as the machine's administrator."""
        return docker("exec", self.name, *command, check=check)

    def give_password(self) -> None:
        """The role that comes by password has it."""
        password = PASSWORD.replace("'", "''")
        self.psql(f"ALTER ROLE keyed PASSWORD '{password}'")

    def set_broken(self, broken: bool) -> None:
        """Gives it a setting that no server starts with, or takes it away."""
        statement = (
            f"echo 'shared_buffers = nonsense' >{SETTINGS}/broken.conf"
            if broken
            else f"rm -f {SETTINGS}/broken.conf"
        )
        self.run("bash", "-c", statement)

    @property
    def path(self) -> str:
        """The PATH with which a task meets this systemd."""
        return f"{self.programs}:{os.environ['PATH']}"
