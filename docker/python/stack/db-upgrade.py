"""Bring the database schema to the tree's newest revision; safe to run at every start.

Does what `flask db upgrade` does. Where the database was EMPTY and the tree's revisions cannot start from
nothing (upstream's first one alters tables that no revision creates), the tables are made from the models and
the revisions then run over them: what the models already made is left as it is, rows that a revision inserts
and tables that no model describes are added.

At most starts there is nothing to do. Alembic's revision files and the database say so in half the time that importing
the application takes; whatever fails on this short way is left to the long one.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

# Names by which a tree may point its application at another database than the stack's.
OTHER_DATABASE = ("SQLALCHEMY_DATABASE_URI", "DATABASE_URL")
SCHEMA_STATEMENTS = {"ALTER", "CREATE", "DROP"}
# SQLSTATEs of a change that the models have anticipated: a table, column, type or constraint is there already, or what
# a revision drops or renames is not there any more.
FOUND_DONE = {"42P07", "42701", "42710", "42723", "42P06", "42P01", "42703", "42704"}


# ---- the short way ----


def heads(migrations: Path) -> set[str]:
    """Return the newest revisions of an Alembic folder, several where branches are not merged."""
    config = importlib.import_module("alembic.config").Config(str(migrations / "alembic.ini"))
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    directory = importlib.import_module("alembic.script").ScriptDirectory
    return set(directory.from_config(config).get_heads())


def connection() -> Any:
    """Connect to the stack's database with whichever driver the tree has.

    Raises RuntimeError where the tree's application may use another database.
    """
    for name in OTHER_DATABASE:
        if os.environ.get(name):
            raise RuntimeError(f"{name} names the database")
    try:
        driver = importlib.import_module("psycopg2")
    except ImportError:
        driver = importlib.import_module("psycopg")
    password = Path(os.environ["POSTGRES_PASSWORD_FILE"]).read_text(encoding="utf-8").strip()
    return driver.connect(
        host=os.environ["POSTGRES_HOST"],
        port=os.environ["POSTGRES_PORT"],
        dbname=os.environ["POSTGRES_DB"],
        user=os.environ["POSTGRES_USER"],
        password=password,
        connect_timeout=5,
    )


def nothing_to_do(package: Path) -> bool:
    """Return whether the database holds exactly the newest revisions of the tree whose web application is `package`.

    A tree whose upgrade makes accounts too says in `default_accounts.py` whether they are there: `present(cursor)`.
    """
    newest = heads(package / "migrations")
    with closing(connection()) as database, database.cursor() as cursor:
        cursor.execute("SELECT version_num FROM alembic_version")
        if {row[0] for row in cursor.fetchall()} != newest or not newest:
            return False
        if not (package / "default_accounts.py").is_file():
            return True
        module = os.environ["FLASK_APP"].rpartition(".")[0]
        return bool(importlib.import_module(f"{module}.default_accounts").present(cursor))


# ---- the long way ----


def tables(database: Any) -> list[str]:
    """Return the names of the tables in the application's database."""
    inspector = importlib.import_module("sqlalchemy").inspect(database.engine)
    return list(inspector.get_table_names())


def upgrade() -> None:
    """Upgrade, or make the tables from the models first. Raises what an upgrade of a database with tables raises."""
    app = importlib.import_module(os.environ["FLASK_APP"]).app
    migrate = importlib.import_module("flask_migrate")
    with app.app_context():
        database = app.extensions["sqlalchemy"]
        was_empty = not tables(database)
        try:
            migrate.upgrade()
        except (Exception, SystemExit):
            # Postgres rolls a failed upgrade back whole; if anything stayed, this is not ours to guess about.
            if not was_empty or tables(database):
                raise
            print(
                "db-upgrade: this tree's revisions cannot start from an empty database; making it from the models"
            )
            make_from_models(database, migrate)


def make_from_models(database: Any, migrate: Any) -> None:
    """Make an empty database's tables from the models and run every revision over them.

    Leave the database empty when a revision fails, so that the next start tries again.
    """
    event = importlib.import_module("sqlalchemy.event")
    engine_class = importlib.import_module("sqlalchemy.engine").Engine
    database.create_all()
    # For all engines: a tree's env.py may make one of its own.
    event.listen(engine_class, "do_execute", execute_unless_done)
    try:
        migrate.upgrade()
    except (Exception, SystemExit):
        database.drop_all()
        print("db-upgrade: a revision cannot run on tables made from the models; restore a backup instead")
        raise
    finally:
        event.remove(engine_class, "do_execute", execute_unless_done)


def execute_unless_done(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    """Execute a change of the schema unless it is found done; return False for any other statement."""
    if statement.split(maxsplit=1)[0].upper() not in SCHEMA_STATEMENTS:
        return False
    if cursor.connection.autocommit:
        savepoint, release, undo = "SELECT 1", "SELECT 1", "SELECT 1"
    else:
        savepoint, release = "SAVEPOINT db_upgrade", "RELEASE SAVEPOINT db_upgrade"
        undo = "ROLLBACK TO SAVEPOINT db_upgrade"
    cursor.execute(savepoint)
    try:
        cursor.execute(statement, parameters or None)
    except Exception as error:
        # psycopg2 calls it `pgcode`, psycopg `sqlstate`.
        code = getattr(error, "pgcode", None) or getattr(error, "sqlstate", None)
        if code not in FOUND_DONE:
            raise
        cursor.execute(undo)
    cursor.execute(release)
    return True


def make_run_folders(root: Path) -> None:
    """Make the folders that runs are created in, where `root` is there and lacks them."""
    for name in ("runs", "batch", "culverts") if root.is_dir() else ():
        # A folder of the host's may be closed to this user: whoever creates a run is told so then.
        with suppress(OSError):
            (root / name).mkdir(exist_ok=True)


def main() -> None:
    """Go the short way where it leads anywhere, else the long one, which also words every error."""
    make_run_folders(Path("/wc1"))
    # PYTHONPATH is the tree's root; of a module's name all but the last part is its folder.
    package = Path(os.environ["PYTHONPATH"]).joinpath(*os.environ["FLASK_APP"].split(".")[:-1])
    try:
        done = nothing_to_do(package)
    except Exception as error:
        # No table yet, no server, an unusual tree: for the application to find out and to say.
        print(f"db-upgrade: asking the application ({type(error).__name__})")
        done = False
    if not done:
        upgrade()
    print("db-upgrade: the schema is up to date")


if __name__ == "__main__":
    sys.exit(main())
