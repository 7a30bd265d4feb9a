"""What operators do to accounts from the command line."""

from __future__ import annotations

import secrets
import sys

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy import select

from wepppy.weppcloud.models import Role, User, db
from wepppy.weppcloud.passwords import hash_password

SHORTEST_PASSWORD = 8


@click.command("set-user")
@click.argument("email")
@click.option("--role", "roles", multiple=True, help="A role to give to the account; may be repeated.")
@with_appcontext
def set_user(email: str, roles: tuple[str, ...]) -> None:
    """Make the account EMAIL, or give it a new password, read from the first line of standard input.

    Every session of the account ends.
    """
    email = email.strip().lower()
    if "@" not in email or len(email) > 255 or not (email.isascii() and email.isprintable()):
        raise click.UsageError(f"not an e-mail address: {email!r}")
    known = {role.name: role for role in db.session.scalars(select(Role))}
    unknown = sorted(set(roles) - known.keys())
    if unknown:
        raise click.UsageError(f"no such role: {', '.join(unknown)} (there are {', '.join(sorted(known))})")
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\n")
    if len(password) < SHORTEST_PASSWORD:
        raise click.UsageError(f"a password has at least {SHORTEST_PASSWORD} characters")
    user = db.session.scalar(select(User).where(User.email == email))
    made = user is None
    if user is None:
        user = User(email=email, roles=[known["User"]])
        db.session.add(user)
    user.password = hash_password(password, current_app.config["PASSWORD_SALT"])
    user.fs_uniquifier = secrets.token_hex(32)
    user.active = True
    user.roles.extend(known[name] for name in roles if not user.has_role(name))
    db.session.commit()
    click.echo(f"{email}: {'made' if made else 'password changed'}")
