"""Ask for what a user needs, through the reverse proxy: pages, a session at the log-in page, the files that pages use.

A service that is healthy may answer each page with an error. Which pages a service is for stands in its `wepp.pages`
label; a redirect is followed within the site, and what a page refers to on the site itself is asked for, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

from scripts.base.clock import Clock
from scripts.engine.catalogue import Service
from scripts.engine.proxy_request import Fetch, Reply, fetch

REQUEST_SECONDS = 20.0
PAUSE_SECONDS = 0.25
# A proxy's own answer while a backend comes up is waited for; an application's error seldom passes by itself.
UNAVAILABLE_SECONDS, ERROR_SECONDS = 10.0, 1.5
UNAVAILABLE = (0, 502, 503, 504)
MISSING = (404, 410)
MOST_REDIRECTS = 8
MOST_AT_ONCE = 8
# As the sample and a real tree write the number of an error, by which it is found in the log.
ERROR_ID = re.compile(r"\b(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b")
# Tags that make a browser ask for a file, and the attribute that names it.
SOURCES = {"link": "href", "script": "src", "img": "src"}
# Links of these kinds lead to pages, not to files of this one.
OTHER_PAGES = ("alternate", "canonical", "next", "prev", "author", "license", "preconnect", "dns-prefetch")


@dataclass(frozen=True)
class Visit:
    """One address that was asked for: of which service, with which answer, and what is wrong with that."""

    service: str
    path: str
    status: int = 0
    problem: str = ""
    error_id: str = ""
    files: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True when a user gets what the address is for."""
        return not self.problem


def visit_all(
    services: Sequence[Service], proxy: tuple[str, int], clock: Clock, *, fetching: Fetch = fetch
) -> list[Visit]:
    """Return every page of these services, then every file of the site that those pages use."""
    pages = [(service.name, path) for service in services for path in service.pages]
    if not pages:
        return []
    with ThreadPoolExecutor(max_workers=MOST_AT_ONCE) as pool:
        visits = list(
            pool.map(lambda page: _fetch_until_answered(page[0], page[1], proxy, clock, fetching), pages)
        )
        users: dict[str, Visit] = {}
        for each in visits:
            users |= {path: users.get(path, each) for path in each.files}
        files = list(pool.map(lambda item: _file(item[0], item[1], proxy, clock, fetching), users.items()))
    return [*visits, *files]


def _fetch_until_answered(
    service: str, path: str, proxy: tuple[str, int], clock: Clock, fetching: Fetch
) -> Visit:
    began = clock.monotonic()
    while True:
        found = _visit(service, path, proxy, fetching)
        limit = UNAVAILABLE_SECONDS if found.status in UNAVAILABLE else ERROR_SECONDS
        if found.ok or clock.monotonic() - began + PAUSE_SECONDS >= limit:
            return found
        clock.sleep(PAUSE_SECONDS)


def _visit(service: str, path: str, proxy: tuple[str, int], fetching: Fetch) -> Visit:
    cookies: dict[str, str] = {}
    place, reply = _follow(proxy, path, cookies, fetching)
    found = Visit(service, path, reply.status, *_verdict(reply, path, place))
    if not found.ok or "html" not in reply.headers.get("content-type", ""):
        return found
    page = Page.of(reply.body, place)
    found = replace(found, files=page.files)
    if not page.logs_in:
        return found
    if not cookies:
        return replace(
            found, problem="makes no session: the log-in page sets no cookie, so nobody can log in"
        )
    _, again = _follow(proxy, path, cookies, fetching)
    token = Page.of(again.body, place).token
    # The signed part before the first dot is the session's own, whatever the moment of its making.
    if token.partition(".")[0] != page.token.partition(".")[0]:
        return replace(
            found, problem="does not keep the session from one request to the next, so nobody can log in"
        )
    return found


