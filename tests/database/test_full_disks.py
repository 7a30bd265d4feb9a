"""The server's disk becomes full while a restore loads, or its log's does and it stops: the live database is
unchanged, the reason is told, and once there is room the next run works.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.database.running import Running
from tests.database.stack import SERVICES, LightStack
from tests.engine.lifetime import own_stack

MEGABYTE = 1_000_000
# Half a page of a table: the last one finds no room, or room for its first half, which the server tells in other words.
HALF_A_PAGE = 4096
NO_ROOM = r"No space left on device|wrote only 4096 of 8192 bytes"
# Twenty megabytes that pack to less than one.
ROWS = "CREATE TABLE rows AS SELECT n, repeat(md5(n::text), 8) AS word FROM generate_series(1, 60000) n"
# Another twenty, sorted in memory alone.
INDEX = "CREATE INDEX ON rows (word); ALTER TABLE rows SET (parallel_workers = 0)"
# A load's rows go into new tables and need no log (wal_level = minimal); its large objects need all of it.
OBJECTS = """
SELECT count(lo_from_bytea(0, (SELECT string_agg(uuid_send(gen_random_uuid()), '')
                               FROM generate_series(1, 64000 + n % 2)))) FROM generate_series(1, 30) n;
CHECKPOINT
"""
NO_OBJECTS = "SELECT count(lo_unlink(oid)) FROM pg_largeobject_metadata; VACUUM FULL pg_largeobject"


class Cramped(LightStack):
    """A stack whose server has a small disk for its data and another one for its log."""

    def free(self, disk: str) -> int:
        """Free bytes of the disk `data` or `log`."""
        return int(self._hold("df", "--block-size=1", "--output=avail", f"/disks/{disk}").split()[-1])

    @contextmanager
    def nearly_full(self, disk: str, left: int) -> Iterator[None]:
        """So many bytes are left of the disk for a while."""
        # The log's spare files are gone after that, and no more come until something is written.
        self.psql("CHECKPOINT")
        size = self.free(disk) - left
        self._hold("fallocate", "--length", str(size), f"/disks/{disk}/ballast")
        try:
            yield
        finally:
            self.make_room(disk)

    def make_room(self, disk: str) -> None:
        """What fills the disk is removed."""
        self._hold("rm", "--force", f"/disks/{disk}/ballast")

    def _hold(self, *command: str) -> str:
        return self.docker("exec", self.container("holder"), *command)


@pytest.fixture(scope="module")
def cramped() -> Iterator[Cramped]:
    files = "docker/docker-compose.dev.yml:tests/database/cramped.yml"
    services = ",".join([*SERVICES, "holder"])
    # A restore test of the sidecar's own would come between.
    settings = {"COMPOSE_PROFILES": "", "COMPOSE_FILE": files, "BACKUP_DRILL_INTERVAL_SECONDS": "0"}
    with own_stack(Cramped, "cramped", services, **settings) as made:
        yield made


@pytest.fixture
def stack(cramped: Cramped) -> Iterator[Cramped]:
    """The cramped stack, idle and with nothing in it but the application's own."""
    cramped.wait_until_idle()
    yield cramped
    cramped.drop_kept()
    cramped.psql(f"DROP TABLE IF EXISTS rows; {NO_OBJECTS}; CHECKPOINT")


@contextmanager
def unharmed(stack: Cramped) -> Iterator[None]:
    """The live database, the list of databases and the services are the same afterwards."""
    before, databases = stack.content(), stack.databases()
    yield
    stack.wait_until_idle()
    assert stack.content() == before
    assert stack.databases() == databases
    assert stack.left_behind() == []


@pytest.mark.parametrize("odd", [0, HALF_A_PAGE], ids=["to the page", "half a page more"])
@pytest.mark.parametrize(
    "megabytes",
    [31, 15, 1],
    ids=["while an index is built", "while rows are loaded", "while the database is made"],
)
def test_a_disk_that_becomes_full_during_a_restore_is_told_and_harms_nothing(
    stack: Cramped, megabytes: int, odd: int
) -> None:
    stack.psql(f"{ROWS}; {INDEX}")
    stack.dump("rows.dump")
    with unharmed(stack):
        with stack.nearly_full("data", megabytes * MEGABYTE + odd):
            # Without a manifest nobody knows how much a dump unpacks to; of the last megabyte it is known.
            done = stack.task("db-restore", "--dump=rows.dump", "--yes", "--force")
        assert done.returncode == 5, done.stderr
        assert "error: the server's disk is full" in done.stderr
        assert re.search(NO_ROOM, done.stderr), done.stderr
        assert "make room there" in done.stderr
    stack.must("db-restore", "--dump=rows.dump", "--yes")
    assert stack.psql("SELECT count(*) FROM rows") == "60000\n"


def test_a_dump_that_does_not_fit_is_refused_before_the_load_and_a_manifest_that_lies_fails_in_it(
    stack: Cramped,
) -> None:
    stack.psql(ROWS)
    name = json.loads(stack.must("db-backup", "--json"))["name"]
    path = stack.backups / f"{name}.json"
    manifest = json.loads(path.read_text())
    with unharmed(stack), stack.nearly_full("data", 15 * MEGABYTE):
        refused = stack.task("db-restore", f"--dump={name}", "--yes")
        assert refused.returncode == 4, refused.stderr
        assert "MB free and the load takes about" in refused.stderr
        path.write_text(json.dumps({**manifest, "database_bytes": 8 * MEGABYTE}))
        failed = stack.task("db-restore", f"--dump={name}", "--yes")
        assert failed.returncode == 5, failed.stderr
        assert "error: the server's disk is full" in failed.stderr


def test_a_server_that_dies_because_its_log_has_no_room_is_waited_for_and_the_reason_is_told(
    stack: Cramped,
) -> None:
    stack.psql(OBJECTS)
    stack.dump("objects.dump")
    with unharmed(stack), stack.nearly_full("log", 4 * MEGABYTE):
        run = Running(stack, "db-restore", "--dump=objects.dump", "--yes")
        # It says so at once; whoever reads it makes room, and the server finds its way back by itself.
        told = run.wait_for("the database server's disk is full")
        assert "pg_wal/xlogtemp" in told
        assert "No space left on device" in told
        stack.make_room("log")
        assert run.wait() == 5, run.output
    assert "error: the database server's disk is full" in run.output
    assert "nothing is lost" in run.output
    stack.must("db-restore", "--dump=objects.dump", "--yes")
    assert stack.psql("SELECT count(*) FROM pg_largeobject_metadata") == "30\n"
