"""A run with files of every kind, and a caller that sends the browse service exactly the bytes of a path."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asgi import exchange

RUNID = "amber-creek-000001"
URL = f"/weppcloud/runs/{RUNID}/sample"
SECRET = "what lies outside of the run"


@dataclass(frozen=True)
class Answer:
    """What the service answered; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8")

    @property
    def json(self) -> Any:
        """The body as JSON, refusing what is not in the standard (NaN)."""

        def refuse(word: str) -> None:
            raise AssertionError(f"{word} is not JSON")

        return json.loads(self.body, parse_constant=refuse)


def call(
    target: str | bytes,
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
    app: Any = None,
) -> Answer:
    """Send one request; `target` goes to the application as a server would pass it, with nothing normalised.

    An exception that escapes from the application is raised here: a server would answer 500.
    """
    from wepppy.microservices.browse import app as browse_app

    raw = target.encode("latin-1") if isinstance(target, str) else target
    path, _, query = raw.partition(b"?")
    reply = exchange(app or browse_app, method, path, query, {"host": "localhost", **(headers or {})})
    return Answer(reply.status_code, reply.headers, reply.content)


def make_run(root: Path, runid: str = RUNID, *, public: bool = True) -> Path:
    """Create a run under `<root>/wc1` with files, links inside and outside, and names not for reading."""
    run = root / "wc1" / "runs" / runid[:2] / runid
    (run / "wepp" / "output").mkdir(parents=True)
    (run / "_logs").mkdir()
    (run / "ron.nodb").write_text(json.dumps({"runid": runid}))
    if public:
        (run / "PUBLIC").touch()
    (run / "notes.txt").write_text("notes of the run\n")
    (run / "wepp" / "output" / "loss.csv").write_text('hillslope,loss\n1,0.5\n2,"1,25"\n')
    for index in (1, 2, 10):
        (run / "wepp" / f"H{index}.txt").write_text("x" * index)
    (run / ".hidden").write_text(SECRET)
    (run / "_logs" / "access.log").write_text(SECRET)
    (run / "exceptions.log").write_text("for the operators only")
    (root / "outside.txt").write_text(SECRET)
    (root / "outside").mkdir(exist_ok=True)
    (root / "outside" / "file.txt").write_text(SECRET)
    for name, target in {
        "inside": "wepp/output/loss.csv",
        "inside_folder": "wepp",
        "inside_absolute": str(run / "notes.txt"),
        "outside_relative": "../../../../outside.txt",
        "outside_absolute": str(root / "outside.txt"),
        "outside_folder": str(root / "outside"),
        "by_outside": f"../{runid}/notes.txt",
        "to_hidden": ".hidden",
        "loop": "loop",
        "nowhere": "no such file",
    }.items():
        (run / name).symlink_to(target)
    os.mkfifo(run / "pipe")
    return run
