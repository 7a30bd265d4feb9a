"""Which runs a visitor sees and what they may do with them."""

from __future__ import annotations

from typing import Any

from flask import current_app, request, session
from flask_login import current_user
from flask_sqlalchemy.pagination import Pagination
from sqlalchemy import or_, select
from sqlalchemy.sql import Select

from wepppy.weppcloud import run_store
from wepppy.weppcloud.accounts import MADE
from wepppy.weppcloud.errors import Problem
from wepppy.weppcloud.models import Run, User, db, runs_users

NAME_LENGTH = 100
# A session's cookie has room for so many runs that were created without an account.
MADE_KEPT = 50


def visible_runs(page: int, length: int) -> Pagination:
    """Return a page of the runs the visitor may see, newest first.

    The parameter `search` is part of a name or id; for those who are logged in also of the owner's e-mail address.
    """
    chosen: Select[Any] = select(Run)
    if not current_user.is_administrator:
        shared = select(runs_users.c.run_id).where(runs_users.c.user_id == current_user.id)
        mine = [Run.owner_id == current_user.id, Run.id.in_(shared)] if current_user.id else []
        chosen = chosen.where(or_(Run.public, *mine))
    if search := search_text():
        places = [Run.name.icontains(search, autoescape=True), Run.runid.icontains(search, autoescape=True)]
        if current_user.is_authenticated:
            places.append(Run.owner.has(User.email.icontains(search, autoescape=True)))
        chosen = chosen.where(or_(*places))
    ordered = chosen.order_by(Run.date_created.desc(), Run.id.desc())
    return db.paginate(ordered, page=page, per_page=length, max_per_page=length, error_out=False)


def visible_run(runid: str, config: str | None = None) -> Run:
    """Return the run the visitor named. Raises Problem 404 when there is none that they may see."""
    run = run_store.find_run(runid)
    if run is None or not (run.public or may_start(run)) or config not in (None, run.config):
        raise Problem(404, "There is no such run.", "run_not_found")
    return run


def may_start(run: Run) -> bool:
    """Return whether the visitor may start a run: its owner, its users, administrators.

    A run without an owner may be started from the browser session that created it.
    """
    if run.owner_id is None and run.runid in session.get(MADE, ()):
        return True
    return may_manage(run) or (current_user.is_authenticated and current_user in run.users)


def may_manage(run: Run) -> bool:
    """Return whether the visitor may rename or delete a run: its owner and administrators, who are logged in."""
    return current_user.is_administrator or (
        current_user.is_authenticated and current_user.id == run.owner_id
    )


def require_manager(run: Run, what: str) -> Run:
    """Return the run. Raises Problem 403 for visitors who may not manage it."""
    if not may_manage(run):
        raise Problem(403, f"Only the owner of a run may {what} it.")
    return run


def create(name: object, *, public: bool) -> Run:
    """Create a run for the visitor.

    Raises Problem 400 for an unusable name, 401 when visitors must log in to create runs, 503
    while there is no landscape to make one of.
    """
    name = checked_name(name)
    owner = current_user._get_current_object() if current_user.is_authenticated else None
    if owner is None and not current_app.config["ANONYMOUS_CREATION"]:
        raise Problem(401, "Log in to create a run.")
    # A private run without an owner could never be opened again.
    try:
        run = run_store.create_run(name, public=public or owner is None, owner=owner)
    except run_store.NoGeodataError as error:
        raise Problem(503, f"A run can't be made: {error}.", "no_geodata") from error
    if owner is None:
        session[MADE] = [*session.get(MADE, ()), run.runid][-MADE_KEPT:]
    return run


def checked_name(name: object) -> str:
    """Return the name of a run without spaces around it. Raises Problem 400 for an unusable one."""
    if not isinstance(name, str) or not name.isprintable() or len(name.strip()) > NAME_LENGTH:
        message = f"name must be text of at most {NAME_LENGTH} printable characters"
        raise Problem(400, message, "validation_error")
    return name.strip()


def search_text() -> str:
    """Return what the visitor searches for, "" for nothing; what no name can hold is left out."""
    return "".join(filter(str.isprintable, request.args.get("search", "")))[:NAME_LENGTH].strip()
