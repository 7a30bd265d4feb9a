"""The database server as the operators' plan writes it down: the image with its stock settings and a volume.

What this stack's own server is set to (docker/postgres/wepppy.conf) is part of what is measured, so the plan's commands
are timed on a server without it; and once more on the stack's own, to show what the settings alone are worth.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.bench import stopwatch
from tests.engine.stack import ROOT

START_SECONDS = 60.0


def docker(*arguments: str) -> str:
    """Run `docker`; its standard output. Ends the program when it fails."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"docker {arguments}: {done.stderr[-2000:]}")
    return done.stdout


@dataclass
class PlanServer:
    """One server in a container of that name, with the plan's names of database and role."""

    name: str

    def psql(self, *statements: str, database: str = "wepppy") -> None:
        """Run statements, each by itself."""
        flags = [word for statement in statements for word in ("-c", statement)]
        docker(
            "exec", self.name, "psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-U", "wepppy", "-d", database, *flags
        )

    def load(self, dump: str) -> None:
        """Fill its empty database from a dump on this machine, in no particular time, and leave it at rest."""
        docker("cp", dump, f"{self.name}:/tmp/first.dump")
        self.in_it("pg_restore", "--no-owner", "-j2", "-U", "wepppy", "-d", "wepppy", "/tmp/first.dump")
        self.remove("/tmp/first.dump")
        self.psql(*stopwatch.REST)

    def compose_exec(self, *command: str) -> None:
        """Run a command in it as the operators do, by the development file and its service's name."""
        file = ["--env-file", f"{ROOT}/.env.example", "--file", f"{ROOT}/docker/docker-compose.dev.yml"]
        docker("compose", "--project-name", self.name, *file, "exec", "-T", "postgres", *command)

    def in_it(self, *command: str) -> None:
        """Run a command in its container."""
        docker("exec", self.name, *command)

    def remove(self, path: str) -> None:
        """Remove a file that `docker cp` put into its container."""
        docker("exec", "--user", "0", self.name, "rm", path)


@contextmanager
def plan_server(stack: str) -> Iterator[PlanServer]:
    """A server from the stack's own image, with nothing but name and password told to it; removed afterwards."""
    server = PlanServer(f"{stack}-plan")
    told = ["POSTGRES_DB=wepppy", "POSTGRES_USER=wepppy", "POSTGRES_PASSWORD=change_me"]
    # By which Compose finds the container of a service.
    marks = {
        "project": server.name,
        "service": "postgres",
        "oneoff": "False",
        "container-number": "1",
        "config-hash": "-",
    }
    labels = [f"--label=com.docker.compose.{name}={value}" for name, value in marks.items()]
    docker(
        "run", "--detach", "--name", server.name, "--volume", "/var/lib/postgresql/data", *labels,
        *(f"--env={each}" for each in told), f"{stack}-postgres:dev",
    )  # fmt: skip
    try:
        deadline = time.monotonic() + START_SECONDS
        ready = ["docker", "exec", server.name, "pg_isready", "-q", "-h", "127.0.0.1"]
        while subprocess.run(ready, capture_output=True, check=False).returncode:
            if time.monotonic() > deadline:
                raise SystemExit(docker("logs", server.name))
            time.sleep(0.2)
        yield server
    finally:
        docker("rm", "--force", "--volumes", server.name)
