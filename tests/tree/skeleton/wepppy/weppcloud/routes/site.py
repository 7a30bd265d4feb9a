"""Front page, run list, run page and health."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, abort, current_app, jsonify, make_response, render_template, send_file
from flask_login import current_user, login_required

from wepppy.nodb.redis_prep import RedisPrep
from wepppy.weppcloud.models import Run, db
from wepppy.weppcloud.utils import auth_tokens
from wepppy.weppcloud.utils.helpers import get_wd

site_bp = Blueprint("site", __name__)
BROWSE_COOKIE = "wepp_browse_jwt"


@site_bp.get("/health")
def health() -> Response:
    """Say that the process answers; nothing behind it is asked."""
    return jsonify("OK")


@site_bp.get("/")
@site_bp.get("/interfaces/")
def index() -> str:
    """Count the runs and offer to create one."""
    count = db.session.scalar(db.select(db.func.count(Run.id)))
    return render_template("index.htm", count=count, rq_token=_rq_token())


def _rq_token() -> str:
    if not current_user.is_authenticated:
        return ""
    return auth_tokens.issue(current_user.get_id(), "rq-engine", ["rq:enqueue"])


@site_bp.get("/runs/")
@login_required
def runs() -> str:
    """List the user's runs."""
    owned = db.select(Run).filter_by(owner_id=current_user.id).order_by(Run.date_created.desc())
    return render_template("runs.htm", runs=db.session.scalars(owned).all())


def _own_run(runid: str) -> Run:
    """Return a run that the visitor may see; end the request with 404 or 403."""
    run = db.session.scalar(db.select(Run).filter_by(runid=runid))
    if run is None or not Path(get_wd(runid)).is_dir():
        abort(404, f"Run {runid} not found")
    public = Path(get_wd(runid), "PUBLIC").exists()
    if not public and run.owner_id != getattr(current_user, "id", None):
        abort(403, f"Run {runid} is not yours")
    return run


@site_bp.get("/runs/<runid>/<config>/")
def run_page(runid: str, config: str) -> Response:
    """Show a run and let its visitor browse its files for an hour."""
    run = _own_run(runid)
    prep = RedisPrep(get_wd(runid))
    done = sorted(
        name.partition(":")[2] for name in prep.redis.hkeys(runid) if name.startswith("timestamps:")
    )
    page = make_response(render_template("run.htm", run=run, config=config, done=done, rq_token=_rq_token()))
    token = auth_tokens.issue(str(run.owner_id or ""), "browse", ["run:read"], runid=runid)
    page.set_cookie(BROWSE_COOKIE, token, max_age=3600, secure=True, httponly=True, samesite="Lax")
    return page


@site_bp.get("/runs/<runid>/<config>/download/features/published/<name>")
def published_features(runid: str, config: str, name: str) -> Response:
    """Send a published result of a run; the proxy leaves these to the application."""
    _own_run(runid)
    file = Path(get_wd(runid), "wepp", "output", Path(name).name)
    if not file.is_file():
        abort(404, f"{name} was not published for {config}")
    current_app.logger.info("published %s of %s", name, runid)
    return send_file(file, as_attachment=True)
