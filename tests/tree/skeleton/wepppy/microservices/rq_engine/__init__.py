"""Creates runs and puts jobs on the queues: `app`, in front of the workers."""

from __future__ import annotations

import uuid
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse
from rq.exceptions import NoSuchJobError
from rq.job import Job
from starlette.concurrency import run_in_threadpool

from wepppy.config.redis_settings import RedisDB, redis_client
from wepppy.microservices.rq_engine import projects
from wepppy.microservices.rq_engine.auth import AUDIENCE, ApiError, bearer, claims_of, session_user
from wepppy.nodb.redis_prep import RedisPrep
from wepppy.rq import enqueue
from wepppy.weppcloud.utils import auth_tokens
from wepppy.weppcloud.utils.cap_verify import CapVerificationError, verify_cap_token
from wepppy.weppcloud.utils.helpers import get_wd

app = FastAPI(title="WEPPcloud RQ Engine")
JOBS = {
    "run-wepp": ("default", "wepppy.rq.wepp_rq.run_wepp_rq"),
    "archive": ("fork-archive", "wepppy.rq.project_rq.archive_rq"),
}


@app.exception_handler(ApiError)
async def _refuse(_request: Request, error: ApiError) -> JSONResponse:
    return JSONResponse({"error": {"message": str(error), "code": error.code}}, status_code=error.status)


@app.exception_handler(Exception)
async def _fail(_request: Request, error: Exception) -> JSONResponse:
    document = {
        "error": {"message": "An unexpected error", "details": repr(error)},
        "error_id": uuid.uuid4().hex,
    }
    return JSONResponse(document, status_code=500)


@app.get("/health")
def health() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok", "scope": "rq-engine"}


async def _payload(request: Request) -> dict[str, Any]:
    if request.headers.get("Content-Type", "").startswith("application/json"):
        document = await request.json()
        return document if isinstance(document, dict) else {}
    return dict(await request.form())


def _creator(request: Request, payload: dict[str, Any]) -> int | None:
    """Return the id of the user who creates a run, None for a visitor who solved the CAPTCHA."""
    token = str(payload.get("rq_token") or bearer(request))
    if token:
        return int(claims_of(token)["sub"])
    captcha = str(payload.get("cap_token") or "")
    if not captcha:
        user = _session_user(request)
        if user is None:
            raise ApiError(403, "forbidden", "CAPTCHA token is required.")
        return int(user)
    try:
        good = verify_cap_token(captcha, f"{request.url.scheme}://{request.url.netloc}")
    except CapVerificationError as error:
        raise ApiError(500, "captcha_unavailable", f"CAPTCHA verification failed: {error}") from error
    if not good:
        raise ApiError(403, "forbidden", "CAPTCHA verification failed.")
    return None


def _session_user(request: Request) -> str | None:
    try:
        return session_user(request)
    except ApiError:
        return None


@app.post("/create/")
async def create(request: Request) -> RedirectResponse:
    """Create a run and lead to its page."""
    payload = await _payload(request)
    config = str(payload.get("config") or "").strip()
    if not config.replace("-", "").replace("_", "").isalnum():
        raise ApiError(400, "validation_error", "config is required")
    owner = await run_in_threadpool(_creator, request, payload)
    try:
        lng, lat = float(payload.get("lng") or -117.5), float(payload.get("lat") or 46.9)
    except ValueError as error:
        raise ApiError(400, "validation_error", str(error)) from error
    runid = await run_in_threadpool(projects.create_run, config, owner, lng, lat)
    return RedirectResponse(projects.run_url(runid, config), status_code=303)


@app.post("/api/runs/{runid}/{config}/session-token")
def session_token(request: Request, runid: str, config: str) -> dict[str, str]:
    """Exchange a session for a token that is good for one run, the visitor's own or a public one."""
    user = session_user(request)
    try:
        owner = projects.owner_of(runid)
    except (LookupError, ValueError) as error:
        raise ApiError(404, "run_not_found", str(error)) from error
    if owner is not None and str(owner) != user:
        raise ApiError(403, "forbidden", f"Run {runid} is not yours")
    token = auth_tokens.issue(user or "0", AUDIENCE, ["rq:enqueue", "rq:status"], runid=runid, config=config)
    return {"token": token, "token_class": "session"}


@app.post("/api/runs/{runid}/{config}/{task}")
def submit(request: Request, runid: str, config: str, task: str) -> dict[str, str]:
    """Put a task of a run on its queue."""
    if task not in JOBS:
        raise ApiError(404, "not_found", f"There is no task {task} for {config}")
    claims_of(bearer(request), runid)
    try:
        projects.owner_of(runid)
    except (LookupError, ValueError) as error:
        raise ApiError(404, "run_not_found", str(error)) from error
    queue, function = JOBS[task]
    job = enqueue(queue, function, runid)
    prep = RedisPrep(get_wd(runid))
    prep.set_rq_job_id(task, job.id)
    return {"job_id": job.id, "status_url": f"/rq-engine/api/jobstatus/{job.id}"}


@app.post("/api/batch/_/{name}/run-batch")
async def run_batch(request: Request, name: str) -> dict[str, str]:
    """Put the statistics of several runs on the queue `batch`."""
    claims_of(bearer(request))
    runids = (await _payload(request)).get("runids")
    if not isinstance(runids, list) or not runids:
        raise ApiError(400, "validation_error", "runids is required")
    job = enqueue(
        "batch", "wepppy.rq.batch_rq.run_batch_rq", f"batch;;{name};;_base", [str(runid) for runid in runids]
    )
    return {"job_id": job.id}


@app.get("/api/jobstatus/{job_id}")
def job_status(job_id: str) -> dict[str, Any]:
    """Say how far a job is."""
    try:
        job = Job.fetch(job_id, connection=redis_client(RedisDB.RQ, decode_responses=False))
    except NoSuchJobError as error:
        raise ApiError(404, "not_found", f"There is no job {job_id}") from error
    answer = {
        "id": job.id,
        "runid": job.meta.get("runid"),
        "queue": job.origin,
        "status": job.get_status(),
    }
    return {**answer, "result": job.return_value()} if job.is_finished else answer
