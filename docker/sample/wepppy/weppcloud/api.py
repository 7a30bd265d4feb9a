"""The JSON interface: what the pages can do, for scripts and tests. Success is `{"Content": ...}`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, current_app, jsonify, request, url_for
from flask_login import current_user
from flask_wtf.csrf import generate_csrf

from wepppy.weppcloud import accounts, run_removal, run_store
from wepppy.weppcloud.errors import Problem
from wepppy.weppcloud.models import Run
from wepppy.weppcloud.rate_limits import limit_failed_logins, limit_runs
from wepppy.weppcloud.sessions import require_session

blueprint = Blueprint("api", __name__, url_prefix="/api")


@blueprint.get("/csrf-token")
def csrf_token() -> Response:
    """Return the token to send as `X-CSRFToken` with every POST of this session."""
    require_session()
    return jsonify({"Content": {"csrf_token": generate_csrf()}})


@blueprint.post("/login")
@limit_failed_logins
def login() -> Response:
    """Log in with `{"email", "password"}`. The reply holds the token of the new session."""
    body = json_body()
    user = accounts.log_in(body.get("email"), body.get("password"))
    return jsonify({"Content": {"email": user.email, "csrf_token": generate_csrf()}})


@blueprint.post("/logout")
def logout() -> Response:
    """Log out."""
    accounts.log_out()
    return jsonify({})


@blueprint.get("/runs")
def list_runs() -> Response:
    """List the runs the visitor may see, newest first: `limit` 1 to 1000 (50), `offset` from 0, `search`."""
    limit, offset = _whole_number("limit", 50, 1, 1000), _whole_number("offset", 0, 0, 10**9)
    runs, total = run_store.visible_runs(limit, offset, search_text())
    states = run_store.job_states([run.runid for run in runs])
    content = [describe(run, states[run.runid]) for run in runs]
    return jsonify({"Content": {"runs": content, "total": total, "limit": limit, "offset": offset}})


@blueprint.post("/runs")
@limit_runs("created")
def create_run() -> tuple[Response, int]:
    """Create a run from `{"name": text, "public": true}`, both optional. Answers 201."""
    body = json_body()
    public = body.get("public", True)
    if not isinstance(public, bool):
        raise Problem(400, "public must be true or false", "validation_error")
    run = new_run(body.get("name", ""), public)
    return jsonify({"Content": describe(run, None)}), 201


@blueprint.get("/runs/<runid>")
def show_run(runid: str) -> Response:
    """Return one run with the state of its last job."""
    run = visible_run(runid)
    return jsonify({"Content": describe(run, run_store.job_states([run.runid])[run.runid])})


@blueprint.patch("/runs/<runid>")
def rename_run(runid: str) -> Response:
    """Rename a run: `{"name": text}`."""
    run = visible_run(runid)
    run_removal.rename(run, checked_name(json_body().get("name")))
    return jsonify({"Content": describe(run, run_store.job_states([run.runid])[run.runid])})


@blueprint.delete("/runs/<runid>")
def delete_run(runid: str) -> tuple[str, int]:
    """Delete a run with its files. Answers 204."""
    run_removal.delete(visible_run(runid))
    return "", 204


@blueprint.post("/runs/<runid>/start")
@limit_runs("started")
def start_run(runid: str) -> tuple[Response, int]:
    """Put a run on the queue: 202 with a new job, 200 with the job that is already waiting or working."""
    job_id, new = start(visible_run(runid))
    return jsonify({"Content": {"runid": runid, "job_id": job_id, "new": new}}), 202 if new else 200


def visible_run(runid: str, config: str | None = None) -> Run:
    """Return the run the visitor named. Raises Problem 404 when there is none that they may see."""
    run = run_store.find_run(runid)
    if run is None or not accounts.may_see(run) or config not in (None, run.config):
        raise Problem(404, "There is no such run.", "run_not_found")
    return run


def checked_name(name: object) -> str:
    """Return the name of a run without spaces around it. Raises Problem 400 for an unusable one."""
    if not isinstance(name, str) or not name.isprintable() or len(name.strip()) > run_store.NAME_LENGTH:
        limit = run_store.NAME_LENGTH
        raise Problem(400, f"name must be text of at most {limit} printable characters", "validation_error")
    return name.strip()


def new_run(name: object, public: bool) -> Run:
    """Create a run for the visitor.

    Raises Problem 400 for an unusable name, 401 when visitors must log in to create runs, 503
    while there is no landscape to make one of.
    """
    name = checked_name(name)
    if not current_user.is_authenticated and not current_app.config["ANONYMOUS_CREATION"]:
        raise Problem(401, "Log in to create a run.")
    owner = current_user._get_current_object() if current_user.is_authenticated else None
    # A private run without an owner could never be opened again.
    try:
        run = run_store.create_run(name, public=public or owner is None, owner=owner)
    except run_store.NoGeodataError as error:
        raise Problem(503, f"A run can't be made: {error}.", "no_geodata") from error
    if owner is None:
        accounts.remember_made(run)
    return run


def start(run: Run) -> tuple[str, bool]:
    """Start a run for the visitor. Raises Problem 403 when it is not theirs to start."""
    if not accounts.may_change(run):
        raise Problem(403, "Only the owner of a run may start it.")
    return run_store.start_run(run)


def describe(run: Run, job: dict[str, str] | None) -> dict[str, Any]:
    """Return a run in the form the JSON interface shows it."""
    return {
        "runid": run.runid,
        "config": run.config,
        "name": run.name,
        "public": run.public,
        "mine": current_user.is_authenticated and current_user.id == run.owner_id,
        "created": run.date_created.isoformat(timespec="seconds"),
        "last_modified": run.last_modified.isoformat(timespec="seconds") if run.last_modified else None,
        "url": url_for("pages.run", runid=run.runid, config=run.config),
        "job": job,
    }


def search_text() -> str:
    """Return what the visitor searches for, "" for nothing; what no name can hold is left out."""
    return "".join(filter(str.isprintable, request.args.get("search", "")))[: run_store.NAME_LENGTH].strip()


def json_body() -> dict[str, Any]:
    """Return the JSON object that was sent, {} for no body. Raises Problem 400 for anything else."""
    if not request.get_data(cache=True):
        return {}
    body = request.get_json(silent=True, force=True)
    if not isinstance(body, dict):
        raise Problem(400, "the body must be a JSON object", "validation_error")
    return body


def _whole_number(name: str, default: int, low: int, high: int) -> int:
    text = request.args.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and low <= int(text) <= high):
        raise Problem(400, f"{name} must be a whole number from {low} to {high}", "validation_error")
    return int(text)
