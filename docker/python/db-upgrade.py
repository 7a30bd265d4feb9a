"""Brings the database schema to the tree's newest revision; safe to run at every start.

Does what `flask db upgrade` does. Where the database was EMPTY and the tree's revisions cannot start from
nothing (upstream's first one alters tables that no revision creates), the tables are made from the models and
the newest revision is stamped, as that tree's operators do by hand.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any


def tables(database: Any) -> list[str]:
    """Names of the tables in the application's database."""
    inspector = importlib.import_module("sqlalchemy").inspect(database.engine)
    return list(inspector.get_table_names())


def main() -> None:
    """Upgrade, or make and stamp; any failure on a database that holds something is raised untouched."""
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
            database.create_all()
            migrate.stamp(revision="heads")
    print("db-upgrade: the schema is up to date")


if __name__ == "__main__":
    sys.exit(main())
