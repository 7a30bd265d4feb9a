"""One push message: encrypted for one browser, signed, sent, and sent again after the time that the push service sets.

Protocols: RFC 8030 (Web Push), RFC 8291 (encryption, done by pywebpush), RFC 8292 (VAPID), RFC 9110 10.2.3
(Retry-After).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

import anyio.to_thread
import httpx
from werkzeug.http import parse_date

from wepppy.microservices.webpush_address import AddressRefusedError
from wepppy.microservices.webpush_keys import VapidKey
from wepppy.microservices.webpush_store import Subscription

TTL_SECONDS = 24 * 3600  # after a day a message has no use
FIRST_WAIT = 2.0
LONGEST_WAIT = 300.0
MAX_ATTEMPTS = 8
AT_ONCE = 16
Outcome = Literal["sent", "gone", "refused", "given up"]
Waiting = Callable[[float], Awaitable[None]]

_log = logging.getLogger(__name__)


def retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds of a `Retry-After` header (seconds or HTTP date), None without a usable one."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:10])
    moment = parse_date(text)
    return None if moment is None else max(0.0, moment.timestamp() - now)


def topic(runid: str) -> str:
    """Return the `Topic` (RFC 8030 5.4) of a run: a push service keeps only the newest undelivered one."""
    return base64.urlsafe_b64encode(hashlib.sha256(runid.encode()).digest()[:24]).decode()


def encrypt(subscription: Subscription, payload: bytes) -> bytes:
    """Return the body for one browser, content coding aes128gcm (RFC 8291). Raises ValueError for bad keys."""
    from pywebpush import WebPusher, WebPushException  # slow to import; the first push pays

    keys = {"p256dh": subscription.p256dh, "auth": subscription.auth}
    try:
        body: bytes = WebPusher({"endpoint": subscription.endpoint, "keys": keys}).encode(payload)["body"]
    except (WebPushException, TypeError, IndexError) as error:
        raise ValueError("the subscription's keys can't be used") from error
    return body


@dataclass
class Pusher:
    """Sends messages over one HTTP client, a few at a time. Clock, sleep and chance can be replaced."""

    client: httpx.AsyncClient
    key: VapidKey
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def push(self, subscription: Subscription, payload: bytes, waiting: Waiting) -> Outcome:
        """Send a message until it is accepted, refused for good, or `MAX_ATTEMPTS` or its time to live are used up.

        `waiting(seconds)` is awaited before every pause, for the caller to extend its claim on the message.
        """
        try:
            body = await anyio.to_thread.run_sync(encrypt, subscription, payload)
        except ValueError:
            return "refused"
        started = self.clock()
        for attempt in range(MAX_ATTEMPTS):
            outcome, wait = await self._attempt(subscription, body)
            if outcome is not None:
                return outcome
            # Full jitter: many messages that failed together must not come back together.
            pause = min(LONGEST_WAIT, FIRST_WAIT * 2**attempt) * (0.5 + 0.5 * self.chance())
            pause = max(pause, wait or 0.0)
            if attempt == MAX_ATTEMPTS - 1 or self.clock() + pause - started > TTL_SECONDS:
                break
            await waiting(pause)
            await self.sleep(pause)
        return "given up"

    async def _attempt(self, subscription: Subscription, body: bytes) -> tuple[Outcome | None, float | None]:
        """Return the outcome, or None and the seconds that the push service sets to wait."""
        headers = {
            "Authorization": self.key.authorization(subscription.endpoint),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(TTL_SECONDS),
            "Topic": topic(subscription.runid),
            "Urgency": "normal",
        }
        service = urlsplit(
            subscription.endpoint
        ).hostname  # the rest of the address is the subscriber's secret
        try:
            async with (
                self._places,
                self.client.stream("POST", subscription.endpoint, content=body, headers=headers) as response,
            ):
                status, wait = response.status_code, response.headers.get("retry-after")
        except AddressRefusedError:
            _log.warning("push to %s refused: its address is not public", service)
            return "refused", None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            return "refused", None
        except httpx.HTTPError as error:
            _log.info("push to %s failed, will try again: %s", service, type(error).__name__)
            return None, None
        if 200 <= status < 300:
            return "sent", None
        if status in (404, 410):
            return "gone", None
        if status == 429 or status >= 500:
            _log.info("push to %s answered %s, will try again", service, status)
            return None, retry_after(wait, self.clock())
        _log.warning("push to %s was refused with status %s", service, status)
        return "refused", None
