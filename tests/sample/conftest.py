"""Real Redis and Postgres servers for the tests of the sample tree, each on a free port."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient

SAMPLE_TREE = Path(__file__).resolve().parents[2] / "docker" / "sample"
sys.path.insert(0, str(SAMPLE_TREE))
os.environ.setdefault("PYTHONPATH", str(SAMPLE_TREE))
# Nothing here is about speed, and a machine may stall.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

PASSWORD = "p@ss/w:rd %1"  # needs percent-encoding on purpose


def find_program(name: str) -> str:
    """Return the path of a server program: from PATH, else from Debian's newest Postgres folder."""
    found = shutil.which(name)
    if found:
        return found
    candidates = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]), reverse=True
    )
    if not candidates:
        pytest.fail(f"the tests of the sample tree need {name}; install redis-server and postgresql")
    return str(candidates[0])


def free_port() -> int:
    """Return a free TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], what: str, attempts: int = 300) -> None:
    """Poll until `condition` holds (up to about 30 s), else fail naming what never happened."""
    pause = threading.Event()
    for _ in range(attempts):
        if condition():
            return
        pause.wait(0.1)
    pytest.fail(f"{what} did not happen")


@dataclass
class RedisServer:
    """One redis-server with a password, keyspace events and an append-only file, as in the stack."""

    folder: Path
    port: int
    host: str = "127.0.0.1"
    password: str = PASSWORD
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def env(self) -> dict[str, str]:
        """The variables a service needs to reach this server."""
        return {"REDIS_HOST": self.host, "REDIS_PORT": str(self.port), "REDIS_PASSWORD": self.password}

    def url(self, db: int) -> str:
        """Return the URL of one database."""
        return f"redis://:{quote(self.password, safe='')}@{self.host}:{self.port}/{db}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        import redis

        settings = self.folder / "redis.conf"
        settings.write_text(
            f'port {self.port}\nbind {self.host}\ndir {self.folder}\nrequirepass "{self.password}"\n'
            'notify-keyspace-events Kh\nappendonly yes\nappendfsync always\nsave ""\ndaemonize no\n'
        )
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [find_program("redis-server"), str(settings)], stdout=log, stderr=subprocess.STDOUT
            )

        def answers() -> bool:
            try:
                with redis.Redis(host=self.host, port=self.port, password=self.password) as client:
                    return bool(client.ping())
            except redis.RedisError:
                return False

        wait_until(answers, "redis-server answering")

    def stop(self) -> None:
        """Stop the server; its data stays."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=30)
            self.process = None


@dataclass
class PostgresServer:
    """One Postgres cluster with the role and database that the stack uses."""

    folder: Path
    port: int
    host: str = "127.0.0.1"
    user: str = "wepppy"
    password: str = PASSWORD
    database: str = "wepppy"

    @property
    def env(self) -> dict[str, str]:
        """The variables a service needs to reach this server."""
        return {
            "POSTGRES_HOST": self.host,
            "POSTGRES_PORT": str(self.port),
            "POSTGRES_USER": self.user,
            "POSTGRES_DB": self.database,
            "POSTGRES_PASSWORD": self.password,
        }

    @property
    def url(self) -> str:
        """The libpq URL of the default database."""
        password = quote(self.password, safe="")
        return f"postgresql://{self.user}:{password}@{self.host}:{self.port}/{self.database}"

    def create(self) -> None:
        """Initialise the cluster, start it and make the empty database."""
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        if os.geteuid() == 0:
            for path in (self.folder, password_file):
                shutil.chown(path, "postgres")
        initdb = [find_program("initdb"), "-D", str(self.folder / "data"), "-U", self.user]
        self._run(
            [*initdb, "-A", "scram-sha-256", f"--pwfile={password_file}", "-E", "UTF8", "--no-locale", "-N"]
        )
        self.start()
        self.new_database(self.database)

    def start(self) -> None:
        """Start the cluster and wait until it accepts connections."""
        options = f"-p {self.port} -c listen_addresses={self.host} -c unix_socket_directories= -c fsync=off"
        self._control("start", "-w", "-l", str(self.folder / "postgres.log"), "-o", options)

    def stop(self) -> None:
        """Stop the cluster, ending open sessions; its data stays."""
        self._control("stop", "-w", "-m", "fast")

    def new_database(self, name: str) -> None:
        """Make an empty database, dropping one of the same name."""
        import psycopg

        with contextlib.closing(
            psycopg.connect(
                host=self.host, port=self.port, user=self.user, password=self.password, dbname="postgres"
            )
        ) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
                cursor.execute(f'CREATE DATABASE "{name}"')

    def _control(self, *arguments: str) -> None:
        self._run([find_program("pg_ctl"), "-D", str(self.folder / "data"), *arguments])

    def _run(self, command: list[str]) -> None:
        # Postgres refuses to run as root, so the test run of a container's root hands over to its own user.
        user = (
            ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        )
        result = subprocess.run(
            [*user, *command], cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
        )
        if result.returncode:
            pytest.fail(f"{command[0]}: {result.stderr.decode()}")


