"""The application's role owns its database and is no superuser: what operators and tasks do works all the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.database.stack import LightStack

MINE = """
SET ROLE wepppy;
CREATE EXTENSION pg_trgm;
CREATE TABLE mine (id serial PRIMARY KEY, word text);
INSERT INTO mine (word) SELECT md5(n::text) FROM generate_series(1, 1000) n;
CREATE INDEX ON mine USING gin (word gin_trgm_ops);
CREATE VIEW seen AS SELECT * FROM mine;
"""
NOT_MINE = "DROP TABLE mine CASCADE; DROP EXTENSION pg_trgm"
# Owners of all that people made in the database, the extension included.
OWNERS = """
SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION SELECT pg_get_userbyid(extowner) FROM pg_extension WHERE extname <> 'plpgsql'
UNION SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'wepppy'
"""
# Runs as whoever stores or checks a row, and refuses to where it can become the superuser.
PLANTED = """
CREATE FUNCTION harmless(word text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
  BEGIN PERFORM set_config('role', 'postgres', true); EXCEPTION WHEN insufficient_privilege THEN RETURN word; END;
  RAISE EXCEPTION 'what was planted became the superuser, logged in as %', session_user;
END $$;
CREATE DOMAIN harmless_word AS text CHECK (harmless(VALUE) = VALUE);
CREATE TABLE planted (id int, word text CHECK (harmless(word) = word), again text GENERATED ALWAYS AS (harmless(word))
  STORED, domain harmless_word);
CREATE INDEX ON planted (harmless(word));
CREATE MATERIALIZED VIEW gathered AS SELECT harmless('row') AS word;
CREATE VIEW looked_at AS SELECT harmless('row') AS word;
"""
FILL = "INSERT INTO planted VALUES (1, 'row', DEFAULT, 'row');"
NOT_PLANTED = (
    "DROP TABLE planted; DROP DOMAIN harmless_word; DROP MATERIALIZED VIEW gathered; DROP VIEW looked_at; "
    "DROP FUNCTION harmless"
)


def as_application(stack: LightStack, sql: str) -> str:
    """Asks as the services do: over the network, with the password of their secret file."""
    return stack.in_sidecar("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", stdin=sql)


@pytest.fixture
def mine(stack: LightStack) -> Iterator[LightStack]:
    stack.psql(MINE)
    yield stack
    stack.psql(NOT_MINE)


@pytest.fixture
def planted(stack: LightStack) -> Iterator[LightStack]:
    as_application(stack, PLANTED + FILL)
    yield stack
    stack.psql(NOT_PLANTED)


def test_the_applications_role_is_no_superuser_and_doctor_has_nothing_to_say(stack: LightStack) -> None:
    assert as_application(stack, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == "f\n"
    told = stack.task("doctor").stdout
    assert "superuser" not in told
    assert "refuses the password" not in told


@pytest.mark.parametrize("options", [(), ("-Fp", "--no-owner"), ("-Fc", "--no-owner")], ids=" ".join)
def test_after_a_restore_all_is_the_applications_and_it_writes(
    mine: LightStack, options: tuple[str, ...]
) -> None:
    mine.dump("mine.dump", *options)
    mine.must("db-restore", "--dump=mine.dump", "--yes", "--no-keep")
    assert mine.psql(OWNERS) == "wepppy\n"
    as_application(mine, "INSERT INTO mine (word) VALUES ('new'); ALTER TABLE mine ADD COLUMN more int")
    assert as_application(mine, "SELECT count(*) FROM seen") == "1001\n"


def test_the_documented_restore_works_before_and_after_one_by_the_task(mine: LightStack) -> None:
    restore = 'pg_restore --clean --if-exists -U "$POSTGRES_USER" -d "$POSTGRES_DB" /tmp/restore.dump'
    mine.in_sidecar(
        "bash", "-lc", 'pg_dump -h "$PGHOST" -U "$PGUSER" -d "$PGDATABASE" -Fc -f /backups/by-hand.dump'
    )
    for _ in range(2):
        mine.docker(
            "cp", str(mine.backups / "by-hand.dump"), f"{mine.container('postgres')}:/tmp/restore.dump"
        )
        mine.docker("exec", mine.container("postgres"), "bash", "-lc", restore)
        assert as_application(mine, "SELECT count(*) FROM mine") == "1000\n"
        mine.must("db-restore", "--dump=by-hand.dump", "--yes", "--no-keep")


def test_a_password_changed_by_hand_is_told_and_the_rotation_makes_it_one_again(stack: LightStack) -> None:
    change = "ALTER USER wepppy WITH PASSWORD 'password';"
    stack.docker("exec", stack.container("postgres"), "psql", "-U", "wepppy", "-d", "wepppy", "-c", change)
    told = stack.task("doctor").stdout
    assert "db-rotate-password" in told
    stack.must("db-rotate-password", "--yes")
    assert as_application(stack, "SELECT 1") == "1\n"


def test_the_superusers_password_is_rotated_and_told_where_it_differs(stack: LightStack) -> None:
    stack.psql("ALTER ROLE postgres PASSWORD 'another'", "postgres")
    assert "db-rotate-password --superuser" in stack.task("doctor").stdout
    old = stack.secret("postgres_superuser_password")
    stack.must("db-rotate-password", "--superuser", "--yes")
    assert stack.secret("postgres_superuser_password") != old
    assert "refuses the password" not in stack.task("doctor").stdout
    stack.must("db-backup")


def test_what_was_planted_in_the_database_never_runs_as_a_superuser(planted: LightStack) -> None:
    planted.must("db-backup")
    planted.must("db-verify", "--dump=latest", "--drill")
    planted.must("db-restore", "--dump=latest", "--yes")
    assert planted.psql("SELECT word FROM planted") == "row\n"
    planted.must("db-rollback", "--yes")
