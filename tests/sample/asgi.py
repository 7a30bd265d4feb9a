"""Requests to an asynchronous service in this process, as the bytes that arrive on the wire."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes, urlencode


@dataclass(frozen=True)
class Reply:
    """What came back; header names are in lower case."""

    status_code: int
    headers: dict[str, str]
    content: bytes

    @property
    def text(self) -> str:
        """The body as text, unreadable bytes replaced."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the value of a JSON body."""
        return json.loads(self.content)


def call(app: Any, method: str, path: str, query: bytes | dict[str, Any] = b"", body: bytes = b"") -> Reply:
    """Send one request and return the reply; what the service raises is raised here.

    `path` is as in a URL, percent-encoded where it has to be.
    """
    sent: list[dict[str, Any]] = []
    raw_path = path.encode("utf-8", "replace")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote_to_bytes(raw_path).decode("utf-8", "replace"),
        "raw_path": raw_path,
        "root_path": "",
        "query_string": query if isinstance(query, bytes) else urlencode(query, errors="replace").encode(),
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    headers = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return Reply(sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]))