@pytest.fixture(scope="session")
def _server_folder() -> Iterator[Path]:
    # Not pytest's own temporary folder: that one is closed to other users, and Postgres runs as another.
    folder = Path(tempfile.mkdtemp(prefix="sample-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_server(_server_folder: Path) -> Iterator[RedisServer]:
    """A running Redis for the whole test session."""
    folder = _server_folder / "redis"
    folder.mkdir()
    server = RedisServer(folder, free_port())
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_server(_server_folder: Path) -> Iterator[PostgresServer]:
    """A running Postgres with one empty database for the whole test session."""
    folder = _server_folder / "postgres"
    folder.mkdir()
    server = PostgresServer(folder, free_port())
    server.create()
    yield server
    server.stop()


@pytest.fixture
def redis_env(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> RedisServer:
    """Point this process at an emptied Redis."""
    import redis

    for name in ("REDIS_URL", "RQ_REDIS_URL", "SESSION_REDIS_URL", "REDIS_PASSWORD_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in redis_server.env.items():
        monkeypatch.setenv(name, value)
    with redis.Redis.from_url(redis_server.url(0)) as client:
        client.flushall()
    return redis_server


@pytest.fixture
def postgres_env(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> PostgresServer:
    """Point this process at a Postgres whose database is empty again."""
    for name in ("SQLALCHEMY_DATABASE_URI", "DATABASE_URL", "POSTGRES_PASSWORD_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in postgres_server.env.items():
        monkeypatch.setenv(name, value)
    postgres_server.new_database(postgres_server.database)
    return postgres_server


@pytest.fixture
def data_env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give this process its own runs volume (`<path>/wc1`) and geodata (`<path>/geodata`)."""
    for name in ("wc1", "geodata"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"{name.upper()}_DIR", str(tmp_path / name))
    return tmp_path


SITE_SECRETS = {
    "SECRET_KEY": "key of the tests",
    "SECURITY_PASSWORD_SALT": "salt",
    "ADMIN_PASSWORD": PASSWORD,
}


@pytest.fixture
def site_env(
    redis_env: RedisServer, postgres_env: PostgresServer, data_env: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Give this process all that the web application needs; return the variables for processes of its own."""
    from wepppy.sample_data import FORMAT

    for name, value in SITE_SECRETS.items():
        monkeypatch.delenv(f"{name}_FILE", raising=False)
        monkeypatch.setenv(name, value)
    marker = {"format": FORMAT, "seed": 1, "files": {}, "run_extent": [-116.9, 46.7, -116.7, 46.9]}
    (data_env / "geodata" / "sample-data.json").write_text(json.dumps(marker))
    return dict(os.environ)


@pytest.fixture
def site(site_env: dict[str, str]) -> Iterator[Flask]:
    """The web application on a database that was just upgraded from nothing."""
    import flask_migrate
    from wepppy.weppcloud.app import create_app
    from wepppy.weppcloud.models import db

    app = create_app()
    app.testing = False  # failures must be answered as they are in service
    with app.app_context():
        flask_migrate.upgrade()
    # Outside of the context: requests would share it, and with it who is logged in.
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def owner(site: Flask) -> FlaskClient:
    """A browser in which owner@example.org is logged in."""
    return logged_in(site, "owner@example.org")


def logged_in(site: Flask, email: str) -> FlaskClient:
    """Make an account and return a browser in which it is logged in."""
    from test_weppcloud_accounts import log_in
    from test_weppcloud_runs import add_user

    add_user(site, email)
    client = site.test_client()
    assert log_in(client, "secret", email) == 200
    return client


@pytest.fixture(scope="module")
def elevation_volumes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A runs volume with one public run, `sample-run`, and an empty geodata volume."""
    from rasters import elevations, write_raster

    folder = tmp_path_factory.mktemp("volumes")
    run = folder / "wc1/runs/sa/sample-run"
    write_raster(run / "dem/dem.tif", elevations())
    _make_public_run(run)
    (folder / "geodata").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WC1_DIR", str(folder / "wc1"))
        patch.setenv("GEODATA_DIR", str(folder / "geodata"))
        yield folder


@pytest.fixture
def elevation_run(elevation_volumes: Path, request: pytest.FixtureRequest) -> Path:
    """The directory of another public run, still without a terrain model."""
    folder = elevation_volumes / "wc1/runs/ne" / f"new-{abs(hash(request.node.name))}"
    folder.mkdir(parents=True)
    _make_public_run(folder)
    return folder


def _make_public_run(folder: Path) -> None:
    (folder / "ron.nodb").write_text("{}")
    (folder / "PUBLIC").touch()


def subscribed_runs() -> list[str]:
    """The runs that browsers want to hear of, those that are gone among them."""
    from wepppy.microservices import webpush_store

    return [
        runid for (runid,) in webpush_store._execute("SELECT runid FROM webpush_subscription ORDER BY id")
    ]
