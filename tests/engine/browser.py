"""A person with a browser: headless Chromium in a container, and what must not happen while it looks at the site."""

from __future__ import annotations

import base64
import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import playwright
from playwright.sync_api import (
    Browser,
    BrowserContext,
    BrowserType,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    expect,
    sync_playwright,
)

from tests.containers import chromium_image
from tests.engine.stack import ROOT, Stack

ARTEFACTS = ROOT / ".docker-data" / "screenshots"
NODE = Path(__file__).parent / "chromium" / "node"
# The proxy as its own container sees it; a loopback address, so the browser trusts it as it trusts localhost.
ADDRESS = "127.0.0.1:8080"
# The container is the sandbox; Chromium's own needs privileges that it does not have there.
HERE: dict[str, Any] = {"executable_path": "/usr/bin/chromium", "chromium_sandbox": False}
# A page that waits for a worker gets minutes, as the other engine tests do; everything else answers at once, which is
# recorded and not expected. Expectations have a limit of their own.
PATIENCE_MS = 120_000.0
USUAL_PATIENCE_MS = 30_000.0
expect.set_options(timeout=USUAL_PATIENCE_MS)


@contextmanager
def _chromium(stack: Stack) -> Iterator[BrowserType]:
    """What launches a browser beside the stack's proxy; downloads and pictures go to `ARTEFACTS`."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    os.environ.update(
        CHROMIUM_IMAGE=chromium_image(),
        PROXY_CONTAINER=stack.compose("ps", "--quiet", "caddy").stdout.strip(),
        DRIVER_DIR=str(Path(inspect.getfile(playwright)).parent / "driver"),
        ARTEFACTS_DIR=str(ARTEFACTS),
        PLAYWRIGHT_NODEJS_PATH=str(NODE),
    )
    with sync_playwright() as started:
        yield started.chromium


@contextmanager
def chromium(stack: Stack) -> Iterator[Browser]:
    """A browser for as long as the block lasts. Its contexts are private windows, each forgets what it saw."""
    with _chromium(stack) as kind:
        browser = kind.launch(**HERE)
        yield browser
        browser.close()


@contextmanager
def profile(stack: Stack) -> Iterator[BrowserContext]:
    """A browser's ordinary window for as long as the block lasts: private ones refuse the Push API."""
    with _chromium(stack) as kind:
        # In a folder that the driver makes in its own container.
        context = kind.launch_persistent_context("", **HERE)
        yield context
        context.close()


@dataclass
class Visitor:
    """One person's browser at the site, and everything that went wrong in it."""

    context: BrowserContext
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.set_default_timeout(USUAL_PATIENCE_MS)
        self.context.on("console", self._heard)
        self.context.on("weberror", lambda error: self.problems.append(f"uncaught: {error.error}"))
        self.context.on("request", self._asked)
        self.page = self.context.new_page()

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"console {message.type}: {message.text} ({message.location.get('url')})")

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != ADDRESS:
            self.problems.append(f"asked outside: {request.url}")

    def go(self, path: str) -> Page:
        """Open a path of the site."""
        self.page.goto(f"http://{ADDRESS}{path}")
        return self.page

    def log_in(self, email: str, password: str) -> None:
        """Log in on the page of that name."""
        page = self.go("/")
        page.get_by_role("link", name="Log in").first.click()
        self.picture("login")
        page.get_by_label("E-mail address").fill(email)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_text(email)).to_be_visible()

    def create_run(self, name: str) -> Page:
        """Create a run; its page."""
        page = self.go("/weppcloud/")
        page.get_by_label("Name of a new run").fill(name)
        page.get_by_role("button", name="Create a run").click()
        page.wait_for_url("**/runs/*/*/")
        return page

    def picture(self, name: str) -> None:
        """Keep how the whole page looks now."""
        self.page.screenshot(path=str(ARTEFACTS / f"{name}.png"), full_page=True)


# Counts colours of a picture as it was drawn on the screen: different greys, and pixels of the channels' blue.
COUNT_COLOURS = """async (picture) => {
  const image = new Image();
  image.src = `data:image/png;base64,${picture}`;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
  canvas.drawImage(image, 0, 0);
  const pixels = canvas.getImageData(0, 0, image.width, image.height).data;
  const greys = new Set();
  let blue = 0;
  for (let at = 0; at < pixels.length; at += 4) {
    const [r, g, b] = pixels.subarray(at, at + 3);
    if (r === g && g === b) greys.add(r);
    else if (b > r + 80 && b > g + 40) blue += 1;
  }
  return { greys: greys.size, blue, pixels: pixels.length / 4 };
}"""


def colours(element: Locator) -> dict[str, int]:
    """How many different greys and how many blue pixels an element shows on the screen."""
    counted: dict[str, int] = element.page.evaluate(
        COUNT_COLOURS, base64.b64encode(element.screenshot()).decode()
    )
    return counted


# What a person who hears or tabs through the page would miss.
FIND_BARRIERS = """() => {
  const found = [];
  for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
    if (!field.labels.length) found.push(`no label: ${field.outerHTML}`);
  for (const named of document.querySelectorAll("button, a, summary"))
    if (!named.textContent.trim()) found.push(`no name: ${named.outerHTML}`);
  for (const image of document.querySelectorAll("img"))
    if (!image.alt) found.push(`no alternative: ${image.outerHTML}`);
  for (const landmark of ["main", "header", "h1"])
    if (document.querySelectorAll(landmark).length !== 1) found.push(`not exactly one ${landmark}`);
  if (!document.documentElement.lang || !document.title) found.push("no language or title");
  const ids = [...document.querySelectorAll("[id]")].map((each) => each.id);
  if (new Set(ids).size !== ids.length) found.push("an id is there twice");
  return found;
}"""

# Contrast of every text with what is behind it: WCAG 2.2, success criterion 1.4.3 (4.5:1, large text 3:1).
FIND_FAINT_TEXT = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, alpha = 1] = parse(getComputedStyle(at).backgroundColor);
      if (alpha > 0) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || element.closest("svg, noscript, .visually-hidden, :disabled") || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const [bright, dark] = [luminance(parse(style.color)), luminance(ground(element))].sort((a, b) => b - a);
    const ratio = (bright + 0.05) / (dark + 0.05);
    const needed = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
    if (ratio < needed) found.push(`${ratio.toFixed(1)}: ${text.slice(0, 40)}`);
  }
  return found;
}"""


def barriers(page: Page) -> list[str]:
    """What would keep somebody from using the page: missing names, faint text, a page wider than the screen."""
    found: list[str] = [*page.evaluate(FIND_BARRIERS), *page.evaluate(FIND_FAINT_TEXT)]
    width: dict[str, Any] = page.evaluate(
        "() => ({page: document.documentElement.scrollWidth, screen: document.documentElement.clientWidth})"
    )
    if width["page"] > width["screen"]:
        found.append(f"the page is {width['page']} wide on a screen of {width['screen']}")
    return found
