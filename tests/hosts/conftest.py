"""A stack in production on a host of its own, and hosts whose engines join it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.engines import Engine, engines, load
from tests.hosts.farm import main_host, shared_folder
from tests.hosts.site import MainHost


@pytest.fixture(scope="session")
def shared() -> Iterator[Path]:
    """What all hosts mount."""
    with shared_folder("shared") as folder:
        yield folder


@pytest.fixture(scope="session")
def three(shared: Path) -> Iterator[tuple[Engine, ...]]:
    """The main host, one that computes, one for the queue of which exactly one may be consumer; nothing on them."""
    with engines("main", "workers", "serial", folders=[shared]) as made:
        yield made


@pytest.fixture(scope="session")
def hosts(three: tuple[Engine, ...]) -> tuple[Engine, ...]:
    """The two that may join."""
    return three[1:]


@pytest.fixture(scope="session")
def main(three: tuple[Engine, ...], shared: Path) -> Iterator[MainHost]:
    """The stack with web and stores, open to the other hosts."""
    with main_host(three[0], shared) as stack:
        yield stack


@pytest.fixture(scope="session")
def image(main: MainHost, hosts: tuple[Engine, ...]) -> str:
    """The image of the workers, which the hosts have too."""
    name = f"{main.name}-python:prod"
    load([name], *hosts)
    return name
