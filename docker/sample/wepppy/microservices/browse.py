"""The files of a run, for people and for programs (port 9009).

Routes, all GET (and HEAD), under `{SITE_PREFIX}/runs/{runid}/{config}/`; the proxy leaves the prefix on:

- `browse/{path}`: a page for a directory or a file; `?preview=png&size=N` a raster as a picture, `?raw=1` an
  image or an HTML report as it is. Directory pages take `sort`, `order`, `pattern`, `limit`, `offset`.
- `files/{path}`: a directory as JSON; `limit` 1 to 10000, `offset`, `pattern` (shell pattern), `sort` name,
  date or size, `order` asc or desc, `meta`.
- `download/{path}`: the bytes, with conditions and ranges; `?as_csv=1` turns Parquet into CSV.
- `schema/{path}`: columns of a Parquet file as JSON. `gdalinfo/{path}`: facts of a raster as JSON.
- `aria2c.spec`: every file of the run as an input file for aria2c.

`GET /access/{runid}` answers 204 where the visitor may read the run, else 404 like a route of its files, or 503: the
websocket services ask it for their visitors.

`GET /health` (also behind `/browse`) answers `OK` as text, or 503 with the reason.

A public run (it holds a file `PUBLIC`) is open, its `files` list included: the real service requires a token
for that even where the same names are on the public page, which protects nothing. Other runs need a token,
see `browse_access`. Failures of `files` are JSON; the other routes answer text, or a browser a page.
Names with a leading dot are hidden and `_logs` is refused. Nothing outside of the run can be reached, see
`browse_tree`.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from urllib.parse import unquote

import anyio.to_thread
from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from wepppy.config.environment import setting, site_prefix
from wepppy.config.run_paths import wc1_root
from wepppy.config.run_tokens import signing_secrets
from wepppy.microservices import browse_pages, browse_pictures, browse_rasters, browse_tables
from wepppy.microservices.browse_access import Access, check_access
from wepppy.microservices.browse_download import FileResponse, disposition, precondition_status
from wepppy.microservices.browse_kinds import kind
from wepppy.microservices.browse_listing import as_json, parse_query, select
from wepppy.microservices.browse_tree import Node, file_paths, open_node, shown
from wepppy.microservices.service_errors import ServiceError, invalid

PREFIX = site_prefix()
_CONFIG = re.compile(r"[A-Za-z0-9_.;-]{1,100}")
_HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_drawing = anyio.CapacityLimiter(2)  # pictures and tables take memory: two at a time


async def health(request: Request) -> Response:
    """Answer OK when runs can be read and tokens can be checked with the configured secrets."""

    def look() -> None:
        names = os.listdir(wc1_root())  # noqa: PTH208 - raises at once, iterdir at its first item
        if "runs" in names:  # a new volume has none
            os.listdir(wc1_root() / "runs")  # noqa: PTH208

    try:
        await anyio.to_thread.run_sync(look)
        await anyio.to_thread.run_sync(signing_secrets)
    except OSError as error:
        return PlainTextResponse(f"the runs directory can't be read: {error.strerror}", 503)
    except RuntimeError:
        return PlainTextResponse("the secret file of WEPP_AUTH_JWT_SECRETS can't be read", 503)
    return PlainTextResponse("OK")


async def may_read(request: Request) -> Response:
    """Answer 204 where the visitor may read the run. Raises ServiceError."""
    await check_access(request, request.path_params["runid"], "")
    return Response(status_code=204)


async def open_run(request: Request) -> Access:
    """Return the visitor's access to the run of a request. Raises ServiceError."""
    runid, config = request.path_params["runid"], request.path_params["config"]
    if not _CONFIG.fullmatch(config):
        raise invalid("config", "must be letters, digits, dots, hyphens and underscores")
    return await check_access(request, runid, config)


