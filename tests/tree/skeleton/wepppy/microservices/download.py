"""Archives of runs, which may take half an hour to send."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from wepppy.microservices._runs import RunError, path_below, run_folder

PREFIX = (os.environ.get("SITE_PREFIX") or "/weppcloud").rstrip("/")


async def health(_request: Request) -> Response:
    """Say that the process answers."""
    return PlainTextResponse("OK")


async def archive(request: Request) -> Response:
    """Send an archive of a run."""
    try:
        path = path_below(run_folder(request), f"archives/{request.path_params['name']}")
    except RunError as error:
        return JSONResponse(error.body, status_code=error.status)
    return FileResponse(path, filename=path.name, media_type="application/zip")


app = Starlette(
    routes=[
        Route("/health", health),
        Route(f"{PREFIX}/runs/{{runid}}/{{config}}/download/archives/{{name}}", archive),
    ]
)
