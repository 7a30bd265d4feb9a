"""The pages people see: the list of runs and the page of one run."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

from flask import (
    Blueprint,
    Response,
    current_app,
    redirect,
    render_template,
    request,
    send_from_directory,
    url_for,
)
from werkzeug.wrappers import Response as AnyResponse

from wepppy.weppcloud import accounts, run_store
from wepppy.weppcloud.api import new_run, start, visible_run
from wepppy.weppcloud.browse_token import give_token
from wepppy.weppcloud.models import db

PAGE_LENGTH = 50
# The steps of a run in the order they are done, by the keys of the preflight service.
CHECKLIST = (
    ("channels", "Channels"),
    ("outlet", "Outlet"),
    ("subcatchments", "Subcatchments"),
    ("landuse", "Land use"),
    ("soils", "Soils"),
    ("climate", "Climate"),
    ("wepp", "Runoff"),
    ("rusle", "Soil loss"),
)

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def runs() -> str:
    """Show the runs the visitor may see, newest first, and the form that makes a new one."""
    text = request.args.get("page", "1")
    page = min(int(text), 10**6) if text.isascii() and text.isdigit() and len(text) < 9 and int(text) else 1
    listed, total = run_store.visible_runs(PAGE_LENGTH, (page - 1) * PAGE_LENGTH)
    jobs = run_store.job_states([run.runid for run in listed])
    pages = max(1, -(-total // PAGE_LENGTH))
    return render_template("runs.html", runs=listed, jobs=jobs, total=total, page=page, pages=pages)


@blueprint.get("/runs/")
def runs_folder() -> AnyResponse:
    """Lead from the address above all runs to their list."""
    return redirect(url_for("pages.runs"))


@blueprint.post("/runs/")
def create_run() -> AnyResponse:
    """Create a run from the form and show it."""
    run = new_run(request.form.get("name", ""), "private" not in request.form)
    return redirect(url_for("pages.run", runid=run.runid, config=run.config), 303)


@blueprint.get("/runs/<runid>/")
def run_without_config(runid: str) -> AnyResponse:
    """Complete the address of a run."""
    return redirect(url_for("pages.run", runid=runid, config=visible_run(runid).config))


@blueprint.get("/runs/<runid>/<config>/")
def run(runid: str, config: str) -> Response:
    """Show a run: map, log, checklist, climate and files."""
    shown = visible_run(runid, config)
    shown.last_accessed = datetime.now(UTC)
    db.session.commit()
    # The file services keep the prefix in their own addresses, whatever the proxy does with ours.
    address = f"{current_app.config['SITE_PREFIX']}/runs/{quote(runid)}/{quote(config)}/"
    page = render_template(
        "run.html",
        run=shown,
        job=run_store.job_states([runid])[runid],
        may_start=accounts.may_change(shown),
        checklist=CHECKLIST,
        extent=run_store.extent_of(shown),
        files_prefix=address,
    )
    response = current_app.make_response(page)
    give_token(response, shown, address)
    return response


@blueprint.post("/runs/<runid>/<config>/start")
def start_run(runid: str, config: str) -> AnyResponse:
    """Start a run from the button, for browsers without scripts."""
    start(visible_run(runid, config))
    return redirect(url_for("pages.run", runid=runid, config=config), 303)


@blueprint.get("/service-worker.js")
def service_worker() -> Response:
    """Serve the script that shows notifications; from here its reach is the whole application."""
    folder = current_app.static_folder or ""
    response = send_from_directory(folder, "js/service-worker.js", mimetype="text/javascript", max_age=0)
    response.headers["Service-Worker-Allowed"] = (request.script_root or "") + "/"
    return response
