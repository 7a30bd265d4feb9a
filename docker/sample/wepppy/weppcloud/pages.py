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
from flask_login import current_user
from werkzeug.wrappers import Response as AnyResponse

from wepppy.config.run_paths import get_wd
from wepppy.weppcloud import run_access, run_check, run_results, run_store
from wepppy.weppcloud.browse_token import give_token
from wepppy.weppcloud.errors import Problem
from wepppy.weppcloud.models import Run, db
from wepppy.weppcloud.rate_limits import limit_runs

PAGE_LENGTH = 50
SERVICES = "/weppcloud-microservices"
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
    """Show the runs the visitor may see (all, or those that `search` finds), and the form that makes a new one."""
    listed = run_access.visible_runs(min(request.args.get("page", 1, type=int), 10**6), PAGE_LENGTH)
    return render_template(
        "runs.html",
        runs=listed,
        jobs=run_store.job_states([run.runid for run in listed.items]),
        owner_name=owner_name,
        may_manage=run_access.may_manage,
        has_files=run_store.has_files,
        strays=run_check.count_without_row() if current_user.is_administrator else 0,
        search=run_access.search_text(),
    )


@blueprint.get("/runs/")
def runs_folder() -> AnyResponse:
    """Redirect the address above all runs to their list."""
    return redirect(url_for("pages.runs"))


@blueprint.post("/runs/")
@limit_runs("created")
def create_run() -> AnyResponse:
    """Create a run from the form and show it."""
    run = run_access.create(request.form.get("name", ""), public="private" not in request.form)
    return redirect(url_for("pages.run", runid=run.runid, config=run.config), 303)


@blueprint.get("/runs/<runid>/<config>/")
def run(runid: str, config: str) -> Response:
    """Show a run: map, log, checklist, climate and files."""
    shown = run_access.visible_run(runid, config)
    shown.last_accessed = datetime.now(UTC)
    db.session.commit()
    # The file services keep the prefix in their own addresses, whatever the proxy does with ours.
    address = f"{current_app.config['SITE_PREFIX']}/runs/{quote(runid)}/{quote(config)}/"
    page = render_template(
        "run.html",
        run=shown,
        job=run_store.job_states([runid])[runid],
        may_start=run_access.may_start(shown),
        checklist=CHECKLIST,
        extent=run_store.extent_of(shown),
        files_prefix=address,
        owner=owner_name(shown),
    )
    response = current_app.make_response(page)
    # Also to what the page asks elsewhere, as a browser writes those paths.
    names = "status/{}:wepp", "preflight/{}", "webpush/subscriptions/{}"
    give_token(response, shown, [address, *(f"{SERVICES}/{name.format(quote(runid))}" for name in names)])
    return response


@blueprint.post("/runs/<runid>/<config>/rename")
def rename_run(runid: str, config: str) -> AnyResponse:
    """Rename a run from the form of the list."""
    renamed = run_access.require_manager(run_access.visible_run(runid, config), "rename")
    run_store.rename_run(renamed, run_access.checked_name(request.form.get("name", "")))
    return redirect(url_for("pages.runs"), 303)


@blueprint.post("/runs/<runid>/<config>/delete")
def delete_run(runid: str, config: str) -> AnyResponse:
    """Delete a run with its files from the form of the list."""
    run_access.require_manager(run_access.visible_run(runid, config), "delete")
    try:
        run_store.remove_run(runid)
    except run_store.ActiveError as error:
        message = "The run is being computed. Delete it when it has ended."
        raise Problem(409, message, "run_active") from error
    return redirect(url_for("pages.runs"), 303)


@blueprint.get("/runs/<runid>/<config>/export.zip")
def export_run(runid: str, config: str) -> Response:
    """Send all files of a run as one archive."""
    folder = get_wd(run_access.visible_run(runid, config).runid)
    if not folder.is_dir():
        raise Problem(404, "This run has no files.", "run_not_found")
    headers = {"Content-Disposition": f'attachment; filename="{quote(runid)}.zip"'}
    return Response(run_results.zipped(folder), mimetype="application/zip", headers=headers)


@blueprint.get("/compare")
def compare_runs() -> str:
    """Show the results of two runs (`?run=...&run=...`) side by side."""
    wanted = request.args.getlist("run")
    if len(wanted) != 2:
        raise Problem(400, "Choose exactly two runs to compare.")
    first, second = (run_access.visible_run(runid) for runid in wanted)
    rows = run_results.compare(run_results.results_of(first.runid), run_results.results_of(second.runid))
    return render_template("compare.html", first=first, second=second, rows=rows)


def owner_name(run: Run) -> str:
    """Return the owner of a run as the visitor may see it: e-mail addresses are not public."""
    if run.owner is None:
        return "nobody"
    if not current_user.is_authenticated:
        return "a user"
    return "you" if run.owner_id == current_user.id else run.owner.email


@blueprint.get("/service-worker.js")
def service_worker() -> Response:
    """Serve the script that shows notifications; from here its reach is the whole application."""
    folder = current_app.static_folder or ""
    response = send_from_directory(folder, "js/service-worker.js", mimetype="text/javascript", max_age=0)
    response.headers["Service-Worker-Allowed"] = (request.script_root or "") + "/"
    return response
