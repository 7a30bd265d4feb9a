"""Where pushes may go. A subscriber chooses the address, so it must not lead into our own network.

An endpoint must be an `https` URL on the usual port of a named host, and every address that the name has when the
connection is made must be a public one. The connection goes to the address that was checked, not to the name, so
that a name that changes its address in between gains nothing. Redirects are not followed.
`WEBPUSH_ALLOW_INSECURE=true` lifts all of this, for development and tests.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

import httpx

from wepppy.config.environment import flag

MAX_ENDPOINT = 2048
# Ranges that count as global but stand for another address (NAT64, 6to4, Teredo) or for many hosts.
_DISGUISES = tuple(
    ipaddress.ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)


class AddressRefusedError(Exception):
    """A push would have gone to an address that is not public."""


def insecure_allowed() -> bool:
    """Return whether any address may be pushed to."""
    return flag("WEBPUSH_ALLOW_INSECURE")


def endpoint_fault(endpoint: str, *, insecure: bool) -> str | None:
    """Return what is wrong with an endpoint, None if nothing. Names are not looked up yet."""
    if not 0 < len(endpoint) <= MAX_ENDPOINT:
        return f"must be a URL of at most {MAX_ENDPOINT} characters"
    if not endpoint.isascii() or not endpoint.isprintable() or " " in endpoint:
        return "must be a URL of printable ASCII characters"
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname, parts.port
        httpx.URL(endpoint)
    except (ValueError, httpx.InvalidURL):
        return "is not a URL"
    if parts.scheme not in (("http", "https") if insecure else ("https",)):
        return "must be an https URL"
    if not host or "\\" in parts.netloc:
        return "must name a host"
    if parts.username is not None or parts.fragment:
        return "must not hold a user name or a fragment"
    if insecure:
        return None
    if port not in (None, 443):
        return "must use the usual port of https"
    literal = _literal(host)
    if literal is not None and not is_public(literal):
        return "must be on a public host"
    if literal is None and "." not in host.rstrip("."):
        return "must be on a public host"
    return None


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an address belongs to one host of the open internet."""
    inner = getattr(address, "ipv4_mapped", None)
    if inner is not None:
        return is_public(inner)
    if any(address in network for network in _DISGUISES if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class PublicTransport(httpx.AsyncBaseTransport):
    """An HTTP transport that connects to public addresses only."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request to a checked address of its host. Raises AddressRefusedError, httpx.ConnectError."""
        host = request.url.host
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, request.url.port or 443, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpx.ConnectError("the host name has no address", request=request) from error
        addresses = [ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in found]
        if not addresses or not all(is_public(address) for address in addresses):
            raise AddressRefusedError("the push service's host is not public")
        request.extensions = {**request.extensions, "sni_hostname": host}
        request.url = request.url.copy_with(host=str(addresses[0]))
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()
