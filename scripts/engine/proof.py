"""Prove through the reverse proxy that a stack serves its users: each backend's health, the pages that people need.

A container's own health check does not see a proxy that cannot reach it, a proxy's own page is no backend, and a
service that is healthy may answer each page with an error. What is asked for stands in the services' labels:
`wepp.probe` is answered by the backend itself, with status 200, the body of the label and no redirect; of `wepp.pages`
redirects are followed within the site, the log-in page makes a session, and the files that a page uses are there.
"""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urljoin, urlsplit

from scripts.base.clock import Clock
from scripts.base.errors import ExitCode, StackError, fail
from scripts.engine.catalogue import PROXY, Catalogue, Service
from scripts.engine.compose import Compose
from scripts.engine.failure import around

PROBE_SECONDS = 30.0
PROBE_REQUEST_SECONDS, PAGE_REQUEST_SECONDS = 5.0, 20.0
PAUSE_SECONDS = 0.25
# A proxy's own answer while a backend comes up is waited for; an application's error seldom passes by itself.
UNAVAILABLE_SECONDS, ERROR_SECONDS = 10.0, 1.5
UNAVAILABLE = (0, 502, 503, 504)
MISSING = (404, 410)
MOST_REDIRECTS = 8
MOST_AT_ONCE = 8
PAGE_LIMIT = 4_000_000
# What is shown of a longer list; the JSON answer holds all.
MOST_SHOWN = 5
# As the sample and a real tree write the number of an error, by which it is found in the log.
ERROR_ID = re.compile(r"\b(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b")
# Tags that make a browser ask for a file, and the attribute that names it.
SOURCES = {"link": "href", "script": "src", "img": "src"}
# Links of these kinds lead to pages, not to files of this one.
OTHER_PAGES = ("alternate", "canonical", "next", "prev", "author", "license", "preconnect", "dns-prefetch")


