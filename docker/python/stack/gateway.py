"""Carry worker hosts' connections to the stores over TLS, with a certificate on both sides: `gateway.py serve|connect`.

serve, on the main host: takes connections on port 7380, asks for a certificate of the stack's own authority and passes
on what a joined host says to Redis or Postgres (GATEWAY_TARGETS, `NAME=HOST:PORT NAME=HOST:PORT`). A host is let in
while its file ACCESS/HOST.json names its certificate's SHA-256; without the file its connections are closed.
connect, on a worker host: listens on the stores' ports (at GATEWAY_LISTEN, 0.0.0.0) and passes on to GATEWAY_ADDRESS
(`HOST:PORT`), so that nothing else on that host knows of TLS or of another machine.
ask QUESTION, on a worker host: `look`, `join` or `leave`; prints the answer. An invitation is good until its time is
over and for one `join`; `leave` removes the host's file.
health: exit code 0 when the main host's gateway answers (on the main host: listens).

One port is enough: what a connection is for is told by its application protocol (ALPN, RFC 7301): `redis`,
`postgresql`, or `wepp-stack` for questions, one line of JSON each way.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

PORT = 7380
QUESTIONS = "wepp-stack"
LOCAL_PORTS = {"redis": 6379, "postgresql": 5432}
# The name in the certificate of the main host's gateway, wherever that listens.
SERVER_NAME = "gateway.wepp-stack"
AUTHORITY = "/run/secrets/worker_authority"
CERTIFICATES = {"serve": "/run/secrets/gateway_certificate", "connect": "/run/secrets/host_certificate"}
ACCESS = Path("/run/worker-hosts")
CHUNK = 65536
HANDSHAKE_SECONDS = ANSWER_SECONDS = 10.0
LOOK_SECONDS = 1.0
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


# ---- the main host ----------------------------------------------------------------------------------------


class Access:
    """The files of the hosts that may connect. clock: seconds since 1970."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.clock = clock

    def entry(self, name: str, certificate: bytes) -> dict[str, Any] | None:
        """Return a host's file while it lets that certificate (DER) in; None otherwise."""
        try:
            entry = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(entry, dict) or entry.get("certificate") != hashlib.sha256(certificate).hexdigest():
            return None
        return entry if entry.get("joined") or self.clock() < entry["until"] else None

    def answer(self, name: str, entry: dict[str, Any], question: str) -> dict[str, Any]:
        """Do what a host asks for: `look`, `join`, `leave`. Return the answer."""
        now = self.clock()
        if question == "leave":
            (self.folder / f"{name}.json").unlink(missing_ok=True)
        elif question == "join" and not entry.get("joined"):
            self._write(name, {**entry, "joined": now})
            return {"now": now, "joined": None}
        return {"now": now, "joined": entry.get("joined")}

    def _write(self, name: str, entry: dict[str, Any]) -> None:
        path = self.folder / f"{name}.json"
        with tempfile.NamedTemporaryFile("w", dir=self.folder, prefix=f".{name}.", delete=False) as file:
            json.dump(entry, file)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).chmod(0o644)
        Path(file.name).replace(path)


class Server:
    """The main host's side."""

    def __init__(self, context: ssl.SSLContext, access: Access, targets: dict[str, tuple[str, int]]) -> None:
        self.context = context
        self.access = access
        self.targets = targets
        self._open: dict[asyncio.StreamWriter, tuple[str, bytes]] = {}

    async def run(self, address: str, port: int) -> None:
        """Serve for ever; close what belongs to a host whose file is gone within a second."""
        server = await asyncio.start_server(
            self._connected, address, port, ssl=self.context, ssl_handshake_timeout=HANDSHAKE_SECONDS
        )
        async with server:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                for writer, (name, certificate) in list(self._open.items()):
                    if self.access.entry(name, certificate) is None:
                        _log(f"{name} has no access any more: its connection is closed")
                        writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("ssl_object")
        certificate = peer.getpeercert(binary_form=True)
        name = common_name(peer.getpeercert())
        purpose = peer.selected_alpn_protocol()
        entry = self.access.entry(name, certificate)
        try:
            if entry is None:
                _log(f"{writer.get_extra_info('peername')[0]}: the certificate of {name} has no access")
            elif purpose == QUESTIONS:
                question = await asyncio.wait_for(reader.readline(), ANSWER_SECONDS)
                answer = self.access.answer(name, entry, question.decode("ascii", "replace").strip())
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
            elif purpose in self.targets and entry.get("joined"):
                self._open[writer] = name, certificate
                await relay((reader, writer), lambda: asyncio.open_connection(*self.targets[purpose]))
        except (OSError, TimeoutError) as error:
            _log(f"{name}: {type(error).__name__}: {error}")
        finally:
            self._open.pop(writer, None)
            writer.close()


