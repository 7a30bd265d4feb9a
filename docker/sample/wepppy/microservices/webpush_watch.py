"""Notice that a run ended, and notify each subscriber once.

What is true is the job itself: its hash `rq:job:<id>` in database 9 keeps `status` and `ended_at` for a week, and the
run's hash in database 0 names the run's last jobs (`rq:<task>`). Every `LOOK_SECONDS` the watcher looks at those of all
runs with subscriptions, so nothing that happens while it, Redis or Postgres is away is lost. A subscription is removed
when its message was accepted or refused for good. A kill in between repeats one message; the push `Topic`
and the notification's `tag` make the second replace the first. The opposite order could lose it.

Protocols: RFC 8030 (Web Push), RFC 8291 (encryption, done by pywebpush), RFC 8292 (VAPID, done by py_vapid), RFC 9110
10.2.3 (Retry-After).
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import quote, urlsplit

import psycopg
import requests
from py_vapid import Vapid02
from pywebpush import WebPusher, WebPushException
from redis import RedisError
from werkzeug.http import parse_date

from wepppy.config.environment import flag, setting, site_prefix
from wepppy.config.redis_settings import RedisDB, redis_client
from wepppy.config.run_paths import get_wd
from wepppy.microservices import webpush_store
from wepppy.microservices.webpush_store import Subscription

LOOK_SECONDS = 5.0
PUSH_SECONDS = 10.0
TTL_SECONDS = 24 * 3600  # after a day a message has no use
TOKEN_SECONDS = 12 * 3600  # RFC 8292 allows 24 h at most
FIRST_PAUSE = 10.0
AT_ONCE = 8
# A subscription of the second in which the run ends means that end.
GRACE = timedelta(seconds=5)
# A subscriber chooses the address, so it must not lead into our own network: the push services of browsers are these.
PUSH_SERVICE = re.compile(
    r"https://[a-z0-9.-]+\.(google|googleapis|mozilla|apple|windows)\.com/[!-~]{1,2000}"
)
ANY_SERVICE = re.compile(r"https?://[!-~]{1,2000}")

_log = logging.getLogger(__name__)


def is_push_service(endpoint: str) -> bool:
    """Return whether messages may be sent there; `WEBPUSH_ALLOW_INSECURE=true`, for tests, lets them go anywhere."""
    return bool((ANY_SERVICE if flag("WEBPUSH_ALLOW_INSECURE") else PUSH_SERVICE).fullmatch(endpoint))


def vapid_subject() -> str:
    """Return how a push service reaches the operator: `VAPID_SUBJECT`, `mailto:...` or `https://...`."""
    return setting("VAPID_SUBJECT", "mailto:admin@example.org")


def payload(runid: str, config: str, status: str) -> bytes:
    """Return the message of a run's end as JSON."""
    word = "is finished" if status == "finished" else "has failed"
    message = {
        "type": "run",
        "runid": runid,
        "config": config,
        "status": status,
        "title": f"Run {runid} {word}",
        "body": "Open it to see the results." if status == "finished" else "Open it to see what went wrong.",
        "url": f"{site_prefix()}/runs/{quote(runid, safe='')}/{quote(config, safe='')}/",
        "tag": f"run-{runid}",
    }
    return json.dumps(message, ensure_ascii=False).encode()


