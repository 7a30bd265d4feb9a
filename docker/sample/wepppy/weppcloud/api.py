"""The JSON interface: what the pages can do, for scripts and tests. Success is `{"Content": ...}`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request, url_for
from flask_login import current_user
from flask_wtf.csrf import generate_csrf

from wepppy.weppcloud import accounts, run_access, run_store
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
    body = _json_body()
    user = accounts.log_in(body.get("email"), body.get("password"))
    return jsonify({"Content": {"email": user.email, "csrf_token": generate_csrf()}})


@blueprint.get("/runs")
def list_runs() -> Response:
    """List the runs the visitor may see, newest first: `limit` 1 to 1000 (50) on a `page` from 1, `search`."""
    page = run_access.visible_runs(_whole_number("page", 1, 1, 10**6), _whole_number("limit", 50, 1, 1000))
    return jsonify({"Content": {"runs": _describe(*page.items), "total": page.total}})


@blueprint.post("/runs")
@limit_runs("created")
def create_run() -> tuple[Response, int]:
    """Create a run from `{"name": text, "public": true}`, both optional. Answers 201."""
    body = _json_body()
    public = body.get("public", True)
    if not isinstance(public, bool):
        raise Problem(400, "public must be true or false", "validation_error")
    [content] = _describe(run_access.create(body.get("name", ""), public=public))
    return jsonify({"Content": content}), 201


@blueprint.get("/runs/<runid>")
def show_run(runid: str) -> Response:
    """Return one run with the state of its last job."""
    [content] = _describe(run_access.visible_run(runid))
    return jsonify({"Content": content})


@blueprint.post("/runs/<runid>/start")
@limit_runs("started")
def start_run(runid: str) -> tuple[Response, int]:
    """Put a run on the queue: 202 with a new job, 200 with the job that is already waiting or working."""
    run = run_access.visible_run(runid)
    if not run_access.may_start(run):
        raise Problem(403, "Only the owner of a run may start it.")
    job_id, new = run_store.start_run(run)
    return jsonify({"Content": {"runid": runid, "job_id": job_id, "new": new}}), 202 if new else 200


def _describe(*runs: Run) -> list[dict[str, Any]]:
    jobs = run_store.job_states([run.runid for run in runs])
    return [
        {
            "runid": run.runid,
            "config": run.config,
            "name": run.name,
            "public": run.public,
            "mine": current_user.is_authenticated and current_user.id == run.owner_id,
            "created": run.date_created.isoformat(timespec="seconds"),
            "last_modified": run.last_modified.isoformat(timespec="seconds") if run.last_modified else None,
            "url": url_for("pages.run", runid=run.runid, config=run.config),
            "job": jobs[run.runid],
        }
        for run in runs
    ]


def _json_body() -> dict[str, Any]:
    """Return the JSON object that was sent, {} for no body. Raises Problem 400 for anything else."""
    if not request.get_data(cache=True):
        return {}
    body = request.get_json(silent=True, force=True)
    if not isinstance(body, dict):
        raise Problem(400, "the body must be a JSON object", "validation_error")
    return body


def _whole_number(name: str, default: int, low: int, high: int) -> int:
    text = request.args.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and low <= int(text) <= high):
        raise Problem(400, f"{name} must be a whole number from {low} to {high}", "validation_error")
    return int(text)
