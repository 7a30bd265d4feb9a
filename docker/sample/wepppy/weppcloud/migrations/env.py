"""How Alembic reaches the database: one connection, one transaction, one upgrade at a time."""

from __future__ import annotations

import logging

from alembic import context
from flask import current_app
from sqlalchemy import Connection, inspect, text
from wepppy.weppcloud.default_accounts import ensure_defaults
from wepppy.weppcloud.models import Base

# Any number that no other program uses for its advisory lock.
UPGRADE_LOCK = 7_020_351


def run(connection: Connection) -> None:
    """Run the requested Alembic command, then see to the standard roles and the first account."""
    options = current_app.extensions["migrate"].configure_args
    context.configure(connection=connection, target_metadata=Base.metadata, **options)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": UPGRADE_LOCK})
        context.run_migrations()
        at_head = set(context.get_context().get_current_heads()) == set(context.script.get_heads())
        # After `stamp` the version may stand for tables that do not exist.
        if at_head and inspect(connection).has_table("user"):
            ensure_defaults(connection)


if context.is_offline_mode():
    raise RuntimeError("SQL scripts are not offered: the first account needs a live database")
if not logging.getLogger().handlers:
    logging.basicConfig(format="%(levelname)s [%(name)s] %(message)s")
logging.getLogger("alembic").setLevel(logging.INFO)
with current_app.extensions["migrate"].db.engine.connect() as live:
    run(live)