class Watcher(threading.Thread):
    """Looks at the runs until `stop` is called. `problem`: why notifications do not arrive at the moment."""

    def __init__(self, key: Vapid02, clock: Callable[[], float] = time.time) -> None:
        super().__init__(name="webpush watcher", daemon=True)
        self.problem: str | None = "the service is starting"
        self._key = key
        self._clock = clock
        self._runs = redis_client(RedisDB.LOCK)
        self._jobs = redis_client(RedisDB.RQ, encoding_errors="replace")
        self._stopping = threading.Event()
        self._done: set[Subscription] = set()  # not removed yet
        self._not_before: dict[Subscription, float] = {}

    def stop(self) -> None:
        """End after the look under way."""
        self._stopping.set()
        self.join(PUSH_SECONDS)

    def run(self) -> None:
        """Look again and again, whatever goes wrong."""
        while not self._stopping.is_set():
            try:
                self.look()
                self.problem = None
            except psycopg.Error:
                self.problem = "postgres does not answer"
            except (RedisError, OSError):
                self.problem = "redis does not answer"
            except Exception:
                _log.exception("the watcher failed")
                self.problem = "the watcher failed; its log says why"
            self._stopping.wait(LOOK_SECONDS)

    def look(self) -> None:
        """Send what is due. Raises RedisError, psycopg.Error."""
        self._runs.ping()
        self._remove_done()
        waiting = webpush_store.subscriptions()
        self._not_before = {each: self._not_before.get(each, 0.0) for each in waiting}
        ends = {runid: self._end_of(runid) for runid in {each.runid for each in waiting}}
        due = []
        for each in waiting:
            if (end := ends[each.runid]) and self._clock() >= self._not_before[each]:
                status, at = end[0], end[1] or each.created
                if at >= each.created - GRACE:
                    due.append((each, status, at))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda each: self._send(*each), due))  # as a list: what one raises is raised here
        self._remove_done()

    def _remove_done(self) -> None:
        for each in list(self._done):
            webpush_store.remove_unchanged(each)
            self._done.remove(each)

    def _end_of(self, runid: str) -> tuple[str, datetime | None] | None:
        """Return how and when a run ended last; the time of a job whose worker was killed is not known."""
        ends: list[tuple[str, datetime | None]] = []
        for name, job in self._runs.hgetall(get_wd(runid).name).items():
            if name.startswith("rq:"):
                status, ended = self._jobs.hmget(f"rq:job:{job}", "status", "ended_at")
                if status in ("finished", "failed"):  # one that is to be tried again is queued or scheduled
                    ends.append((status, datetime.fromisoformat(ended) if ended else None))
        return max(ends, key=lambda end: end[1] or datetime.max.replace(tzinfo=UTC), default=None)

    def _send(self, subscription: Subscription, status: str, at: datetime) -> None:
        message = payload(subscription.runid, subscription.config, status)
        outcome, wait = self._push(subscription, message)
        # Each pause is as long as it took so far, so that they double.
        pause = max(FIRST_PAUSE, wait, self._clock() - at.timestamp())
        if outcome == "later" and self._clock() + pause - at.timestamp() > TTL_SECONDS:
            outcome = "given up"
        _log.info("run %s: notification %s is %s", subscription.runid, subscription.id, outcome)
        if outcome == "later":
            self._not_before[subscription] = self._clock() + pause
        else:
            self._done.add(subscription)

    def _push(
        self, subscription: Subscription, message: bytes
    ) -> tuple[Literal["sent", "refused", "later"], float]:
        """Send a message once; return the outcome and the seconds that the push service sets to wait."""
        if not is_push_service(subscription.endpoint):
            return "refused", 0
        service = urlsplit(subscription.endpoint)  # the rest of the address is the subscriber's secret
        claims = {
            "aud": f"{service.scheme}://{service.netloc}",
            "exp": int(time.time()) + TOKEN_SECONDS,
            "sub": vapid_subject(),
        }
        # A push service keeps only the newest undelivered message of a topic (RFC 8030 5.4).
        topic = base64.urlsafe_b64encode(hashlib.sha256(subscription.runid.encode()).digest()[:24]).decode()
        keys = {"p256dh": subscription.p256dh, "auth": subscription.auth}
        try:
            with requests.Session() as session:
                session.max_redirects = 0
                pusher = WebPusher(
                    {"endpoint": subscription.endpoint, "keys": keys}, requests_session=session
                )
                headers = {**self._key.sign(claims), "Topic": topic, "Urgency": "normal"}
                answer = pusher.send(message, headers, ttl=TTL_SECONDS, timeout=PUSH_SECONDS)
        except requests.TooManyRedirects:
            return "refused", 0
        except requests.RequestException as error:
            _log.info("push to %s failed, will try again: %s", service.hostname, type(error).__name__)
            return "later", 0
        except (WebPushException, ValueError, TypeError, IndexError):
            return "refused", 0  # keys that can't be used
        if answer.status_code == 429 or answer.status_code >= 500:
            _log.info("push to %s answered %s, will try again", service.hostname, answer.status_code)
            return "later", retry_after(answer.headers.get("retry-after", ""), self._clock())
        return "sent" if answer.ok else "refused", 0


def retry_after(value: str, now: float) -> float:
    """Return the seconds of a `Retry-After` header (seconds or HTTP date), 0 without a usable one."""
    value = value.strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    moment = parse_date(value)
    return max(0.0, moment.timestamp() - now) if moment else 0.0
