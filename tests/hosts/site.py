"""A stack's public site at the address of one host, as its users reach it: by TLS, whatever a name server says."""

from __future__ import annotations

import http.client
import itertools
import socket
import ssl
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.engine.stack import Command, Reply, Stack
from tests.hosts.engines import Engine

NAME = "wepp.example.org"
# A run takes seconds; a loaded machine gets minutes.
RUN_SECONDS = 300.0


class Connection(http.client.HTTPSConnection):
    """Connects to `address`; the certificate is the stack's own authority's and not looked at."""

    def __init__(self, host: str, *, address: tuple[str, int], **how: Any) -> None:
        super().__init__(host, **how)
        self.site = address
        self.tls = ssl.create_default_context()
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE

    def connect(self) -> None:
        """Open it."""
        plain = socket.create_connection(self.site, self.timeout)
        self.sock = self.tls.wrap_socket(plain, server_hostname=NAME)


@dataclass
class PublicSite(Stack):
    """A stack that is used at its public site; node: the address of the host that publishes it."""

    node: str = ""

    @property
    def site(self) -> tuple[str, int]:
        """Where the site is."""
        return self.node, int(self.settings["PORT_HTTPS"])

    @property
    def address(self) -> str:
        """Name and port as users type them."""
        return f"{NAME}:{self.settings['PORT_HTTPS']}"

    def compute(self, name: str) -> tuple[str, Any]:
        """Have a run computed; its id and its report, once the site has that."""
        created = self.post("/weppcloud/api/runs", {"name": name})
        assert created.status == 201, created
        runid, config = created.content["runid"], created.content["config"]
        started = self.post(f"/weppcloud/api/runs/{runid}/start", {})
        assert started.status == 202, started
        deadline = time.monotonic() + RUN_SECONDS
        while (reply := self.get(f"/weppcloud/runs/{runid}/{config}/download/report.json")).status != 200:
            assert time.monotonic() < deadline, reply
            time.sleep(0.5)
        assert reply.content["job"] == started.content["job_id"]
        return runid, reply.content

    def _ask(self, request: urllib.request.Request) -> Reply:
        request.full_url = request.full_url.replace("http://", "https://", 1)
        # A browser tells where a form was; by TLS it is asked for.
        request.add_header("Referer", request.full_url)
        if self._opener is None:
            cookies = urllib.request.HTTPCookieProcessor(self.cookies)
            self._opener = urllib.request.build_opener(cookies, _Handler(self.site))
        return super()._ask(request)


@dataclass
class MainHost(PublicSite):
    """A stack on an engine of its own, used as on that host: a task finds what is published there at 127.0.0.1."""

    engine: Engine = field(kw_only=True)

    @property
    def task_environment(self) -> dict[str, str]:
        """What a task is run with."""
        return {**super().task_environment, **self.engine.environment}

    def _run(self, command: list[str], check: bool, timeout: float, variables: dict[str, str]) -> Command:
        network = f"--net=/proc/{self.engine.process_id}/ns/net"
        return super()._run(["nsenter", network, *command], check, timeout, variables)


class _Handler(urllib.request.HTTPSHandler):
    """Opens what is asked for at one address."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__()
        self.address = address

    def https_open(self, request: urllib.request.Request) -> Any:
        """Ask there."""
        return self.do_open(partial(Connection, address=self.address), request)


@dataclass
class Traffic:
    """What came back for many requests: how often which status (or error), and how long the answers took."""

    seconds: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests in a second."""
        return len(self.times) / self.seconds

    @property
    def failed(self) -> dict[str, int]:
        """Whatever was not a 200."""
        return {answer: count for answer, count in self.answers.items() if answer != "200"}

    def __str__(self) -> str:
        """Return it for people."""
        times = sorted(self.times)
        late = times[int(len(times) * 0.99)] if times else 0.0
        return f"{len(times)} requests, {self.rate:.0f}/s, p99 {late:.2f} s, {dict(self.answers)}"


@contextmanager
def traffic(
    site: PublicSite, paths: Sequence[str], *, rate: float, visitors: int = 40, timeout: float = 30
) -> Iterator[Traffic]:
    """Ask for `paths` in turn, `rate` times a second in all, for the length of a block.

    Each visitor has one connection, as a browser has, and waits for its answer before it asks again.
    """
    told = Traffic()
    over = threading.Event()
    began = time.monotonic()
    headers = {"Host": site.address}

    def visit(number: int) -> None:
        connection = Connection(NAME, address=site.site, timeout=timeout)
        due = began + number / rate
        for path in itertools.islice(itertools.cycle(paths), number % len(paths), None):
            if over.wait(max(0.0, due - time.monotonic())):
                return connection.close()
            asked = time.monotonic()
            due = max(due + visitors / rate, asked)
            try:
                connection.request("GET", path, headers=headers)
                response = connection.getresponse()
                response.read()
                answer = str(response.status)
            except (OSError, http.client.HTTPException) as error:
                answer = f"{type(error).__name__} {error}"
                connection.close()
            told.answers[answer] += 1
            told.times.append(time.monotonic() - asked)
        return None

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(visitors)]
    for thread in threads:
        thread.start()
    try:
        yield told
    finally:
        told.seconds = time.monotonic() - began
        over.set()
        for thread in threads:
            thread.join()
