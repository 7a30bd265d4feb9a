"""All services behind the proxy in one program: each port says what arrived there, as JSON.

Each works on so many requests at a time as a small gunicorn does. Runs inside a container, with the standard library
alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORKERS = 4
ALICE = "Basic " + base64.b64encode(b"alice:token").decode()


class Service(ThreadingHTTPServer):
    """One service, whose requests wait for one of its workers."""

    def __init__(self, port: int) -> None:
        super().__init__(("0.0.0.0", port), Echo)
        self.workers = threading.Semaphore(WORKERS)


class Echo(BaseHTTPRequestHandler):
    """Answer every request with its port, method, path, headers and the length of its body."""

    protocol_version = "HTTP/1.1"
    server: Service

    def handle_any(self) -> None:
        """One request, by a worker when one is free."""
        with self.server.workers:
            self._answer()

    def _answer(self) -> None:
        """A websocket, the application's check of a token, a stream, or the echo."""
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self._websocket()
        elif self.path.partition("?")[0] == "/api/bootstrap/verify-token":
            self._verify()
        elif self.path.endswith("/stream"):
            self._stream()
        elif self.path.endswith("/kept"):
            self._send(200, b"{}", {"Cache-Control": "private, max-age=60"})
        elif self.path.endswith("/busy"):
            self._send(503, b'{"busy": true}')
        else:
            self._send(200, json.dumps(self._seen()).encode())

    do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815 - http.server's names

    def _seen(self) -> dict[str, object]:
        return {
            "port": self.server.server_address[1],
            "method": self.command,
            "path": self.path,
            "headers": [[name.lower(), value] for name, value in self.headers.items()],
            "body": len(self._body()),
        }

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _verify(self) -> None:
        """As the application: 401 with a challenge, or 200; what it was asked about comes back as the user's name."""
        if self.headers.get("Authorization") != ALICE:
            self._send(401, b"who?", {"WWW-Authenticate": 'Basic realm="runs"'})
        elif "nameless" in self.headers["X-Forwarded-Uri"]:
            self._send(200, b"")
        else:
            self._send(200, b"", {"X-Auth-User": f"alice {self.headers['X-Forwarded-Uri']}"})

    def _websocket(self) -> None:
        """Accept, then send one text frame with what arrived and close."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()  # noqa: S324 - the protocol's
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        text = json.dumps({"port": self.server.server_address[1], "path": self.path}).encode()
        self.wfile.write(bytes([0x81, len(text)]) + text + bytes([0x88, 0]))
        self.close_connection = True

    def _stream(self) -> None:
        """One short line at once; the next only when `/go-on` is asked for, so the client has the first by then."""
        ON.clear()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in (b"data: first\n\n", b"data: second\n\n"):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            if line.startswith(b"data: first"):
                ON.wait(30)
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        if self.path.endswith("/go-on"):
            ON.set()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - http.server's name
        """Nothing: the tests read the answers."""


ON = threading.Event()

if __name__ == "__main__":
    for port in map(int, sys.argv[1:]):
        threading.Thread(target=Service(port).serve_forever).start()
    print("ready", flush=True)
