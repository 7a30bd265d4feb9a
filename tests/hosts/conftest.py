"""A stack in production on this machine, and hosts whose engines join it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine.lifetime import own_stack
from tests.engine.stack import ROOT, Command, Stack
from tests.hosts.engines import Engine, engines, load

UID = GID = 1000


@dataclass
class WorkerHost:
    """A host that computes: its engine, and the `.env` of its own that `worker-join` writes."""

    engine: Engine
    stack: Stack

    def invoke(self, *arguments: str, check: bool = True) -> Command:
        """Run a task as on that host."""
        name = self.stack.env_file.parent.name
        return self.stack.invoke(
            *arguments, check=check, DOCKER_HOST=self.engine.url, COMPOSE_PROJECT_NAME=name
        )


@contextmanager
def shared_folder(name: str) -> Iterator[Path]:
    """A folder of runs and one of geodata in a folder that hosts mount; removed at the end."""
    folder = ROOT / ".docker-data" / f"{name}-{os.getpid()}"
    for each in ("wc1", "geodata"):
        (folder / each).mkdir(parents=True)
        os.chown(folder / each, UID, GID)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shared() -> Iterator[Path]:
    """What all hosts mount."""
    with shared_folder("shared") as folder:
        yield folder


@pytest.fixture(scope="session")
def hosts(shared: Path) -> Iterator[tuple[Engine, ...]]:
    """Two hosts without anything on them."""
    with engines("one", "two", folders=[shared]) as made:
        yield made


@pytest.fixture(scope="session")
def main(hosts: tuple[Engine, ...], shared: Path) -> Iterator[Stack]:
    """The stack with web and stores, open to the hosts at this machine's address in their network."""
    settings = {
        "COMPOSE_FILE": "docker/docker-compose.prod.yml",
        "COMPOSE_PROFILES": "",
        "RUN_LIMIT_PER_CLIENT": "1000/minute",
        "RUN_LIMIT_PER_ADDRESS": "1000/minute",
        "WC1_DIR": str(shared / "wc1"),
        "GEODATA_DIR": str(shared / "geodata"),
        "WORKER_ADDRESS": hosts[0].address.rpartition(".")[0] + ".1",
    }
    with own_stack(Stack, "main", **settings) as stack:
        with stack.env_file.open("a") as file:
            file.write("RQ_EXACTLY_ONE=fork-archive\n")
        stack.invoke("compose-up", timeout=1500)
        yield stack


@pytest.fixture(scope="session")
def image(main: Stack, hosts: tuple[Engine, ...]) -> str:
    """The image of the workers, which the hosts have too."""
    name = f"{main.name}-python:prod"
    load([name], *hosts)
    return name
