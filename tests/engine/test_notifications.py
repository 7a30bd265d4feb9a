"""A run's end as a notification: the service's own words, delivered to the page's service worker in a real browser.

No push service is reached: DevTools hands the message to the browser where a push service would have (how it travels
there, encrypted and signed, is in tests/sample).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.engine.browser import ADDRESS, PATIENCE_MS, Visitor, profile
from tests.engine.stack import Stack

ORIGIN = f"http://{ADDRESS}"
# Asked in the service that sends them, so with its settings: what a browser gets once it is decrypted.
PAYLOAD = """
import sys
from wepppy.microservices.webpush_watch import payload
sys.stdout.buffer.write(payload(*sys.argv[1:]))
"""
SHOWN = """async () => (await (await navigator.serviceWorker.ready).getNotifications())
  .map(({ title, body, tag }) => ({ title, body, tag }))"""
# Makes `shown` of the worker a promise that its next notification is there. Asked for them any sooner, Chromium drops
# those that it has taken and not displayed yet.
LISTEN = """(patience) => {
  self.shown = new Promise((done, fail) => {
    registration.showNotification = (...words) => {
      delete registration.showNotification;
      const showing = registration.showNotification(...words);
      showing.then(done, fail);
      return showing;
    };
    setTimeout(() => fail(new Error("no notification was shown")), patience);
  });
}"""
# A click as the browser tells of it, on the one notification there is. A made-up one opens no window by the browser's
# rules, so what would be opened or brought to the front is written down.
CLICK = """async () => {
  const led = [], waited = [];
  clients.openWindow = async (address) => led.push(["opened", address]);
  WindowClient.prototype.focus = async function () { led.push(["focused", this.url]); };
  const [notification] = await registration.getNotifications();
  const click = new NotificationEvent("notificationclick", { notification });
  click.waitUntil = (work) => waited.push(work);
  dispatchEvent(click);
  await Promise.all(waited);
  return { led, left: (await registration.getNotifications()).length };
}"""


@pytest.fixture(scope="module")
def context(stack: Stack) -> Iterator[BrowserContext]:
    with profile(stack) as started:
        yield started


@pytest.fixture(scope="module")
def visitor(stack: Stack, context: BrowserContext) -> Visitor:
    """Somebody who is logged in, in an ordinary window."""
    made = Visitor(context)
    made.log_in("admin@example.org", stack.secret("admin_password"))
    return made


@pytest.fixture
def run_page(visitor: Visitor) -> Iterator[Page]:
    """The page of a new run, in a browser that may show notifications; nothing may have gone wrong in the end."""
    visitor.context.grant_permissions(["notifications"], origin=ORIGIN)
    yield visitor.create_run("Told of")
    found, visitor.problems[:] = list(visitor.problems), []
    assert found == []


@pytest.fixture
def deliver(run_page: Page) -> Iterator[Callable[[str], None]]:
    """Hands a message to the page's service worker as the browser does when its push service has one."""
    registrations: dict[str, str] = {}
    # Without an active worker a push would be lost without a word.
    run_page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    session = run_page.context.new_cdp_session(run_page)
    session.on(
        "ServiceWorker.workerRegistrationUpdated",
        lambda event: registrations.update(
            {each["scopeURL"]: each["registrationId"] for each in event["registrations"]}
        ),
    )
    scope = f"{ORIGIN}/weppcloud/"
    session.send("ServiceWorker.enable")
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while scope not in registrations:
        assert time.monotonic() < deadline, registrations
        run_page.wait_for_timeout(50)  # events are heard while something is waited for

    def delivering(message: str) -> None:
        (worker,) = run_page.context.service_workers
        worker.evaluate(LISTEN, PATIENCE_MS)
        session.send(
            "ServiceWorker.deliverPushMessage",
            {"origin": ORIGIN, "registrationId": registrations[scope], "data": message},
        )
        worker.evaluate("() => self.shown")

    yield delivering
    session.detach()


def payload(stack: Stack, page: Page, status: str) -> str:
    """The message of the end of the run that a page shows."""
    runid, config = page.url.rstrip("/").split("/")[-2:]
    return stack.compose("exec", "-T", "webpush", "python", "-c", PAYLOAD, runid, config, status).stdout


