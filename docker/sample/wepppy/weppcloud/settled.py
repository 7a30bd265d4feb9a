"""What every database of the site holds beside its tables, and whether it is there: cheap to import, cheap to ask."""

from __future__ import annotations

from typing import Any

from wepppy.config.environment import setting

ROLES = {
    "User": "Makes runs and sees their own",
    "PowerUser": "May use the heavier tools",
    "Admin": "Sees and starts every run",
    "Dev": "Sees diagnostics",
    "Root": "May do everything",
}
ADMIN_EMAIL = "admin@example.org"


def admin_email() -> str:
    """Return the first account's address: `ADMIN_EMAIL`, else admin@example.org."""
    return setting("ADMIN_EMAIL", ADMIN_EMAIL).lower()


def settled(cursor: Any) -> bool:
    """Return whether a DB-API cursor finds the standard roles and the first account: an upgrade would add nothing."""
    cursor.execute("SELECT name FROM role")
    roles = {row[0] for row in cursor.fetchall()}
    cursor.execute('SELECT count(*) FROM "user" WHERE email = %s', [admin_email()])
    return set(ROLES) <= roles and cursor.fetchone()[0] == 1
