"""The stack's proxy in a container, run as the stack runs it, with containers behind it under the services' names."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.proxy.routes import SERVICES

HERE = Path(__file__).parent
Body = bytes | Iterator[bytes] | None
LEAST_POWER = [
    "--user",
    "1000:1000",
    "--read-only",
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges:true",
]


@dataclass
class Reply:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def seen(self) -> dict[str, Any]:
        """What the service behind the proxy saw of the request."""
        document: dict[str, Any] = json.loads(self.body)
        return document

    def seen_header(self, name: str) -> str | None:
        """The one value that a header had at the service; None when there was none."""
        values = [value for header, value in self.seen["headers"] if header == name]
        assert len(values) < 2, values
        return values[0] if values else None


@dataclass
class Proxy:
    """A running proxy, by its port on this machine and its container's id."""

    port: int
    container: str

    def ask(self, path: str, method: str = "GET", body: Body = None, **headers: str) -> Reply:
        """One request, its path sent as it is; keywords are headers, `_` for `-`. Redirects are not followed."""
        connection = self.connect()
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            reply = connection.getresponse()
            return Reply(reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def connect(self) -> http.client.HTTPConnection:
        """A connection of one's own; to be closed."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)


def docker(*arguments: str) -> str:
    """Run a docker command; returns its output. Fails with what the command said."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@contextmanager
def network(name: str) -> Iterator[str]:
    """A network, removed at the end."""
    docker("network", "create", name)
    try:
        yield name
    finally:
        docker("network", "rm", name)


@contextmanager
def container(*arguments: str) -> Iterator[str]:
    """A container by `docker run` with these arguments, removed at the end; gives its id."""
    made = docker("run", "--detach", "--init", *LEAST_POWER, *arguments)
    try:
        yield made
    finally:
        docker("rm", "--force", "--volumes", made)


@contextmanager
def proxy(image: str, network: str, *arguments: str, command: tuple[str, ...] = ()) -> Iterator[Proxy]:
    """The proxy on a network; it is healthy by its own probe."""
    settings = ["--env", "SITE_PREFIX=/weppcloud", "--dns-search", ".", "--tmpfs", "/data:mode=1777",
                "--tmpfs", "/config:mode=1777", "--publish", "127.0.0.1::8080"]  # fmt: skip
    with container("--network", network, *settings, *arguments, image, *command) as made:
        docker("exec", made, "sh", "-c", "until /probe http://127.0.0.1:8081/; do sleep 0.1; done")
        yield Proxy(published(made, 8080), made)


def published(container: str, port: int) -> int:
    """The port of this machine that leads to a container's."""
    return int(docker("port", container, f"{port}/tcp").rpartition(":")[2])


@contextmanager
def services(image: str, network: str) -> Iterator[str]:
    """One container that is every service of SERVICES."""
    names = [argument for name in SERVICES for argument in ("--network-alias", name)]
    program = ["python3", "/echo.py", *map(str, SERVICES.values())]
    mount = f"{HERE / 'echo.py'}:/echo.py:ro"
    with container("--network", network, *names, "--volume", mount, image, *program) as made:
        last = f"import socket; socket.create_connection(('127.0.0.1', {program[-1]}))"
        docker("exec", made, "sh", "-c", f'until python3 -c "{last}" 2>/dev/null; do sleep 0.1; done')
        yield made