async def open_file(request: Request, only_files: bool = True) -> tuple[Access, Node]:
    """Return the access and the open node of the request's path; the caller closes it."""
    access = await open_run(request)
    path = request.path_params.get("path", "")
    node = await anyio.to_thread.run_sync(lambda: open_node(access.run, path, privileged=access.privileged))
    if only_files and node.is_directory:
        node.close()
        raise ServiceError(400, "not_a_file", "This path is a directory.")
    return access, node


async def browse(request: Request) -> Response:
    """Answer the page of a directory or file, or a file's picture or raw form for such a page."""
    access, node = await open_file(request, only_files=False)
    if not node.is_directory and request.query_params.get("raw") and kind(node.name) in ("picture", "page"):
        return FileResponse(node, request.headers, inline=True)
    with node:
        if node.is_directory:
            query = parse_query(request.query_params, browse_pages.PAGE_ENTRIES)

            def page() -> Response:
                listing = select(node, query, privileged=access.privileged, folders_first=True)
                return browse_pages.directory_page(access, node, listing, query)

            return await anyio.to_thread.run_sync(page)
        if request.query_params.get("preview"):
            return await picture(request, node)
        return await anyio.to_thread.run_sync(browse_pages.file_page, access, node, limiter=_drawing)


async def picture(request: Request, node: Node) -> Response:
    """Answer a raster as PNG, `size` pixels at most each way."""
    if request.query_params["preview"] != "png":
        raise invalid("preview", "must be png")
    text = request.query_params.get("size", "") or str(browse_pictures.DEFAULT_SIDE)
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 16 <= int(text) <= browse_pictures.MAX_SIDE:
        raise invalid("size", f"must be a whole number from 16 to {browse_pictures.MAX_SIDE}")
    if kind(node.name) != "raster":
        raise invalid("preview", "this file is not a raster")
    headers = {
        "etag": browse_pictures.picture_etag(node, int(text)),
        "cache-control": "private, no-cache",
        "x-content-type-options": "nosniff",
    }
    if precondition_status(request.headers, headers["etag"], node.status.st_mtime) == 304:
        return Response(status_code=304, headers=headers)
    drawn = await anyio.to_thread.run_sync(browse_pictures.picture, node, int(text), limiter=_drawing)
    return Response(drawn.png, headers=headers, media_type="image/png")


async def files(request: Request) -> Response:
    """Answer a directory as JSON."""
    if not _accepts_json(request.headers.get("accept")):
        raise ServiceError(406, "not_acceptable", "This address answers application/json.")
    query = parse_query(request.query_params)
    access, node = await open_file(request, only_files=False)

    def reply() -> JSONResponse:
        listing = select(node, query, privileged=access.privileged)
        listed = as_json(node, listing, query, run=access.run, url=access.url, privileged=access.privileged)
        return JSONResponse(
            {"runid": shown(access.runid), "config": request.path_params["config"], **listed},
            headers={"cache-control": "private, no-cache"},
        )

    with node:
        return await anyio.to_thread.run_sync(reply)


async def download(request: Request) -> Response:
    """Answer a file's bytes, or a Parquet file as CSV."""
    _access, node = await open_file(request)
    if request.query_params.get("as_csv", "").lower() not in ("1", "true", "yes", "on"):
        return FileResponse(node, request.headers)
    try:
        if kind(node.name) != "parquet":
            raise invalid("as_csv", "only Parquet files can be given as CSV")
        pieces = await anyio.to_thread.run_sync(browse_tables.csv_of_parquet, node, limiter=_drawing)
    finally:
        node.close()  # the pieces read from a descriptor of their own

    async def body() -> AsyncIterator[bytes]:
        async for piece in iterate_in_threadpool(pieces):
            yield piece

    headers = {
        "content-disposition": disposition(node.name.rpartition(".")[0] + ".csv"),
        "cache-control": "private, no-cache",
        "x-content-type-options": "nosniff",
    }
    return StreamingResponse(body(), headers=headers, media_type="text/csv")


async def schema(request: Request) -> Response:
    """Answer the columns of a Parquet file."""
    _access, node = await open_file(request)
    with node:
        return JSONResponse(await anyio.to_thread.run_sync(browse_tables.schema, node, limiter=_drawing))


