"""The database schema: from nothing to the newest revision, again and again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from conftest import PASSWORD, SAMPLE_TREE, PostgresServer
from flask import Flask


def upgrade(env: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the documented command in a process of its own, in a folder that is not the source tree."""
    return subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wepppy.weppcloud.app", "db", "upgrade"],
        env={**env, "PYTHONPATH": str(SAMPLE_TREE)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def rows(server: PostgresServer, query: str) -> list[tuple[object, ...]]:
    """Return the rows of a query, past the application."""
    with psycopg.connect(server.url) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def test_upgrading_an_empty_database_makes_tables_roles_and_the_first_account(
    site_env: dict[str, str], postgres_server: PostgresServer, tmp_path: Path
) -> None:
    result = upgrade(site_env, tmp_path)
    assert result.returncode == 0, result.stderr
    assert PASSWORD not in result.stdout + result.stderr
    assert rows(postgres_server, "SELECT count(*) FROM alembic_version") == [(1,)]
    query = "SELECT r.name FROM role r JOIN roles_users x ON x.role_id = r.id ORDER BY 1"
    assert rows(postgres_server, query) == [("Admin",), ("Root",), ("User",)]
    [(email, password)] = rows(postgres_server, 'SELECT email, password FROM "user"')
    assert email == "admin@example.org"
    assert str(password).startswith("scrypt:")
    assert rows(postgres_server, "SELECT to_regclass('webpush_subscription')::text") == [
        ("webpush_subscription",)
    ]


def test_upgrading_again_changes_nothing(
    site_env: dict[str, str], postgres_server: PostgresServer, tmp_path: Path
) -> None:
    upgrade(site_env, tmp_path)
    before = rows(postgres_server, 'SELECT id, email, password, fs_uniquifier FROM "user"')
    result = upgrade({**site_env, "ADMIN_PASSWORD": "another one"}, tmp_path)
    assert result.returncode == 0, result.stderr
    assert rows(postgres_server, 'SELECT id, email, password, fs_uniquifier FROM "user"') == before
    assert rows(postgres_server, "SELECT count(*) FROM role") == [(5,)]


def test_two_upgrades_at_once_both_succeed(
    site_env: dict[str, str], postgres_server: PostgresServer, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "flask", "--app", "wepppy.weppcloud.app", "db", "upgrade"]
    env = {**site_env, "PYTHONPATH": str(SAMPLE_TREE)}
    both = [
        subprocess.Popen(command, env=env, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    outcomes = [(process.communicate()[1], process.returncode) for process in both]
    assert [code for _, code in outcomes] == [0, 0], outcomes
    assert rows(postgres_server, 'SELECT count(*) FROM "user"') == [(1,)]


def test_without_an_admin_password_the_schema_is_still_made(
    site_env: dict[str, str], postgres_server: PostgresServer, tmp_path: Path
) -> None:
    del site_env["ADMIN_PASSWORD"]
    assert upgrade(site_env, tmp_path).returncode == 0
    assert rows(postgres_server, 'SELECT count(*) FROM "user"') == [(0,)]
    site_env["ADMIN_PASSWORD"] = "set later"
    assert upgrade(site_env, tmp_path).returncode == 0
    assert rows(postgres_server, 'SELECT count(*) FROM "user"') == [(1,)]


def test_the_models_and_the_revisions_say_the_same(site: Flask) -> None:
    from wepppy.weppcloud.models import Base, db

    def ours(_item: object, _name: object, kind: str, reflected: bool, counterpart: object) -> bool:
        return not (kind == "table" and reflected and counterpart is None)

    with site.app_context(), db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": ours, "compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