def common_name(certificate: dict[str, Any]) -> str:
    """Return whom a certificate is about; empty when it does not say."""
    found = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return str(found[0]) if found and "/" not in found[0] else ""


# ---- a worker host ----------------------------------------------------------------------------------------


async def connect(context: Callable[[str], ssl.SSLContext], address: tuple[str, int], listen: str) -> None:
    """Listen on the stores' ports for ever, and pass on to the main host."""

    def handler(purpose: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await relay((reader, writer), lambda: reach(context(purpose), address))
            except (OSError, TimeoutError) as error:
                _log(f"the main host's gateway at {address[0]}:{address[1]} does not answer: {error}")
            finally:
                writer.close()

        return connected

    for purpose, port in LOCAL_PORTS.items():
        await asyncio.start_server(handler(purpose), listen, port)
    await asyncio.Event().wait()


async def reach(context: ssl.SSLContext, address: tuple[str, int]) -> Streams:
    """Open a connection to the main host's gateway. Raise OSError or TimeoutError."""
    opening = asyncio.open_connection(*address, ssl=context, server_hostname=SERVER_NAME)
    return await asyncio.wait_for(opening, HANDSHAKE_SECONDS)


async def ask(context: ssl.SSLContext, address: tuple[str, int], question: str) -> dict[str, Any]:
    """Return the main host's answer. Raise OSError, also for one who has no access, or TimeoutError."""
    reader, writer = await reach(context, address)
    try:
        writer.write(f"{question}\n".encode())
        line = await asyncio.wait_for(reader.readline(), ANSWER_SECONDS)
    finally:
        writer.close()
    if not line:
        raise ConnectionRefusedError("the main host does not let this host in (any more)")
    answer: dict[str, Any] = json.loads(line)
    return answer


# ---- both -------------------------------------------------------------------------------------------------


async def relay(client: Streams, reaching: Callable[[], Awaitable[Streams]]) -> None:
    """Pass bytes on in both directions until both ends have closed theirs. Raise OSError when it cannot be reached."""
    far = await reaching()
    try:
        await asyncio.gather(_pass_on(client[0], far[1]), _pass_on(far[0], client[1]))
    finally:
        far[1].close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    # TLS cannot close one direction alone; clients of both stores close when they are done.
    writer.close()


def context_of(role: str, purposes: list[str]) -> ssl.SSLContext:
    """Return TLS 1.3 with this side's certificate, where only the stack's own authority counts."""
    server = role == "serve"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(AUTHORITY)
    context.load_cert_chain(CERTIFICATES[role])
    context.set_alpn_protocols(purposes)
    return context


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _log(text: str) -> None:
    print(f"gateway: {text}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Do what is asked; return the exit code."""
    if arguments == ["serve"]:
        targets = {
            name: _address(where)
            for name, _, where in (each.partition("=") for each in os.environ["GATEWAY_TARGETS"].split())
        }
        server = Server(context_of("serve", [QUESTIONS, *targets]), Access(ACCESS), targets)
        asyncio.run(server.run("0.0.0.0", PORT))  # noqa: S104 - of its container
        return 0
    main_host = _address(os.environ.get("GATEWAY_ADDRESS", f"127.0.0.1:{PORT}"))
    if arguments == ["connect"]:
        contexts = {purpose: context_of("connect", [purpose]) for purpose in LOCAL_PORTS}
        # In a pod nobody but its own containers.
        listen = os.environ.get("GATEWAY_LISTEN", "0.0.0.0")  # noqa: S104 - of its container
        asyncio.run(connect(contexts.__getitem__, main_host, listen))
        return 0
    if arguments[:1] == ["ask"] and arguments[1:] in (["look"], ["join"], ["leave"]):
        try:
            answer = asyncio.run(ask(context_of("connect", [QUESTIONS]), main_host, arguments[1]))
        except (OSError, TimeoutError) as error:
            answer = {"refused": f"{type(error).__name__}: {error}" if str(error) else type(error).__name__}
        print(json.dumps(answer))
        return 0
    if arguments == ["health"]:
        if "GATEWAY_ADDRESS" not in os.environ:
            socket.create_connection(main_host, ANSWER_SECONDS).close()
            return 0
        asyncio.run(ask(context_of("connect", [QUESTIONS]), main_host, "look"))
        return 0
    print(__doc__, file=sys.stderr)
    return 64


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
