"""The files of a run, for people and for programs (port 9009).

Routes, all GET (and HEAD), under `{SITE_PREFIX}/runs/{runid}/{config}/`; the proxy leaves the prefix on:

- `browse/{path}`: a page for a directory (with the parameters of `files`) or for a file.
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
see `browse_access`. Failures of `files` are JSON; elsewhere a browser gets a page, a program text.
Names with a leading dot are hidden and `_logs` is refused. Nothing outside of the run can be reached, see
`browse_tree`.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import os
import re
import stat
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import anyio
import anyio.to_thread
from jinja2 import Environment, FileSystemLoader
from pydantic import BaseModel, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.staticfiles import NotModifiedResponse
from starlette.types import Message, Receive, Scope, Send
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header
from werkzeug.sansio.http import is_resource_modified

from wepppy.config.environment import setting, site_prefix
from wepppy.config.run_paths import volume_problem, wc1_root
from wepppy.config.run_tokens import signing_secrets
from wepppy.microservices import browse_contents
from wepppy.microservices.browse_access import Access, check_access
from wepppy.microservices.browse_tree import Node, file_paths, is_listed, open_node
from wepppy.microservices.service_errors import ServiceError, invalid, invalid_input, json_error

PREFIX = site_prefix()
TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}
# No script, no outside assets.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'self'"
)
_HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_templates = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("browse_templates")),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
_few = anyio.CapacityLimiter(4)  # tables take memory: a few at a time


class Query(BaseModel):
    """Which entries of a directory, in which order; `pattern` is a shell pattern for names (case-sensitive)."""

    limit: int = Field(1000, ge=1, le=10_000)
    offset: int = Field(0, ge=0)
    pattern: str = Field("", max_length=200, pattern=r"^[^/\x00]*$")
    sort: Literal["name", "date", "size"] = "name"
    order: Literal["asc", "desc"] = "asc"
    meta: bool = False


def health(request: Request) -> Response:
    """Answer OK when runs can be read and tokens can be checked with the configured secrets."""
    problem = volume_problem(wc1_root(), "runs")
    try:
        signing_secrets()
    except RuntimeError:
        problem = "the secret file of WEPP_AUTH_JWT_SECRETS can't be read"
    return PlainTextResponse(problem or "OK", 503 if problem else 200)


def may_read(request: Request) -> Response:
    """Answer 204 where the visitor may read the run. Raises ServiceError."""
    check_access(request, request.path_params["runid"], "")
    return Response(status_code=204)


def few_at_a_time(endpoint: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that works in a thread, beside few others of this kind."""

    @functools.wraps(endpoint)
    async def waiting(request: Request) -> Response:
        return await anyio.to_thread.run_sync(endpoint, request, limiter=_few)

    return waiting


def open_run(request: Request) -> Access:
    """Return the visitor's access to the run of a request. Raises ServiceError."""
    return check_access(request, request.path_params["runid"], request.path_params["config"])


def open_path(request: Request) -> tuple[Access, Node]:
    """Return the access and the open node of the request's path; the caller closes it."""
    access = open_run(request)
    return access, open_node(access.run, request.path_params.get("path", ""), access.privileged)


def open_file(request: Request) -> Node:
    """Return the open file of the request's path; the caller closes it."""
    _, node = open_path(request)
    if node.is_directory:
        node.close()
        raise ServiceError(400, "not_a_file", "This path is a directory.")
    return node


@few_at_a_time
def browse(request: Request) -> Response:
    """Answer the page of a directory or file."""
    access, node = open_path(request)
    with contextlib.closing(node):
        if node.is_directory:
            query = read_query(request)
            found = listing(access, node, query)
            return page("directory.html", access=access, query=query.model_dump(), **found)
        changed = datetime.fromtimestamp(node.status.st_mtime, UTC)
        content = browse_contents.preview(node)
        return page("file.html", access=access, node=node, path=node.path, changed=changed, **content)


def page(template: str, status: int = 200, **context: Any) -> Response:
    """Return a page for people; the styles are the web application's."""
    text = _templates.get_template(template).render(prefix=PREFIX, **context)
    headers = {"content-security-policy": POLICY, "referrer-policy": "same-origin"}
    return HTMLResponse(text, status, headers)


