"""The roles every database has, and the first account.

Asked at every start whether they are there: what is costly to import is imported where it is used.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from wepppy.config.environment import setting
from wepppy.config.secrets import get_secret

if TYPE_CHECKING:
    from sqlalchemy import Connection

ROLES = {
    "User": "Makes runs and sees their own",
    "PowerUser": "May use the heavier tools",
    "Admin": "Sees and starts every run",
    "Dev": "Sees diagnostics",
    "Root": "May do everything",
}
_log = logging.getLogger("alembic.defaults")


def present(cursor: Any) -> bool:
    """Return whether a DB-API cursor finds the standard roles and the first account: an upgrade would add nothing."""
    cursor.execute("SELECT name FROM role")
    roles = {row[0] for row in cursor.fetchall()}
    cursor.execute('SELECT count(*) FROM "user" WHERE email = %s', [_admin_email()])
    return set(ROLES) <= roles and cursor.fetchone()[0] == 1


def ensure_roles(connection: Connection, *, dry_run: bool = False) -> int:
    """Add the standard roles that are missing, inside the caller's transaction, and return how many that were."""
    from sqlalchemy import select
    from sqlalchemy.dialects.postgresql import insert

    from wepppy.weppcloud.models import Role

    found = set(connection.scalars(select(Role.name)))
    missing = [{"name": name, "description": text} for name, text in ROLES.items() if name not in found]
    if missing and not dry_run:
        connection.execute(insert(Role).on_conflict_do_nothing(), missing)
    return len(missing)


def ensure_defaults(connection: Connection) -> None:
    """Add the roles and the administrator that are missing, inside the caller's transaction.

    The account is that of `ADMIN_EMAIL` with the password of `ADMIN_PASSWORD[_FILE]`; without one no account is made.
    An existing account is left alone: its password belongs to its owner.
    """
    from sqlalchemy import select
    from sqlalchemy.orm import Session

    from wepppy.weppcloud.accounts import hash_password
    from wepppy.weppcloud.models import Role, User

    ensure_roles(connection)
    email = _admin_email()
    password = get_secret("ADMIN_PASSWORD")
    with Session(connection) as session:
        if session.scalar(select(User.id).where(User.email == email)) is not None:
            return
        if password is None:
            _log.warning("no account for %s: ADMIN_PASSWORD is not set", email)
            return
        roles = session.scalars(select(Role).where(Role.name.in_(["User", "Admin", "Root"])))
        session.add(User(email=email, password=hash_password(password), roles=list(roles)))
        session.commit()
    _log.info("made the account %s", email)


def _admin_email() -> str:
    return setting("ADMIN_EMAIL", "admin@example.org").lower()
