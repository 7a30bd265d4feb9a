"""The roles every database has, and the first account."""

from __future__ import annotations

import logging
import secrets

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from wepppy.config.secrets import get_secret
from wepppy.weppcloud.models import Role, User, roles_users
from wepppy.weppcloud.passwords import hash_password
from wepppy.weppcloud.settled import ROLES, admin_email

_log = logging.getLogger("alembic.defaults")


def missing_roles(connection: Connection) -> list[str]:
    """Return the standard roles that the database does not have."""
    present = set(connection.scalars(select(Role.name)))
    return [name for name in ROLES if name not in present]


def ensure_roles(connection: Connection) -> int:
    """Add the standard roles that are missing, inside the caller's transaction, and return how many that were."""
    missing = [{"name": name, "description": ROLES[name]} for name in missing_roles(connection)]
    if missing:
        connection.execute(insert(Role).on_conflict_do_nothing(), missing)
    return len(missing)


def ensure_defaults(connection: Connection, site_salt: str) -> None:
    """Add the roles and the administrator that are missing, inside the caller's transaction.

    The account is that of `admin_email` with the password of `ADMIN_PASSWORD[_FILE]`; without
    one no account is made. An existing account is left alone: its password belongs to its owner.
    """
    ensure_roles(connection)
    email = admin_email()
    if connection.scalar(select(User.id).where(User.email == email)) is not None:
        return
    password = get_secret("ADMIN_PASSWORD")
    if password is None:
        _log.warning("no account for %s: ADMIN_PASSWORD is not set", email)
        return
    account = {"email": email, "password": hash_password(password, site_salt), "active": True}
    user_id = connection.scalar(
        insert(User).values(fs_uniquifier=secrets.token_hex(32), **account).returning(User.id)
    )
    role_ids = connection.scalars(select(Role.id).where(Role.name.in_(["User", "Admin", "Root"])))
    connection.execute(
        insert(roles_users), [{"user_id": user_id, "role_id": role_id} for role_id in role_ids]
    )
    _log.info("made the account %s", email)
