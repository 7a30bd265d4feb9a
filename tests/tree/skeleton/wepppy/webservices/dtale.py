"""Shows tables of runs; the service `browse` says which."""

from __future__ import annotations

import hmac
import uuid
from pathlib import Path

import pandas as pd
from flask import Flask, Response, abort, jsonify, request

from wepppy.config.secrets import required_secret
from wepppy.weppcloud.utils.helpers import get_wd

app = Flask(__name__)
TOKEN = required_secret("DTALE_INTERNAL_TOKEN")
tables: dict[str, pd.DataFrame] = {}


@app.get("/health")
def health() -> Response:
    """Say that the process answers."""
    return jsonify("OK")


@app.post("/internal/load")
def load() -> Response:
    """Read a table of a run and answer where it is shown."""
    if not hmac.compare_digest(request.headers.get("X-DTALE-TOKEN", ""), TOKEN):
        abort(403)
    document = request.get_json()
    path = Path(document["path"]).resolve()
    if not path.is_relative_to(Path(get_wd(document["runid"])).resolve()):
        abort(400)
    key = uuid.uuid4().hex
    tables[key] = pd.json_normalize(pd.read_json(path, typ="series").to_dict())
    return jsonify({"url": f"/weppcloud/dtale/main/{key}"})


@app.get("/dtale/main/<key>")
def show(key: str) -> str:
    """Show a table."""
    if key not in tables:
        abort(404)
    return tables[key].to_html()
