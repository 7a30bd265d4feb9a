"""The files of a run."""

from __future__ import annotations

import html
import os
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import rasterio
import requests
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from wepppy.config.secrets import get_secret
from wepppy.microservices._runs import RunError, path_below, run_folder

PREFIX = (os.environ.get("SITE_PREFIX") or "/weppcloud").rstrip("/")
DTALE = os.environ.get("DTALE_SERVICE_URL") or "http://dtale:9010"


async def health(_request: Request) -> Response:
    """Say that the process answers."""
    return PlainTextResponse("OK")


def _entry(path: Path) -> dict[str, object]:
    kind = "directory" if path.is_dir() else "file"
    return {"name": path.name, "type": kind, "size_bytes": path.stat().st_size}


async def files(request: Request) -> Response:
    """List a folder as JSON."""
    folder = path_below(run_folder(request), request.path_params.get("path", ""))
    if not folder.is_dir():
        raise RunError(400, "not_a_directory", f"{folder.name} is a file")
    entries = [_entry(path) for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    return JSONResponse({"runid": request.path_params["runid"], "entries": entries, "total": len(entries)})


async def browse(request: Request) -> Response:
    """Show a folder as a page, or a file's text."""
    path = path_below(run_folder(request), request.path_params.get("path", ""))
    if path.is_file():
        return PlainTextResponse(path.read_text(encoding="utf-8", errors="replace"))
    names = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in sorted(path.iterdir())]
    links = "".join(
        f'<li><a href="{quote(name)}">{html.escape(name)}</a></li>' for name in names if name[0] != "."
    )
    return HTMLResponse(f"<title>{html.escape(path.name)}</title><ul>{links}</ul>")


async def download(request: Request) -> Response:
    """Send a file; a table as CSV with `?as_csv=1`."""
    path = path_below(run_folder(request), request.path_params["path"])
    if request.query_params.get("as_csv") == "1":
        table = await run_in_threadpool(pd.read_json, path, typ="series")
        return PlainTextResponse(table.to_csv(header=False), media_type="text/csv")
    return FileResponse(path, filename=path.name)


async def gdalinfo(request: Request) -> Response:
    """Describe a raster."""
    path = path_below(run_folder(request), request.path_params["path"])
    with rasterio.open(path) as raster:
        return JSONResponse(
            {"driver": raster.driver, "size": [raster.width, raster.height], "crs": str(raster.crs)}
        )


async def dtale(request: Request) -> Response:
    """Have the table viewer load a file."""
    path = path_below(run_folder(request), request.path_params["path"])
    headers = {"X-DTALE-TOKEN": get_secret("DTALE_INTERNAL_TOKEN") or ""}
    load = {"runid": request.path_params["runid"], "path": str(path)}
    answer = await run_in_threadpool(
        requests.post, f"{DTALE}/internal/load", json=load, headers=headers, timeout=30
    )
    return JSONResponse(answer.json(), status_code=answer.status_code)


def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RunError)
    return JSONResponse(error.body, status_code=error.status)


RUN = f"{PREFIX}/runs/{{runid}}/{{config}}"
app = Starlette(
    routes=[
        Route("/health", health),
        Route(f"{RUN}/browse/", browse),
        Route(f"{RUN}/browse/{{path:path}}", browse),
        Route(f"{RUN}/files/", files),
        Route(f"{RUN}/files/{{path:path}}", files),
        Route(f"{RUN}/download/{{path:path}}", download),
        Route(f"{RUN}/gdalinfo/{{path:path}}", gdalinfo),
        Route(f"{RUN}/dtale/{{path:path}}", dtale),
    ],
    exception_handlers={RunError: _refuse},
)
