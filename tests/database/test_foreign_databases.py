"""A database that is not this program's own is never dropped, whatever its name; and what it cannot restore it says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.database.stack import LightStack

pytestmark = pytest.mark.timeout(300, func_only=True)  # seven tasks

FOREIGN = ("wepppy_incoming_2024", "wepppy_incoming_1764385800000")
# Depends on the search_path and on the rows of another table that comes later.
SEARCHING = """
CREATE TABLE the_factor (factor int); CREATE TABLE z_known (id int PRIMARY KEY);
CREATE FUNCTION times(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
  'BEGIN RETURN $1 * (SELECT factor FROM the_factor); END';
CREATE FUNCTION known(int) RETURNS bool LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM z_known WHERE id = $1)';
CREATE TABLE a_searching (id int CHECK (known(id)), product int GENERATED ALWAYS AS (times(id)) STORED);
INSERT INTO the_factor VALUES (3); INSERT INTO z_known VALUES (1), (2); INSERT INTO a_searching VALUES (1), (2);
"""
FORGOTTEN = "DROP TABLE a_searching, z_known, the_factor; DROP FUNCTION times; DROP FUNCTION known"


@pytest.fixture(params=["with tables", "without tables"])
def foreign(request: pytest.FixtureRequest, stack: LightStack) -> Iterator[dict[str, str]]:
    """Somebody else's databases, and what each holds."""
    stack.wait_until_idle()
    for name in FOREIGN:
        stack.psql(f"CREATE DATABASE {name}", "postgres")
        if request.param == "with tables":
            stack.psql("CREATE TABLE runs AS SELECT generate_series(1, 2024) AS id", name)
    yield {name: stack.content(name) for name in FOREIGN}
    for name in FOREIGN:
        stack.psql(f"DROP DATABASE IF EXISTS {name}", "postgres")


def test_a_foreign_database_named_like_a_staging_database_survives_every_task(
    stack: LightStack, foreign: dict[str, str]
) -> None:
    stack.dump("good.dump")
    missing = stack.task("db-restore", "--dump=nothing.dump", "--yes")
    assert missing.returncode == 4
    refused = stack.task("db-restore", "--dump=good.dump", "--dry-run")
    assert refused.returncode == 0
    stack.must("db-verify", "--dump=good.dump", "--drill")
    stack.must("db-backup")
    said = stack.task("db-restore", "--dump=good.dump", "--yes")
    assert said.returncode == 0, said.stderr
    assert f"{FOREIGN[0]} looks like a staging database" in said.stdout + said.stderr
    stack.must("db-rollback", "--yes")
    stack.must("db-prune", "--yes")
    assert {name: stack.content(name) for name in FOREIGN} == foreign


def test_what_looks_things_up_where_the_source_does_is_backed_up_and_restored(stack: LightStack) -> None:
    stack.psql(SEARCHING)
    try:
        before = stack.everything()
        stack.must("db-backup")
        stack.psql("DELETE FROM a_searching")
        stack.must("db-restore", "--dump=latest", "--yes", "--no-keep")
        assert stack.everything() == before
    finally:
        stack.psql(FORGOTTEN)
