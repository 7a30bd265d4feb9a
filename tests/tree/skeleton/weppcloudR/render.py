"""Render reports of runs: GET /healthz and /runs/<runid>/<config>/report/deval_details."""

from __future__ import annotations

import html
import json
import os
import re
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

REPORT = re.compile(r"/runs/(?P<runid>[A-Za-z0-9_.-]+)/(?P<config>[A-Za-z0-9_.-]+)/report/deval_details")


def run_folder(runid: str) -> Path | None:
    """Return a run's folder, or None when there is no such run."""
    roots = (
        Path(os.environ.get("PRIMARY_RUN_ROOT", "/geodata/weppcloud_runs"), runid),
        Path(os.environ.get("PARTITIONED_RUN_ROOT", "/wc1/runs"), runid[:2], runid),
    )
    return next((folder for folder in roots if runid.strip(".") and folder.is_dir()), None)


def report(runid: str, folder: Path) -> str:
    """Write the report of a run into its export folder and return its text."""
    rows = "".join(
        f"<tr><td>{html.escape(str(path.relative_to(folder)))}</td><td>{path.stat().st_size}</td></tr>"
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "export" not in path.relative_to(folder).parts
    )
    text = f"<html><body><h1>DEVAL details of {html.escape(runid)}</h1><table>{rows}</table></body></html>"
    target = folder / "export" / "WEPPcloudR" / f"deval_{runid}.htm"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return text


class Handler(BaseHTTPRequestHandler):
    """Answer the two routes."""

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path == "/healthz":
            state = {"status": "ok", "timestamp": datetime.now(UTC).isoformat()}
            self.answer(200, json.dumps(state), "application/json")
        elif not (found := REPORT.fullmatch(path)):
            self.answer(404, json.dumps({"error": "404 - Resource Not Found"}), "application/json")
        elif (folder := run_folder(found["runid"])) is None:
            missing = html.escape(f"{found['runid']}/{found['config']}")
            self.answer(404, f"<html><body><h3>Run not found: {missing}</h3></body></html>")
        else:
            try:
                self.answer(200, report(found["runid"], folder))
            except OSError as error:
                self.answer(
                    500, f"<html><body><h3>Render error</h3><pre>{error.strerror}</pre></body></html>"
                )

    def answer(self, status: int, text: str, kind: str = "text/html; charset=utf-8") -> None:
        """Send one whole answer."""
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("PORT", "8050"))), Handler).serve_forever()
