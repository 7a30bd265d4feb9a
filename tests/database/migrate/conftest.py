"""Bare servers and one light stack for all tests of moves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.database.migrate.bare import BareServer, build_image, build_older_image
from tests.database.migrate.target import SERVICES, Target
from tests.engine.lifetime import own_stack


@pytest.fixture(scope="session")
def shared_target() -> Iterator[Target]:
    """A stack of database and backup service, torn down whatever happens."""
    with own_stack(Target, "move", SERVICES, BACKUP_DRILL_INTERVAL_SECONDS="0") as made:
        yield made


@pytest.fixture
def target(shared_target: Target) -> Target:
    """The stack, its database as good as empty."""
    shared_target.reset()
    return shared_target


@pytest.fixture(scope="session")
def image() -> None:
    """The image that bare servers run from."""
    build_image()


@pytest.fixture(scope="session")
def older_image() -> None:
    """The image that bare servers from 12 to 14 run from."""
    build_older_image()


@pytest.fixture(scope="session")
def socket_only(image: None) -> Iterator[BareServer]:
    """PostgreSQL 15 of the distribution that listens on a socket alone; its log is not made for replication."""
    server = BareServer(15, network=False)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def localhost_only(image: None) -> Iterator[BareServer]:
    """PostgreSQL 16 that listens on localhost and can publish its changes."""
    server = BareServer(16, settings={"wal_level": "logical", "max_slot_wal_keep_size": "64GB"})
    yield server
    server.stop()


@pytest.fixture
def moving(localhost_only: BareServer) -> Iterator[str]:
    """A database to move, with everything that logical replication can carry."""
    localhost_only.create("moving", "holdings.sql")
    yield "moving"
    localhost_only.drop("moving")