def files(request: Request) -> Response:
    """Answer a directory as JSON."""
    accepted = parse_accept_header(request.headers.get("accept") or "*/*", MIMEAccept)
    if not accepted.quality("application/json"):
        raise ServiceError(406, "not_acceptable", "This address answers application/json.")
    query = read_query(request)
    access, node = open_path(request)
    with contextlib.closing(node):
        return JSONResponse({"runid": access.runid, "config": access.config, **listing(access, node, query)})


def read_query(request: Request) -> Query:
    """Return the parameters of a list; raises ServiceError naming every wrong one."""
    try:
        return Query.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise invalid_input(error) from error


def listing(access: Access, node: Node, query: Query) -> dict[str, Any]:
    """Return the path of a directory, the entries that `query` selects, and paging.

    Raises ServiceError `not_a_directory` (400).
    """
    if not node.is_directory:
        raise ServiceError(400, "not_a_directory", "This path is a file, not a directory.")
    found: list[tuple[str, os.stat_result]] = []
    for name in sorted(os.listdir(node.fd)):  # noqa: PTH208 - a descriptor
        if not is_listed(name, access.privileged) or not fnmatch.fnmatchcase(name, query.pattern or "*"):
            continue
        with contextlib.suppress(FileNotFoundError):  # removed since the directory was read
            status = os.stat(name, dir_fd=node.fd, follow_symlinks=False)
            if stat.S_IFMT(status.st_mode) in TYPES:
                found.append((name, status))
    # H2 before H10. Names break ties, always upwards, so that pages neither repeat nor miss an entry.
    found.sort(key=lambda each: natural(each[0]))
    keys: dict[str, Callable[[tuple[str, os.stat_result]], Any]] = {
        "name": lambda each: natural(each[0]),
        "date": lambda each: each[1].st_mtime,
        "size": lambda each: each[1].st_size if stat.S_ISREG(each[1].st_mode) else 0,
    }
    found.sort(key=keys[query.sort], reverse=query.order == "desc")
    chosen = found[query.offset : query.offset + query.limit]
    return {
        "path": node.path,
        "entries": [entry(access, node, name, status, query.meta) for name, status in chosen],
        "total": len(found),
        "limit": query.limit,
        "offset": query.offset,
        "has_more": query.offset + len(chosen) < len(found),
    }


def natural(name: str) -> str:
    """Return a text by which numbers in names sort by their value, and letters without regard to case."""
    return re.sub(r"[0-9]+", lambda digits: digits[0].zfill(20), name.casefold())


def entry(access: Access, node: Node, name: str, status: os.stat_result, meta: bool) -> dict[str, Any]:
    """Return one entry of a directory as JSON has it."""
    path = f"{node.path}/{name}".lstrip("/")
    item: dict[str, Any] = {
        "name": name,
        "path": path,
        "type": TYPES[stat.S_IFMT(status.st_mode)],
        "modified_iso": datetime.fromtimestamp(status.st_mtime, UTC).isoformat(timespec="seconds"),
    }
    if item["type"] == "file":
        item["size_bytes"] = status.st_size
        item["download_url"] = f"{access.url}/download/{quote(path)}"
    elif item["type"] == "directory":
        item["child_count"] = children(node, name, access.privileged)
    else:
        item |= {"symlink_is_dir": False, "symlink_target": None}
        with (
            contextlib.suppress(ServiceError),  # the target of a link out of the run is not disclosed
            contextlib.closing(open_node(access.run, path, access.privileged)) as target,
        ):
            item |= {"symlink_is_dir": target.is_directory, "symlink_target": target.path}
    if meta:
        directory = item["type"] == "directory" or item.get("symlink_is_dir", False)
        item["content_type"] = "inode/directory" if directory else browse_contents.content_type(name)
        item["preview_available"] = not directory and browse_contents.kind(name) != "other"
    return item


