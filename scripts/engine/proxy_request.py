"""One request at the reverse proxy."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie

PAGE_LIMIT = 4_000_000


@dataclass(frozen=True)
class Reply:
    """What came back for one request: status (0 when nothing did), headers in lower case, body, why nothing came."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    problem: str = ""


# Takes host and port of the proxy, path, cookies, and the seconds that an answer may take.
Fetch = Callable[[tuple[str, int], str, Mapping[str, str], float], Reply]


def fetch(proxy: tuple[str, int], path: str, cookies: Mapping[str, str], seconds: float) -> Reply:
    """Return what one GET at the proxy answers, with these cookies whatever their scope.

    No redirect is followed and no HTTP proxy of the environment used.
    """
    host, port = proxy
    headers = {"Host": f"localhost:{port}", "Connection": "close", "Accept": "text/html, */*;q=0.5"}
    if cookies:
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = response.read(PAGE_LIMIT).decode("utf-8", "replace")
        named = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, named, _cookies(response.msg.get_all("Set-Cookie") or ()), body)
    except (OSError, http.client.HTTPException) as error:
        return Reply(0, problem=str(error) or type(error).__name__)
    finally:
        connection.close()


def _cookies(lines: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        try:
            found |= {name: morsel.coded_value for name, morsel in SimpleCookie(line).items()}
        except CookieError:
            continue
    return found
