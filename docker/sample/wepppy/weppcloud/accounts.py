"""Logging in and out, and what a visitor may do with a run."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, current_app, redirect, render_template, request, session, url_for
from flask_login import LoginManager, current_user, login_user, logout_user
from sqlalchemy import select
from werkzeug.wrappers import Response as AnyResponse

from wepppy.weppcloud.browse_token import revoke_tokens
from wepppy.weppcloud.errors import Problem
from wepppy.weppcloud.models import Run, User, db
from wepppy.weppcloud.passwords import verify_password
from wepppy.weppcloud.rate_limits import limit_failed_logins
from wepppy.weppcloud.sessions import Sessions

# Runs created without an account; a session's cookie has room for so many.
_MADE = "made"
MADE_KEPT = 50

blueprint = Blueprint("accounts", __name__)
login_manager = LoginManager()


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
    known: User | None = None
    if 0 < len(email) <= 255 and email.isprintable() and email.isascii():
        known = db.session.scalar(select(User).where(User.email == email))
    matches = verify_password(
        known.password if known else None, password, current_app.config["PASSWORD_SALT"]
    )
    if known is None or not matches or not known.active:
        raise Problem(401, "The e-mail address or the password is wrong.", "login_failed")
    # A session from before the login ends with it; the runs created in it stay its user's to start.
    made = session.get(_MADE)
    _new_session_id()
    session.clear()
    if made:
        session[_MADE] = made
    login_user(known)
    known.last_login_at = datetime.now(UTC)
    db.session.commit()
    return known


def may_see(run: Run) -> bool:
    """Return whether the visitor may look at a run."""
    return run.public or may_change(run)


def may_change(run: Run) -> bool:
    """Return whether the visitor may start a run: its owner, its users, administrators.

    A run without an owner may be started from the browser session that created it.
    """
    if run.owner_id is None and run.runid in session.get(_MADE, ()):
        return True
    if not current_user.is_authenticated:
        return False
    return (
        current_user.id == run.owner_id or current_user.has_role("Admin", "Root") or current_user in run.users
    )


def may_manage(run: Run) -> bool:
    """Return whether the visitor may rename or delete a run: its owner and administrators, who are logged in."""
    if not current_user.is_authenticated:
        return False
    return current_user.id == run.owner_id or current_user.has_role("Admin", "Root")


def remember_made(run: Run) -> None:
    """Record in the visitor's session that it created a run without an owner; the oldest records go."""
    session[_MADE] = [*session.get(_MADE, ()), run.runid][-MADE_KEPT:]


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
def login_form() -> tuple[str, int] | AnyResponse:
    """Log in from the form."""
    try:
        log_in(request.form.get("email"), request.form.get("password"))
    except Problem as problem:
        page = render_template(
            "login.html",
            next=request.form.get("next", ""),
            email=request.form.get("email", ""),
            problem=problem.message,
        )
        return page, problem.status
    return redirect(_next_page())


@blueprint.post("/logout")
def logout_form() -> AnyResponse:
    """Log out from the button of the page."""
    log_out()
    return redirect(url_for("pages.runs"))


def log_out() -> None:
    """End the visitor's session, in Redis as well."""
    revoke_tokens()
    logout_user()
    _new_session_id()
    session.clear()


def _next_page() -> str:
    """Return the page of the parameter `next` if it is one of this site, else the list of runs."""
    wanted = request.values.get("next", "")
    # Two slashes begin a host, and browsers take a backslash for a slash and pass over what can't be printed.
    local = wanted.startswith("/") and wanted[1:2] not in ("/", "\\") and wanted.isprintable()
    return wanted if local else url_for("pages.runs")


def _new_session_id() -> None:
    sessions = current_app.session_interface
    assert isinstance(sessions, Sessions)  # noqa: S101 - set by create_app
    sessions.regenerate(session)
