"""Questions in SQL about the results of a run: `create_app` is a factory."""

from __future__ import annotations

from pathlib import Path

import duckdb
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wepppy.config.secrets import required_secret
from wepppy.weppcloud.utils import auth_tokens
from wepppy.weppcloud.utils.helpers import get_wd


async def health(_request: Request) -> Response:
    """Say that the process answers."""
    return JSONResponse({"status": "ok", "scope": "query-engine"})


def _ask(folder: Path, statement: str) -> list[dict[str, object]]:
    files = str(folder / "wepp" / "output" / "H*.loss.json")
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE losses AS SELECT loss FROM read_json_auto(?)", [files])
        connection.execute("SET enable_external_access = false")
        answer = connection.execute(statement)
        names = [column[0] for column in answer.description or ()]
        return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


async def query(request: Request) -> Response:
    """Answer a SELECT over the table `losses` of a run."""
    try:
        auth_tokens.decode(request.headers.get("Authorization", "").removeprefix("Bearer "), "query-engine")
        folder = Path(get_wd(request.path_params["runid"]))
        rows = await run_in_threadpool(_ask, folder, str((await request.json())["sql"]))
    except auth_tokens.TokenError as error:
        return JSONResponse({"error": {"message": str(error), "code": "unauthorized"}}, status_code=401)
    except (KeyError, ValueError, duckdb.Error) as error:
        return JSONResponse({"error": {"message": str(error), "code": "validation_error"}}, status_code=400)
    return JSONResponse({"rows": rows})


def create_app() -> Starlette:
    """Return the application; raise RuntimeError for a secret that is missing."""
    required_secret("WEPP_MCP_JWT_SECRET")
    return Starlette(routes=[Route("/health", health), Route("/runs/{runid}/query", query, methods=["POST"])])
