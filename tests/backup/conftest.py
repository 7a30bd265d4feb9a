"""A PostgreSQL server of the tests' own, in the image of the backup service: `nox -s backup`."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from wepp_backup.app import Settings
from wepp_backup.catalog import Catalog
from wepp_backup.events import Reporter
from wepp_backup.server import Server, Session, column, execute, quote, value
from wepp_backup.staging import Lock, remove_leftovers, take_lock

from tests.backup.backing_up import CONTENTS
from tests.backup.scene import Scene

DATABASE = "wepppy"
SOURCE = "moving"  # what is moved live


def start(folder: Path, **settings: str) -> Server:
    """Start the server of a folder, reached through a socket there; a new folder gets a new cluster."""
    data = folder / "data"
    if not data.exists():
        subprocess.run(
            ["initdb", "--pgdata", data, "--username", "wepppy", "--encoding", "UTF8", "--locale", "C.UTF-8",
             "--auth", "trust", "--no-sync", "--data-checksums"],
            check=True, capture_output=True,
        )  # fmt: skip
    chosen = {"listen_addresses": "", "unix_socket_directories": str(folder), "wal_level": "logical",
              "fsync": "off", **settings}  # fmt: skip
    options = [part for name, value in chosen.items() for part in ("-c", f"{name}={value}")]
    subprocess.run(
        ["pg_ctl", "start", "--wait", "--silent", "--pgdata", data, "--log", folder / "log",
         "--options", subprocess.list2cmdline(options)],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return Server(str(folder), "5432", "wepppy")


def stop(folder: Path) -> None:
    """Stop the server of the folder at once."""
    subprocess.run(
        ["pg_ctl", "stop", "--mode", "immediate", "--silent", "--pgdata", folder / "data"], check=False
    )


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that all tests share."""
    folder = tmp_path_factory.mktemp("server")
    yield start(folder)
    stop(folder)


@pytest.fixture
def live(server: Server) -> Iterator[Session]:
    """A session in a fresh database `wepppy`; no other database of an earlier test is there."""
    with server.connect("postgres") as session:
        names = session.execute(
            "SELECT datname::text FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1')"
        ).fetchall()
        for (name,) in names:
            execute(session, f"DROP DATABASE {quote(name)} WITH (FORCE)")
        execute(session, f"CREATE DATABASE {DATABASE} TEMPLATE template0")
    with server.connect(DATABASE) as session:
        yield session


@pytest.fixture
def report() -> Reporter:
    """A reporter whose lines are in `report.out`."""
    return Reporter(io.StringIO(), as_json=True)


@pytest.fixture(scope="module")
def source_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server that a live migration leaves."""
    folder = tmp_path_factory.mktemp("source")
    yield start(folder)
    stop(folder)


@pytest.fixture
def source(source_server: Server) -> Iterator[Session]:
    """A session in the database that is to be migrated; search_path is public there."""
    with source_server.connect("postgres") as session:
        for slot in column(session, "SELECT slot_name::text FROM pg_replication_slots"):
            value(session, "SELECT pg_drop_replication_slot(%s)", [slot])
        execute(session, f"DROP DATABASE IF EXISTS {SOURCE} WITH (FORCE)")
        execute(session, f"CREATE DATABASE {SOURCE} TEMPLATE template0")
        for role in column(
            session, "SELECT rolname::text FROM pg_roles WHERE rolname IN ('owner', 'keyed', 'app')"
        ):
            execute(session, f"DROP ROLE {role}")
    with source_server.connect(SOURCE) as session:
        execute(session, "SET search_path = public")
        yield session


@pytest.fixture
def lock(server: Server, live: Session, report: Reporter) -> Iterator[Lock]:
    """The lock of the live database."""
    held = take_lock(server, DATABASE, report)
    yield held
    remove_leftovers(held)
    held.release()


@pytest.fixture
def before(live: Session) -> None:
    """The live database has one table, before a migration replaces it."""
    execute(live, "CREATE TABLE public.before (id int)")


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """The catalog of a folder that is empty and open to others; the program has a folder of its own beside it."""
    folder, own = tmp_path / "backups", tmp_path / "own"
    folder.mkdir(mode=0o755)
    own.mkdir()
    monkeypatch.setenv("TMPDIR", str(own))
    return Catalog(folder, DATABASE)


@pytest.fixture
def scene(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A schedule that begins with an empty folder."""
    return Scene(catalog, monkeypatch)


@pytest.fixture
def app(server: Server, report: Reporter, catalog: Catalog) -> Any:
    """The program as a backup sees it."""
    read = Settings({"BACKUP_DIR": str(catalog.folder), "PGDATABASE": DATABASE})
    return SimpleNamespace(settings=read, catalog=catalog, report=report, server=server, cleanup=ExitStack())


@pytest.fixture
def filled(live: Session) -> Session:
    """The live database with what is not easily backed up."""
    execute(live, CONTENTS)
    return live
