"""Requests to an asynchronous service in this process, as the bytes that arrive on the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
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
    text = query if isinstance(query, bytes) else urlencode(query, errors="replace").encode()
    return exchange(app, method, path.encode("utf-8", "replace"), text, {"host": "localhost"}, body)


def exchange(
    app: Any, method: str, path: bytes, query: bytes, headers: Mapping[str, str], body: bytes = b""
) -> Reply:
    """The same for the bytes of a path as a server would pass them on, with nothing normalised."""
    return asyncio.run(begun(app, method, path, query, headers, body))


async def begun(
    app: Any,
    method: str,
    path: bytes,
    query: bytes = b"",
    headers: Mapping[str, str] = MappingProxyType({"host": "localhost"}),
    body: bytes = b"",
) -> Reply:
    """The same beside other requests."""
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote_to_bytes(path).decode("utf-8", "replace"),
        "raw_path": path,
        "root_path": "",
        "query_string": query,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()  # the visitor stays connected
        return waiting.pop()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    found = {name.decode().lower(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return Reply(sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:]))