@dataclass(frozen=True)
class Reply:
    """What came back for one request: status (0 when nothing did), headers in lower case, body, why nothing came."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    problem: str = ""


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
        return not self.problem


@dataclass(frozen=True)
class Proof:
    """What was asked for, and answered as it should be: health by the probes, and pages with their files."""

    probes: tuple[Visit, ...] = ()
    pages: tuple[Visit, ...] = ()


# Takes host and port of the proxy, path, cookies, and the seconds that an answer may take.
Fetch = Callable[[tuple[str, int], str, Mapping[str, str], float], Reply]


def fetch(proxy: tuple[str, int], path: str, cookies: Mapping[str, str], seconds: float) -> Reply:
    """Return what one GET at the proxy answers, with these cookies whatever their scope.

    No redirect is followed and no HTTP proxy of the environment used.
    """
    host, port = proxy
    return ask(http.client.HTTPConnection(host, port, timeout=seconds), f"localhost:{port}", path, cookies)


def ask(connection: http.client.HTTPConnection, name: str, path: str, cookies: Mapping[str, str]) -> Reply:
    """Return what one GET on a new connection answers, which is closed then. name: of the site."""
    headers = {"Host": name, "Connection": "close", "Accept": "text/html, */*;q=0.5"}
    if cookies:
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
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


# ---- the verdict ----


def prove(compose: Compose, services: Sequence[Service], clock: Clock, *, fetching: Fetch = fetch) -> Proof:
    """Ask these services for their health and their pages. Raise StackError (failed) with the first wrong answer.

    Nothing is asked where the proxy is not among them or publishes no port on this machine.
    """
    catalogue = compose.catalogue
    address = catalogue.proxy_address()
    if address is None or all(service.name != PROXY for service in services):
        return Proof()
    # A second earlier: the engine may write a moment down before the request's own was taken.
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock.now() - 1))
    site = Site(address, clock, fetching)
    with ThreadPoolExecutor(max_workers=1) as pool:
        visiting = pool.submit(site.pages, services)
        probes = site.probes(services, PROBE_SECONDS)
        pages = visiting.result()
    # A page is the user's own word: its error says more than a health check's.
    if broken := [each for each in pages if not each.ok]:
        raise _pages_fail(compose, broken, since)
    if broken := [each for each in probes if not each.ok]:
        urls = {each.service: catalogue.url(each.path) for each in broken}
        fail(
            f"healthy inside, but not reached through the proxy: {', '.join(urls)}",
            "see docker/caddy/Caddyfile and `invoke compose-logs --services=caddy`",
            details="\n".join(f"{each.service}: GET {urls[each.service]} {each.problem}" for each in broken),
            facts={
                "services": [
                    {"name": each.service, "url": urls[each.service], "problem": each.problem}
                    for each in broken
                ]
            },
        )
    return Proof(tuple(probes), tuple(pages))


def _pages_fail(compose: Compose, broken: Sequence[Visit], since: str) -> StackError:
    catalogue = compose.catalogue
    causes = [around(compose, visit.service, since, visit.error_id) for visit in broken]
    shown: set[str] = set()
    details = []
    for visit, why in zip(broken, causes, strict=True):
        line = f"{visit.service}: GET {catalogue.url(visit.path)} {visit.problem}"
        # Pages that fail for the same reason share their log.
        details.append(line if why.cause in shown else f"{line}\n{why.details}")
        shown.add(why.cause)
    visit, why = broken[0], causes[0]
    more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
    return StackError(
        f"all healthy, but no user gets {catalogue.url(visit.path)}: it {visit.problem}"
        f"{f'; cause: {why.cause}' if why.cause else ''}{more}",
        f"fix it (the whole log: `invoke compose-logs --services={visit.service}`), then run this again",
        ExitCode.FAILED,
        details="\n".join(details[:MOST_SHOWN]),
        facts={
            "pages": [
                {**fact, "problem": each.problem, "cause": why.cause}
                for fact, each, why in zip(visits_document(catalogue, broken), broken, causes, strict=True)
            ]
        },
    )


def visits_document(catalogue: Catalogue, visits: Sequence[Visit]) -> list[dict[str, Any]]:
    return [
        {"service": each.service, "url": catalogue.url(each.path), "status": each.status, "ok": each.ok}
        for each in visits
    ]


# ---- the requests ----


@dataclass
class Site:
    """The stack as its users reach it, at this host and port of the proxy."""

    proxy: tuple[str, int]
    clock: Clock
    fetching: Fetch = fetch

    def probes(self, services: Sequence[Service], seconds: float) -> list[Visit]:
        """Ask every service that has a probe, each until it answers well or the time is over."""

        def ask(service: Service) -> Visit:
            reply = self.fetching(self.proxy, service.probe, {}, PROBE_REQUEST_SECONDS)
            return Visit(service.name, service.probe, reply.status, verdict(service, reply))

        asked = [service for service in services if service.probe]
        with ThreadPoolExecutor(len(asked) or 1) as pool:
            return list(pool.map(lambda each: self._until_well(lambda: ask(each), lambda _: seconds), asked))

    def pages(self, services: Sequence[Service]) -> list[Visit]:
        """Return every page of these services, then every file of the site that those pages use."""

        def limit(found: Visit) -> float:
            return UNAVAILABLE_SECONDS if found.status in UNAVAILABLE else ERROR_SECONDS

        def ask(page: tuple[str, str]) -> Visit:
            return self._until_well(lambda: self._visit(*page), limit)

        with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
            visits = list(
                pool.map(ask, [(service.name, path) for service in services for path in service.pages])
            )
            users: dict[str, Visit] = {}
            for each in visits:
                users |= {path: users.get(path, each) for path in each.files}
            files = list(pool.map(ask, [(user.service, path) for path, user in users.items()]))
        return [*visits, *(_as_file(each, users[each.path]) for each in files)]

    def _until_well(self, ask: Callable[[], Visit], limit: Callable[[Visit], float]) -> Visit:
        began = self.clock.monotonic()
        while True:
            found = ask()
            if found.ok or self.clock.monotonic() - began + PAUSE_SECONDS >= limit(found):
                return found
            self.clock.sleep(PAUSE_SECONDS)

    def _visit(self, service: str, path: str) -> Visit:
        cookies: dict[str, str] = {}
        place, reply = self._follow(path, cookies)
        found = Visit(service, path, reply.status, *_page_verdict(reply, path, place))
        if not found.ok or "html" not in reply.headers.get("content-type", ""):
            return found
        page = Page.of(reply.body, place)
        found = replace(found, files=tuple(page.files))
        if not page.logs_in:
            return found
        if not cookies:
            problem = "makes no session: the log-in page sets no cookie, so nobody can log in"
            return replace(found, problem=problem)
        _, again = self._follow(path, cookies)
        token = Page.of(again.body, place).token
        # The signed part before the first dot is the session's own, whatever the moment of its making.
        if token.partition(".")[0] != page.token.partition(".")[0]:
            problem = "does not keep the session from one request to the next, so nobody can log in"
            return replace(found, problem=problem)
        return found

    def _follow(self, path: str, cookies: dict[str, str]) -> tuple[str, Reply]:
        """Return last address and answer of a chain of redirects within the site; what is set goes into `cookies`."""
        for _ in range(MOST_REDIRECTS):
            reply = self.fetching(self.proxy, path, cookies, PAGE_REQUEST_SECONDS)
            cookies |= reply.cookies
            target = reply.headers.get("location", "") if 300 <= reply.status < 400 else ""
            inside = _inside(target, path, self.proxy[1]) if target else ""
            if not inside:
                return path, reply
            path = inside
        return path, Reply(reply.status, problem=f"is redirected without end, at last to {path}")


def _as_file(found: Visit, user: Visit) -> Visit:
    problem = found.problem or (f"answered {found.status}" if found.status >= 400 else "")
    return replace(found, files=(), problem=f"{problem} (used by {user.path})" if problem else "")


def _inside(target: str, base: str, port: int) -> str:
    """Path and query of an address of this site; empty for any other."""
    parts = urlsplit(urljoin(f"http://localhost:{port}{base}", target))
    if parts.scheme != "http" or parts.netloc != f"localhost:{port}":
        return ""
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def verdict(service: Service, reply: Reply) -> str:
    """Return why this reply is not the backend's health; empty when it is."""
    body = reply.body.strip()
    if reply.problem:
        return reply.problem
    if 300 <= reply.status < 400:
        return f"answered with a redirect ({reply.status})"
    if reply.status != 200:
        return f"answered {reply.status}: {_short(told(body)[0] if body.startswith('<') else body)}"
    if service.probe_body and body != service.probe_body:
        return f"answered {_short(body)} instead of {service.probe_body}"
    return ""


