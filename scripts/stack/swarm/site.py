"""Prove that a stack in a swarm serves its users, at its public name: there is no other way to its proxy."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from http.client import HTTPSConnection
from urllib.parse import urlsplit

from scripts.base.clock import Clock
from scripts.base.console import Console
from scripts.base.errors import fail
from scripts.engine.catalogue import HTTPS
from scripts.engine.compose import Compose
from scripts.engine.proof import PAGE_REQUEST_SECONDS, PROBE_SECONDS, Reply, Site, ask

# Takes the public site's name and port, then what a Fetch of the proof takes.
FetchPublic = Callable[[str, tuple[str, int], str, Mapping[str, str], float], Reply]


def prove(compose: Compose, console: Console, address: str, clock: Clock, fetching: FetchPublic) -> bool:
    """Ask for every service and page at the public site; return False where `address` is not reached.

    address: of the node that publishes the site. Raise StackError with the first wrong answer.
    """
    public = urlsplit(compose.catalogue.public_url("/"))
    asked = partial(fetching, public.netloc)
    site = Site((address, public.port or HTTPS), clock, asked)
    if problem := asked(site.proxy, "/", {}, PAGE_REQUEST_SECONDS).problem:
        console.warn(
            f"the pages are not proven: {address}:{site.proxy[1]} is not reached from here: {problem}"
        )
        return False
    services = compose.catalogue.active(compose.active_profiles)
    with console.busy("asking for every service and page at the public site"):
        visits = [*site.probes(services, PROBE_SECONDS), *site.pages(services)]
    if broken := [each for each in visits if not each.ok]:
        url = compose.catalogue.public_url(broken[0].path)
        fail(
            f"all services run, but no user gets {url}: it {broken[0].problem}",
            f"docker service logs {compose.project}_{broken[0].service}",
            details="\n".join(f"{each.service}: {each.path} {each.problem}" for each in broken),
        )
    return True


def fetch_public(
    name: str, proxy: tuple[str, int], path: str, cookies: Mapping[str, str], seconds: float
) -> Reply:
    """Return what one GET answers at the public site of that name (and port) if it is looked for at this address.

    The certificate is not looked at: it may be from the stack's own authority.
    """
    host = name.partition(":")[0]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = HTTPSConnection(host, timeout=seconds)
    try:
        plain = socket.create_connection(proxy, timeout=seconds)
        connection.sock = context.wrap_socket(plain, server_hostname=host)
    except OSError as error:
        return Reply(0, problem=str(error))
    reply = ask(connection, name, path, cookies)
    # The proof follows redirects within the site as it is without TLS.
    inside = reply.headers.get("location", "").replace(f"https://{name}", f"http://localhost:{proxy[1]}")
    return replace(reply, headers={**reply.headers, "location": inside})