def children(node: Node, name: str, privileged: bool) -> int | None:
    """Return how many entries a directory in the node has, None when it can't be read."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=node.fd)
    except OSError:
        return None
    try:
        return sum(is_listed(each, privileged) for each in os.listdir(descriptor))  # noqa: PTH208
    finally:
        os.close(descriptor)


class OpenFileResponse(FileResponse):
    """The bytes of an open file as an attachment; closes it when they are sent."""

    def __init__(self, node: Node) -> None:
        self.node = node
        # Whatever a job wrote, a browser runs nothing of it.
        headers = {
            "cache-control": "private, no-cache",
            "x-content-type-options": "nosniff",
            "content-security-policy": "sandbox",
        }
        super().__init__(node.local_path, headers=headers, filename=node.name, stat_result=node.status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what the request's conditions and ranges ask for, of a file that may grow meanwhile."""
        left = 0

        async def send_no_more_than_promised(message: Message) -> None:
            nonlocal left
            if message["type"] == "http.response.start":
                left = int(dict(message["headers"]).get(b"content-length", 0))
            else:
                message["body"] = message["body"][:left]
                left -= len(message["body"])
            await send(message)

        sent = Request(scope).headers
        with contextlib.closing(self.node):
            if is_resource_modified(
                http_if_modified_since=sent.get("if-modified-since"),
                http_if_none_match=sent.get("if-none-match"),
                etag=self.headers["etag"],
                last_modified=self.headers["last-modified"],
            ):
                await super().__call__(scope, receive, send_no_more_than_promised)
            else:
                await NotModifiedResponse(self.headers)(scope, receive, send)


def download(request: Request) -> Response:
    """Answer a file's bytes, or a Parquet file as CSV."""
    as_csv = request.query_params.get("as_csv", "").lower() in ("1", "true", "yes", "on")
    node = open_file(request)
    if not as_csv:
        return OpenFileResponse(node)
    with contextlib.closing(node):
        pieces = browse_contents.csv_of_parquet(node)
    disposition = f"attachment; filename*=UTF-8''{quote(Path(node.name).stem, safe='')}.csv"
    return StreamingResponse(pieces, headers={"content-disposition": disposition}, media_type="text/csv")


@few_at_a_time
def schema(request: Request) -> Response:
    """Answer the columns of a Parquet file."""
    with contextlib.closing(open_file(request)) as node:
        return JSONResponse(browse_contents.schema(node))


@few_at_a_time
def gdalinfo(request: Request) -> Response:
    """Answer the facts of a raster."""
    with contextlib.closing(open_file(request)) as node:
        return JSONResponse(browse_contents.raster_facts(node))


def aria2c(request: Request) -> Response:
    """Answer the list of all files as aria2c reads it with `--input-file`: a URL, then where to put it."""
    access = open_run(request)
    host = request.headers.get("host", "")
    named = _HOST.fullmatch(host)
    if named is None or named[1].lower() not in _own_names():
        message = "must be a name of this site: that of EXTERNAL_HOST or SITE_ADDRESS, or localhost"
        raise invalid(f"Host: {message}", {"Host": message})
    base = f"{request.url.scheme}://{host}{access.url}/download/"

    def lines() -> Iterator[str]:
        with contextlib.closing(open_node(access.run, "", access.privileged)) as node:
            for path in file_paths(node, access.privileged):
                yield f"{base}{quote(path)}\n  out={path}\n"

    return StreamingResponse(lines(), media_type="text/plain")


def _own_names() -> set[str]:
    """Return the names under which the site is reached; a link made from another Host would lead there."""
    names = f"{setting('EXTERNAL_HOST')},{setting('SITE_ADDRESS')}".lower().split(",")
    return {"localhost", "127.0.0.1", "[::1]"} | {name.strip() for name in names if name.strip()}


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer an error as JSON where the route does, as a page to a browser, else as text."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
    if request.scope.get("endpoint") is files:
        return await json_error(request, error)
    if "text/html" in request.headers.get("accept", ""):
        return page("error.html", error.status_code, message=error.detail)
    return PlainTextResponse(error.detail, error.status_code, error.headers)


_run = PREFIX + "/runs/{runid}/{config}"
app = Starlette(
    routes=[
        Route("/health", health),
        Route("/browse/health", health),
        Route("/access/{runid}", may_read),
        Route(_run + "/browse", browse),
        Route(_run + "/browse/{path:path}", browse),
        Route(_run + "/files", files),
        Route(_run + "/files/{path:path}", files),
        Route(_run + "/download/{path:path}", download),
        Route(_run + "/schema/{path:path}", schema),
        Route(_run + "/gdalinfo/{path:path}", gdalinfo),
        Route(_run + "/aria2c.spec", aria2c),
    ],
    exception_handlers={HTTPException: answer_error},
)
app.router.redirect_slashes = False  # such an answer would repeat the Host header
