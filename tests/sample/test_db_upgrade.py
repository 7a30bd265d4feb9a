"""The one-shot that upgrades the database at every start; it imports the application only when it has to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from conftest import SAMPLE_TREE, PostgresServer
from psycopg import sql

SCRIPT = SAMPLE_TREE.parent / "python" / "stack" / "db-upgrade.py"
APPLICATION_MODULES = {"flask", "redis", "flask_migrate"}


@pytest.fixture
def env(site_env: dict[str, str], tmp_path: Path, postgres_server: PostgresServer) -> dict[str, str]:
    """What the service is given: the password in a file."""
    (tmp_path / "password").write_text(postgres_server.password + "\n")
    del site_env["POSTGRES_PASSWORD"]
    return {
        **site_env,
        "FLASK_APP": "wepppy.weppcloud.app",
        "PYTHONPATH": str(SAMPLE_TREE),
        "POSTGRES_PASSWORD_FILE": str(tmp_path / "password"),
    }


def start(env: dict[str, str]) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run the one-shot; return how it ended and what modules of the application it imported."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(SCRIPT)],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    return done, {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()} & APPLICATION_MODULES


def change(server: PostgresServer, statement: str) -> None:
    with psycopg.connect(server.url) as connection, connection.cursor() as cursor:
        cursor.execute(statement)


def count(server: PostgresServer, table: str) -> int:
    with psycopg.connect(server.url) as connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
        row = cursor.fetchone()
        assert row
        return int(row[0])


def test_an_empty_database_is_upgraded_and_the_next_start_does_not_import_the_application(
    env: dict[str, str],
) -> None:
    done, imported = start(env)
    assert (done.returncode, imported) == (0, APPLICATION_MODULES), done.stderr[-2000:]
    done, imported = start(env)
    assert (done.returncode, imported) == (0, set()), done.stdout
    assert done.stdout == "db-upgrade: the schema is up to date\n"


@pytest.mark.parametrize(
    ("loss", "table", "rows"),
    [
        ("DELETE FROM role WHERE name = 'Dev'", "role", 5),
        ('DELETE FROM "user"', "user", 1),
        ("DELETE FROM role", "role", 5),
    ],
)
def test_a_lost_role_or_first_account_is_made_again(
    env: dict[str, str], postgres_server: PostgresServer, loss: str, table: str, rows: int
) -> None:
    start(env)
    change(postgres_server, loss)
    assert start(env)[0].returncode == 0
    assert count(postgres_server, table) == rows


def test_a_database_of_an_unknown_revision_is_an_error_as_before(
    env: dict[str, str], postgres_server: PostgresServer
) -> None:
    start(env)
    change(postgres_server, "UPDATE alembic_version SET version_num = 'deadbeef'")
    done, _ = start(env)
    assert done.returncode != 0
    assert "deadbeef" in done.stderr


def test_a_second_head_in_the_database_is_not_settled(
    env: dict[str, str], postgres_server: PostgresServer
) -> None:
    start(env)
    change(postgres_server, "INSERT INTO alembic_version VALUES ('deadbeef')")
    assert start(env)[1] == APPLICATION_MODULES


@pytest.mark.parametrize("name", ["DATABASE_URL", "SQLALCHEMY_DATABASE_URI"])
def test_a_database_named_by_its_url_is_left_to_the_application(
    env: dict[str, str], postgres_server: PostgresServer, name: str
) -> None:
    start(env)
    done, imported = start({**env, name: postgres_server.url})
    assert (done.returncode, imported) == (0, APPLICATION_MODULES)


# ---- a tree whose revisions cannot start from an empty database ----

APPLICATION = """
import os
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

app = Flask(__name__)
password = open(os.environ["POSTGRES_PASSWORD_FILE"]).read().strip()
login = __import__("urllib.parse").parse.quote(password, safe="")
place = "{POSTGRES_USER}:%s@{POSTGRES_HOST}:{POSTGRES_PORT}/{POSTGRES_DB}".format(**os.environ) % login
app.config["SQLALCHEMY_DATABASE_URI"] = f"postgresql+psycopg://{place}"
db = SQLAlchemy(app)
Migrate(app, db, directory=os.path.join(os.path.dirname(__file__), "migrations"))


class Person(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    identity = db.Column(db.String(64), unique=True, nullable=False)


class Feature(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String(64), nullable=False)
"""
ALEMBIC = """
from alembic import context
from flask import current_app

with current_app.extensions["migrate"].db.engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
REVISIONS = {
    "a_alters": """
        op.add_column("person", sa.Column("identity", sa.String(64)))
        op.execute("UPDATE person SET identity = id::text")
        op.alter_column("person", "identity", nullable=False)
        op.drop_column("person", "nickname")
    """,
    "b_fills": """
        features = sa.Table("feature", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True),
                            sa.Column("name", sa.String(64), nullable=False))
        features.create(op.get_bind())
        op.bulk_insert(features, [{"name": "batch"}, {"name": "omni"}])
    """,
    "c_adds": """
        op.create_table("history", sa.Column("id", sa.Integer, primary_key=True))
        op.execute("INSERT INTO history VALUES (7)")
    """,
}


@pytest.fixture
def altering_tree(env: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The environment of a tree whose first revision alters a table that only the models make."""
    package = tmp_path / "tree" / "site_of_test"
    (package / "migrations" / "versions").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "app.py").write_text(APPLICATION)
    (package / "migrations" / "env.py").write_text(ALEMBIC)
    (package / "migrations" / "alembic.ini").write_text("[alembic]\n")
    before = None
    for name, body in REVISIONS.items():
        head = f"import sqlalchemy as sa\nfrom alembic import op\nrevision = {name!r}\ndown_revision = {before!r}\n"
        text = f"{head}def upgrade():{body}\n"
        (package / "migrations" / "versions" / f"{name}.py").write_text(text)
        before = name
    return {**env, "PYTHONPATH": str(package.parent), "FLASK_APP": "site_of_test.app"}


def test_rows_and_tables_of_revisions_are_there_when_the_models_made_the_database(
    altering_tree: dict[str, str], postgres_server: PostgresServer
) -> None:
    done, _ = start(altering_tree)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [count(postgres_server, name) for name in ("feature", "history", "person")] == [2, 1, 0]
    assert start(altering_tree)[1] == set(), "the newest revision is recorded"


def test_a_revision_that_fails_on_the_models_tables_leaves_the_database_empty(
    altering_tree: dict[str, str], postgres_server: PostgresServer, tmp_path: Path
) -> None:
    revision = tmp_path / "tree" / "site_of_test" / "migrations" / "versions" / "c_adds.py"
    good = revision.read_text()
    revision.write_text(good.replace("VALUES (7)", "VALUES ('seven')"))
    done, _ = start(altering_tree)
    assert done.returncode != 0
    assert "restore a backup instead" in done.stdout
    revision.write_text(good)
    assert start(altering_tree)[0].returncode == 0, "nothing is left that the next start trips over"
    assert count(postgres_server, "feature") == 2