def _short(body: str) -> str:
    first = body.splitlines()[0] if body else "nothing"
    return first if len(first) <= 80 else first[:77] + "..."


def _page_verdict(reply: Reply, path: str, place: str) -> tuple[str, str]:
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
    number = next(iter(ERROR_ID.findall(body)), "")
    try:
        document = json.loads(body)
    except ValueError:
        page = Page.of(body, "/")
        message = page.heading or page.title or (body if "<" not in body else "")
    else:
        error = document.get("error", document) if isinstance(document, dict) else document
        message = error.get("message", "") if isinstance(error, dict) else error
        number = (document.get("error_id") if isinstance(document, dict) else "") or number
    return " ".join(str(message or "").split())[:300], str(number)


class Page(HTMLParser):
    """What matters of an HTML page: heading, title, paths of the site's files that it uses, and its log-in form."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place
        self.title = self.heading = self.token = ""
        self.logs_in = False
        # Each once, in their order.
        self.files: dict[str, None] = {}
        self._inside = ""

    @classmethod
    def of(cls, body: str, place: str) -> Page:
        page = cls(place)
        page.feed(body)
        page.close()
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        if tag in ("title", "h1"):
            self._inside = tag
        source = named.get(SOURCES.get(tag, ""), "")
        if source and not set(named.get("rel", "").lower().split()) & set(OTHER_PAGES):
            path = _inside(source, self.place, 80) if "//" not in source else ""
            if path:
                self.files[path] = None
        if tag == "input" and named.get("type", "").lower() == "password":
            self.logs_in = True
        if (tag == "input" and named.get("name") == "csrf_token") or named.get("name") == "csrf-token":
            self.token = self.token or named.get("value", "") or named.get("content", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "title":
            self.title += data
        elif self._inside == "h1":
            self.heading += data
