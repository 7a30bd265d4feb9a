"""Sending a file as HTTP means it: conditions, byte ranges, and bytes straight from the open descriptor.

Protocol: RFC 9110, sections 8.8 (validators), 13 (conditional requests) and 14 (range requests).
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

import anyio.to_thread
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from werkzeug.http import http_date, parse_date, parse_etags

from wepppy.microservices.browse_listing import content_type
from wepppy.microservices.browse_tree import Node, shown

CHUNK_BYTES = 256 * 1024
MAX_RANGES = 50
# Whatever a job wrote, a browser runs nothing of it.
POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_RANGE = re.compile(r"([0-9]*)-([0-9]*)")
Span = tuple[int, int]  # first byte, last byte (both sent)


class UnsatisfiableRangeError(Exception):
    """Every requested range lies beyond the end of the file."""


def parse_ranges(header: str | None, size: int) -> list[Span] | None:
    """Return the spans that a `Range` header requests of a file of `size` bytes; None to send it whole.

    A header that is malformed, of another unit, or greedy (overlapping spans, more than `MAX_RANGES`) is
    ignored, as RFC 9110 14.2 allows. Raises UnsatisfiableRangeError (status 416).
    """
    if header is None:
        return None
    unit, equals, listed = header.partition("=")
    if unit.strip().lower() != "bytes" or not equals:
        return None
    spans: list[Span] = []
    pieces = [piece.strip() for piece in listed.split(",") if piece.strip()]
    if not pieces or len(pieces) > MAX_RANGES:
        return None
    for piece in pieces:
        match = _RANGE.fullmatch(piece)
        if match is None or piece == "-":
            return None
        first, last = (_number(text) for text in match.groups())
        if first is None:
            length = min(last or 0, size)
            if length:
                spans.append((size - length, size - 1))
            elif last:
                return None  # a suffix of an empty file: it has no bytes to number
            continue
        if last is not None and last < first:
            return None
        if first < size:
            spans.append((first, min(size - 1, size - 1 if last is None else last)))
    if not spans:
        raise UnsatisfiableRangeError
    ordered = sorted(spans)
    if any(later[0] <= earlier[1] for earlier, later in itertools.pairwise(ordered)):
        return None
    return spans


def _number(text: str) -> int | None:
    # Longer numbers are beyond any file; Python refuses to read absurdly long ones at all.
    return None if not text else int(text) if len(text) <= 18 else 10**18


def precondition_status(headers: Mapping[str, str], etag: str, modified: float) -> int | None:
    """Return the status 304 or 412 that the request's conditions lead to (RFC 9110 13.2.2), None without one."""
    tag, changed = etag.strip('"'), _seconds(modified)
    if "if-match" in headers:
        if not parse_etags(headers["if-match"]).contains(tag):
            return 412
    else:
        unmodified = parse_date(headers.get("if-unmodified-since"))
        if unmodified is not None and changed > unmodified:
            return 412
    if "if-none-match" in headers:
        return 304 if parse_etags(headers["if-none-match"]).contains_weak(tag) else None
    since = parse_date(headers.get("if-modified-since"))
    return 304 if since is not None and changed <= since else None


def range_applies(if_range: str | None, etag: str, modified: float) -> bool:
    """Return whether an `If-Range` (RFC 9110 13.1.5) still names this very file, or is absent."""
    if if_range is None:
        return True
    value = if_range.strip()
    if value.startswith(('"', "W/")):
        return value == etag
    return parse_date(value) == _seconds(modified)


def _seconds(modified: float) -> datetime:
    # HTTP dates have whole seconds.
    return datetime.fromtimestamp(int(modified), UTC)


def disposition(name: str) -> str:
    """Return a `Content-Disposition` (RFC 6266) that saves under `name`, whatever characters it holds."""
    text = shown(name)
    plain = re.sub(r"[^A-Za-z0-9._ ()+-]", "_", text)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(text, safe='')}"


class FileResponse(Response):
    """The answer to a GET or HEAD of one file; closes the node when it is sent."""

    def __init__(self, node: Node, headers: Mapping[str, str], *, inline: bool = False) -> None:
        self.node = node
        self.background = None
        self.body = b""
        size, modified = node.status.st_size, node.status.st_mtime
        self.media_type = content_type(node.name)
        fields = {
            "etag": node.etag,
            "last-modified": http_date(_seconds(modified)),
            "accept-ranges": "bytes",
            "cache-control": "private, no-cache",
            "x-content-type-options": "nosniff",
            "content-security-policy": POLICY,
        }
        if not inline:
            fields["content-disposition"] = disposition(node.name)
        self.parts: list[tuple[bytes, Span | None]] = []
        self.status_code = precondition_status(headers, node.etag, modified) or 200
        if self.status_code == 200:
            self._select(headers, size, fields)
        self.init_headers(fields)
        if self.status_code in (304, 412):
            del self.headers["content-type"]

    def _select(self, headers: Mapping[str, str], size: int, fields: dict[str, str]) -> None:
        header = headers.get("range")
        if not range_applies(headers.get("if-range"), self.node.etag, self.node.status.st_mtime):
            header = None
        try:
            spans = parse_ranges(header, size)
        except UnsatisfiableRangeError:
            self.status_code = 416
            fields["content-range"] = f"bytes */{size}"
            fields["content-length"] = "0"
            fields.pop("content-disposition", None)
            return
        if spans is None:
            self.parts = [(b"", (0, size - 1))] if size else []
        elif len(spans) == 1:
            self.status_code = 206
            fields["content-range"] = f"bytes {spans[0][0]}-{spans[0][1]}/{size}"
            self.parts = [(b"", spans[0])]
        else:
            self.status_code = 206
            boundary = secrets.token_hex(16)
            for first, last in spans:
                lead = "\r\n" if self.parts else ""
                kind = f"Content-Type: {self.media_type}"
                place = f"Content-Range: bytes {first}-{last}/{size}"
                head = f"{lead}--{boundary}\r\n{kind}\r\n{place}\r\n\r\n"
                self.parts.append((head.encode(), (first, last)))
            self.parts.append((f"\r\n--{boundary}--\r\n".encode(), None))
            self.media_type = f"multipart/byteranges; boundary={boundary}"
        length = sum(len(text) + (span[1] - span[0] + 1 if span else 0) for text, span in self.parts)
        fields["content-length"] = str(length)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head, then the bytes in pieces; a file cut short meanwhile ends the connection."""
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            if scope["method"] != "HEAD":
                for text, span in self.parts:
                    if text:
                        await send({"type": "http.response.body", "body": text, "more_body": True})
                    if span:
                        await self._send_span(span, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self.node.close()

    async def _send_span(self, span: Span, send: Send) -> None:
        position, last = span
        while position <= last:
            wanted = min(CHUNK_BYTES, last - position + 1)
            piece = await anyio.to_thread.run_sync(os.pread, self.node.fd, wanted, position)
            if not piece:
                raise RuntimeError("a file became shorter while it was sent")
            position += len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