async def gdalinfo(request: Request) -> Response:
    """Answer the facts of a raster."""
    _access, node = await open_file(request)
    with node:
        return JSONResponse(await anyio.to_thread.run_sync(browse_rasters.describe, node, limiter=_drawing))


async def aria2c(request: Request) -> Response:
    """Answer the list of all files as aria2c reads it with `--input-file`: a URL, then where to put it."""
    access = await open_run(request)
    host = request.headers.get("host", "")
    named = _HOST.fullmatch(host)
    if named is None or named[1].lower() not in _own_names():
        raise invalid(
            "Host", "must be a name of this site: that of EXTERNAL_HOST or SITE_ADDRESS, or localhost"
        )
    scheme = request.headers.get("x-forwarded-proto", "").lower()
    base = f"{scheme if scheme in ('http', 'https') else request.url.scheme}://{host}"
    node = await anyio.to_thread.run_sync(lambda: open_node(access.run, "", privileged=access.privileged))

    async def lines() -> AsyncIterator[str]:
        with node:
            async for path in iterate_in_threadpool(file_paths(node, access.privileged)):
                name = shown(path)
                if name == path and name.isprintable():  # a line break in a name would end the line
                    yield f"{base}{access.link('download', path)}\n  out={name}\n"

    return StreamingResponse(lines(), media_type="text/plain")


def _own_names() -> set[str]:
    """Return the names under which the site is reached; a link made from another Host would lead there."""
    names = f"{setting('EXTERNAL_HOST')},{setting('SITE_ADDRESS')}".lower().split(",")
    return {"localhost", "127.0.0.1", "[::1]"} | {name.strip() for name in names if name.strip()}


def _accepts_json(accept: str | None) -> bool:
    return parse_accept_header(accept or "*/*", MIMEAccept).quality("application/json") > 0


async def service_error(request: Request, error: Exception) -> Response:
    """Answer an expected error as JSON, text or a page, as its route does."""
    assert isinstance(error, ServiceError)  # noqa: S101 - registered for this class alone
    endpoint = request.scope.get("endpoint")
    if endpoint is files:
        return error.as_response()
    if "text/html" in request.headers.get("accept", "") and endpoint is browse:
        runid, config = request.path_params.get("runid", ""), request.path_params.get("config", "")
        return browse_pages.error_page(runid, config, error.status, error.message)
    return PlainTextResponse(error.message, error.status, {"cache-control": "no-store"})


async def http_error(request: Request, error: Exception) -> Response:
    """Answer an unknown address or method as text."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
    return PlainTextResponse(error.detail, error.status_code, error.headers)


class ExactPath:
    """Give the routes the very bytes of the path, so that a name that is not UTF-8 is found as well."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Replace the decoded path of a request by one that `os.fsencode` turns back into its bytes."""
        raw = scope.get("raw_path")
        if scope["type"] == "http" and raw:
            path = unquote(raw.decode("latin-1"), errors="surrogateescape")
            scope = dict(scope, path=path)
        await self.app(scope, receive, send)


class AnyPath(PathConvertor):
    """The rest of an address, line breaks included: a file's name may hold one."""

    regex = "(?s:.*)"


register_url_convertor("any", AnyPath())
_run = PREFIX + "/runs/{runid}/{config}"
app = Starlette(
    routes=[
        Route("/health", health),
        Route("/browse/health", health),
        Route("/access/{runid}", may_read),
        Route(_run + "/browse", browse),
        Route(_run + "/browse/{path:any}", browse),
        Route(_run + "/files", files),
        Route(_run + "/files/{path:any}", files),
        Route(_run + "/download/{path:any}", download),
        Route(_run + "/schema/{path:any}", schema),
        Route(_run + "/gdalinfo/{path:any}", gdalinfo),
        Route(_run + "/aria2c.spec", aria2c),
    ],
    middleware=[Middleware(ExactPath)],
    exception_handlers={ServiceError: service_error, HTTPException: http_error},
)
app.router.redirect_slashes = False
