"""The roles every database has, and the first account."""

from __future__ import annotations

import logging
import os
import secrets

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from wepppy.config.secrets import get_secret
from wepppy.weppcloud.models import Role, User, roles_users
from wepppy.weppcloud.passwords import hash_password

ROLES = {
    "User": "Makes runs and sees their own",
    "PowerUser": "May use the heavier tools",
    "Admin": "Sees and starts every run",
    "Dev": "Sees diagnostics",
    "Root": "May do everything",
}
ADMIN_EMAIL = "admin@example.org"

_log = logging.getLogger("alembic.defaults")


def ensure_defaults(connection: Connection, site_salt: str) -> None:
    """Add the roles and the administrator that are missing, inside the caller's transaction.

    The account is `ADMIN_EMAIL` (admin@example.org) with the password of `ADMIN_PASSWORD[_FILE]`; without
    one no account is made. An existing account is left alone: its password belongs to its owner.
    """
    present = set(connection.scalars(select(Role.name)))
    missing = [{"name": name, "description": text} for name, text in ROLES.items() if name not in present]
    if missing:
        connection.execute(insert(Role).on_conflict_do_nothing(), missing)
    email = os.environ.get("ADMIN_EMAIL", "").strip().lower() or ADMIN_EMAIL
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