def shown(page: Page) -> list[dict[str, Any]]:
    """The browser's notifications."""
    found: list[dict[str, Any]] = page.evaluate(SHOWN)
    return found


def click(context: BrowserContext) -> dict[str, Any]:
    """Clicks the notification; what that led to."""
    (worker,) = context.service_workers
    answer: dict[str, Any] = worker.evaluate(CLICK)
    return answer


def test_the_end_of_a_run_is_shown_and_a_later_end_of_the_same_run_takes_its_place(
    stack: Stack, run_page: Page, deliver: Callable[[str], None]
) -> None:
    runid = run_page.locator("#run").get_attribute("data-runid")
    deliver(payload(stack, run_page, "finished"))
    (first,) = shown(run_page)
    assert first == {
        "title": f"Run {runid} is finished",
        "body": "Open it to see the results.",
        "tag": f"run-{runid}",
    }
    deliver(payload(stack, run_page, "failed"))
    (second,) = shown(run_page)
    assert second == {
        "title": f"Run {runid} has failed",
        "body": "Open it to see what went wrong.",
        "tag": f"run-{runid}",
    }
    click(run_page.context)


def test_a_message_that_nobody_understands_is_shown_all_the_same(
    run_page: Page, deliver: Callable[[str], None]
) -> None:
    deliver("no JSON")  # a browser takes the right to notify from a page that stays silent
    (notification,) = shown(run_page)
    assert (notification["title"], notification["body"]) == ("WEPPcloud", "A run has ended.")
    assert click(run_page.context)["led"] == [["opened", f"{ORIGIN}/weppcloud/"]]


def test_a_click_leads_to_the_runs_page(
    stack: Stack, visitor: Visitor, run_page: Page, deliver: Callable[[str], None]
) -> None:
    address, message = run_page.url, payload(stack, run_page, "finished")
    runid = run_page.locator("#run").get_attribute("data-runid")
    deliver(message)
    assert click(run_page.context) == {"led": [["focused", address]], "left": 0}
    visitor.go("/weppcloud/")
    deliver(message)
    clicked = click(run_page.context)
    ((verb, opened),) = clicked["led"]
    assert (verb, clicked["left"]) == ("opened", 0)
    visitor.page.goto(opened)
    expect(run_page.locator("#run")).to_have_attribute("data-runid", str(runid))
    assert run_page.url == address


def test_a_message_leads_to_no_other_site(run_page: Page, deliver: Callable[[str], None]) -> None:
    deliver('{"title": "Elsewhere", "url": "https://other.example/"}')
    assert click(run_page.context)["led"] == []


def test_the_button_says_that_no_push_service_answers(run_page: Page) -> None:
    button = run_page.get_by_role("button", name="Notify me")
    button.click()
    expect(button).to_be_disabled()
    # This browser tries for ever to reach the one that it was built with.
    expect(run_page.locator("#problem")).to_have_text(
        "Notifications are not available: the push service of this browser does not answer",
        timeout=30_000,
    )
    expect(button).to_be_enabled()
    expect(button).to_have_attribute("aria-pressed", "false")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("AbortError", "this browser has no push service, or cannot reach it"),
        ("NotAllowedError", "this browser does not allow them here; a private window never does"),
    ],
)
def test_a_browsers_refusal_is_put_into_words(run_page: Page, name: str, word: str) -> None:
    run_page.evaluate(
        "(name) => (PushManager.prototype.subscribe = async () => { throw new DOMException('Failed', name); })",
        name,
    )
    run_page.get_by_role("button", name="Notify me").click()
    expect(run_page.locator("#problem")).to_have_text(f"Notifications are not available: {word}")


def test_the_button_says_that_the_browser_was_told_to_show_none(run_page: Page) -> None:
    run_page.context.clear_permissions()
    run_page.get_by_role("button", name="Notify me").click()
    expect(run_page.locator("#problem")).to_have_text(
        "Notifications are not available: this browser does not allow them"
    )


def test_a_browser_without_push_is_offered_none(visitor: Visitor, run_page: Page) -> None:
    other = visitor.context.new_page()
    other.add_init_script("delete window.PushManager")
    other.goto(run_page.url)
    expect(other.locator("#checklist-state")).to_have_text("live")
    expect(other.get_by_role("button", name="Notify me")).to_be_hidden()
    other.close()