def _file(path: str, user: Visit, proxy: tuple[str, int], clock: Clock, fetching: Fetch) -> Visit:
    found = _fetch_until_answered(user.service, path, proxy, clock, fetching)
    problem = found.problem or (f"answered {found.status}" if found.status >= 400 else "")
    return replace(found, files=(), problem=f"{problem} (used by {user.path})" if problem else "")


def _follow(proxy: tuple[str, int], path: str, cookies: dict[str, str], fetching: Fetch) -> tuple[str, Reply]:
    """Return the last address and answer of a chain of redirects within the site; what is set goes into `cookies`."""
    for _ in range(MOST_REDIRECTS):
        reply = fetching(proxy, path, cookies, REQUEST_SECONDS)
        cookies |= reply.cookies
        target = reply.headers.get("location", "") if 300 <= reply.status < 400 else ""
        inside = _inside(target, path, proxy[1]) if target else ""
        if not inside:
            return path, reply
        path = inside
    return path, Reply(reply.status, problem=f"is redirected without end, at last to {path}")


def _inside(target: str, base: str, port: int) -> str:
    """Path and query of an address of this site; empty for any other."""
    parts = urlsplit(urljoin(f"http://localhost:{port}{base}", target))
    if parts.scheme != "http" or parts.netloc != f"localhost:{port}":
        return ""
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _verdict(reply: Reply, path: str, place: str) -> tuple[str, str]:
    """Return what is wrong with an answer, and the number of its error; both empty when it is a page."""
    if reply.problem:
        return reply.problem, ""
    if reply.status < 500 and reply.status not in MISSING:
        return "", ""
    message, error_id = told(reply.body)
    where = f" at {place}" if place != path else ""
    number = f" (error id {error_id})" if error_id else ""
    return f"answered {reply.status}{where}{': ' if message else ''}{message}{number}", error_id


def told(body: str) -> tuple[str, str]:
    """Message and number of an error, from the document or the page in which they are told."""
    numbers = ERROR_ID.findall(body)
    try:
        document = json.loads(body)
    except ValueError:
        page = Page.of(body, "/")
        text = page.heading or page.title or (body if "<" not in body else "")
        return " ".join(text.split())[:300], numbers[0] if numbers else ""
    error = document.get("error", document) if isinstance(document, dict) else document
    message = error.get("message", "") if isinstance(error, dict) else error
    number = document.get("error_id", "") if isinstance(document, dict) else ""
    return " ".join(str(message or "").split())[:300], str(number or (numbers[0] if numbers else ""))


class Page(HTMLParser):
    """What matters of an HTML page: heading, title, files of the site that it uses, and its log-in form."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place
        self.title = self.heading = self.token = ""
        self.logs_in = False
        self.found: dict[str, None] = {}
        self._inside: list[str] = []

    @classmethod
    def of(cls, body: str, place: str) -> Page:
        """Read a page that stands at `place`."""
        page = cls(place)
        page.feed(body)
        page.close()
        return page

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of the files, each once."""
        return tuple(self.found)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take in the start of an element."""
        named = {name: value or "" for name, value in attrs}
        if tag in ("title", "h1"):
            self._inside = [tag]
        source = named.get(SOURCES.get(tag, ""), "")
        if source and not set(named.get("rel", "").lower().split()) & set(OTHER_PAGES):
            path = _inside(source, self.place, 80) if "//" not in source else ""
            if path:
                self.found[path] = None
        if tag == "input" and named.get("type", "").lower() == "password":
            self.logs_in = True
        if (tag == "input" and named.get("name") == "csrf_token") or named.get("name") == "csrf-token":
            self.token = self.token or named.get("value", "") or named.get("content", "")

    def handle_endtag(self, tag: str) -> None:
        """Take in the end of an element."""
        if tag in self._inside:
            self._inside = []

    def handle_data(self, data: str) -> None:
        """Take in text."""
        if self._inside == ["title"]:
            self.title += data
        elif self._inside == ["h1"]:
            self.heading += data
