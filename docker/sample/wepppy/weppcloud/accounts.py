"""Accounts: passwords, logging in and out, and `flask set-user` for operators."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import sys
from datetime import UTC, datetime

import click
from flask import Blueprint, current_app, redirect, render_template, request, session, url_for
from flask.cli import with_appcontext
from flask_login import LoginManager, current_user, login_user, logout_user
from sqlalchemy import select
from werkzeug.security import check_password_hash, generate_password_hash
from werkzeug.wrappers import Response as AnyResponse

from wepppy.weppcloud.browse_token import revoke_tokens
from wepppy.weppcloud.errors import Problem
from wepppy.weppcloud.models import Role, User, Visitor, db
from wepppy.weppcloud.rate_limits import forget_failed_logins, limit_failed_logins

# In a session: the runs that its visitor created without an account.
MADE = "made"
SHORTEST_PASSWORD = 8
# scrypt with 2^15 blocks of 8, one lane (RFC 7914): about 32 MB and a twentieth of a second for every guess.
_METHOD = "scrypt:32768:8:1"
# In the form of a stored hash, and no password's: checking it costs what checking a real one costs.
_UNKNOWN_ACCOUNT = f"{_METHOD}$nobody${'0' * 128}"

blueprint = Blueprint("accounts", __name__)
login_manager = LoginManager()
login_manager.anonymous_user = Visitor


@login_manager.user_loader
def load_user(uniquifier: str) -> User | None:
    """Return the user a session belongs to; None when the account is gone or its sessions were ended."""
    return db.session.scalar(select(User).where(User.fs_uniquifier == uniquifier))


def log_in(email: object, password: object) -> User:
    """Check an e-mail address and password and start the visitor's session.

    Raises Problem 400 for input that is no text, 401 for a wrong pair.
    """
    if not isinstance(email, str) or not isinstance(password, str):
        raise Problem(400, "email and password must be text", "validation_error")
    email = email.strip().lower()
    user = db.session.scalar(select(User).where(User.email == email)) if _is_address(email) else None
    matches = verify_password(user.password if user else None, password)
    if user is None or not matches or not user.active:
        raise Problem(401, "The e-mail address or the password is wrong.", "login_failed")
    forget_failed_logins()
    # A session from before the login ends with it; the runs created in it stay its user's to start.
    made = session.get(MADE)
    current_app.session_interface.regenerate(session)  # type: ignore[attr-defined]
    session.clear()
    if made:
        session[MADE] = made
    login_user(user)
    user.last_login_at = datetime.now(UTC)
    db.session.commit()
    return user


@blueprint.get("/login")
def login_page() -> str | AnyResponse:
    """Show the login form; redirect a visitor who is logged in to the page they came from."""
    if current_user.is_authenticated:
        return redirect(_next_page())
    # Nothing of this visit is stored, but a form that leads to no session must not be shown: this raises RedisError.
    current_app.extensions["session_redis"].ping()
    return render_template("login.html", next=request.args.get("next", ""))


@blueprint.post("/login")
@limit_failed_logins
def login_form() -> tuple[str, int | None] | AnyResponse:
    """Log in from the form."""
    try:
        log_in(request.form.get("email"), request.form.get("password"))
    except Problem as problem:
        page = render_template(
            "login.html",
            next=request.form.get("next", ""),
            email=request.form.get("email", ""),
            problem=problem.description,
        )
        return page, problem.code
    return redirect(_next_page())


@blueprint.post("/logout")
def logout_form() -> AnyResponse:
    """Log out from the button of the page: end the visitor's session, in Redis as well."""
    revoke_tokens()
    current_app.session_interface.regenerate(session)  # type: ignore[attr-defined]
    logout_user()
    session.clear()
    return redirect(url_for("pages.runs"))


def hash_password(password: str) -> str:
    """Return the text to store for a password: scrypt over an HMAC with the site's own secret salt.

    The HMAC makes a stolen table useless without the secret; scrypt adds its own random salt per password.
    """
    return generate_password_hash(_keyed(password), _METHOD)


def verify_password(stored: str | None, password: str) -> bool:
    """Return whether `password` is the one behind `stored`.

    Takes the same time for an account that does not exist (`stored` None), so that accounts can't be listed.
    """
    matches = check_password_hash(stored or _UNKNOWN_ACCOUNT, _keyed(password))
    return matches and stored is not None


def _keyed(password: str) -> str:
    salt = current_app.config["PASSWORD_SALT"].encode()
    # JSON may carry half a surrogate pair; it is a wrong password, not an error.
    digest = hmac.digest(salt, password.encode("utf-8", "surrogatepass"), hashlib.sha512)
    return base64.b64encode(digest).decode("ascii")


def _next_page() -> str:
    """Return the page of the parameter `next` if it is one of this site, else the list of runs."""
    wanted = request.values.get("next", "")
    # Two slashes begin a host, and browsers take a backslash for a slash and pass over what can't be printed.
    local = wanted.startswith("/") and wanted[1:2] not in ("/", "\\") and wanted.isprintable()
    return wanted if local else url_for("pages.runs")


def _is_address(email: str) -> bool:
    return 0 < len(email) <= 255 and email.isascii() and email.isprintable()


@click.command("set-user")
@click.argument("email")
@click.option("--role", "roles", multiple=True, help="A role to give to the account; may be repeated.")
@with_appcontext
def set_user(email: str, roles: tuple[str, ...]) -> None:
    """Make the account EMAIL, or give it a new password, read from the first line of standard input.

    Every session of the account ends.
    """
    email = email.strip().lower()
    if "@" not in email or not _is_address(email):
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
    user.password = hash_password(password)
    user.fs_uniquifier = secrets.token_hex(32)
    user.active = True
    user.roles.extend(known[name] for name in roles if known[name] not in user.roles)
    db.session.commit()
    click.echo(f"{email}: {'made' if made else 'password changed'}")
