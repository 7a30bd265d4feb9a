"""Notifications when a run ends, to browsers that subscribed to it (port 9003).

Routes; the proxy strips `/weppcloud-microservices/webpush`:

- `GET /vapid-public-key`: `{"public_key": "<base64url, 65 bytes>"}`, the `applicationServerKey` of
  `pushManager.subscribe({userVisibleOnly: true, applicationServerKey: ...})`.
- `POST /subscriptions/{runid}` with what `PushSubscription.toJSON()` gives (`{"endpoint", "keys": {"p256dh",
  "auth"}}`), `Content-Type: application/json`. Answers 201 `{}`, or 200 `{}` if it was known.
- `DELETE /subscriptions/{runid}` with `{"endpoint": ...}` as JSON. Answers 200 `{}`, also if there was none.
- `GET /health`: `OK` as text, or 503 with the reason (no key, Postgres, Redis, events do not arrive).

Failures: `{"error": {"message", "code", "details"}[, "errors": [{"code", "message", "path"}]]}`, codes
`validation_error` 400, `run_not_found` 404, `unsupported_media_type` 415, `too_large` 413,
`too_many_subscriptions` 409, `unavailable` 503.

The message a service worker receives (`event.data.json()`): `{"type": "run", "runid", "config", "status": "finished" or
"failed", "title", "body", "url", "tag"}`; `url` is the run page's path, `tag` makes a later message replace an
earlier one of the same run. Whoever knows a run's id may subscribe, as with the live log; a message says
how the run ended, nothing else.

`webpush_watch` notices the end of a job (and describes why none is lost or sent twice), `webpush_push` sends it,
only to public addresses (`webpush_address`), signed with `VAPID_PRIVATE_KEY[_FILE]` (`webpush_keys`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import anyio.to_thread
import httpx
import psycopg
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from wepppy.config.environment import site_prefix
from wepppy.config.redis_settings import RedisDB, redis_url
from wepppy.microservices.service_errors import ServiceError, run_not_found
from wepppy.microservices.webpush_address import PublicTransport, insecure_allowed
from wepppy.microservices.webpush_keys import VapidKey, load_key
from wepppy.microservices.webpush_push import Pusher
from wepppy.microservices.webpush_requests import read_body, read_endpoint, read_subscription
from wepppy.microservices.webpush_store import Store, TooManySubscriptionsError
from wepppy.microservices.webpush_watch import Connections, Watcher

PUSH_SECONDS = 10.0
_log = logging.getLogger(__name__)


class Service:
    """Everything one process holds. Without a usable key it answers 503 with the reason."""

    def __init__(self) -> None:
        self.store = Store()
        self.key: VapidKey | None = None
        self.watcher: Watcher | None = None
        self.watching: asyncio.Task[None] | None = None
        self.reason = "the service is starting"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch for ends of runs while the body runs."""
        try:
            self.key = load_key()
            redis = connect()
        except (RuntimeError, ValueError) as error:
            self.reason = str(error)
            _log.error("notifications are off: %s", error)
            yield
            return
        inner = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=32, keepalive_expiry=30))
        transport = inner if insecure_allowed() else PublicTransport(inner)
        async with httpx.AsyncClient(
            transport=transport, timeout=PUSH_SECONDS, follow_redirects=False
        ) as client:
            self.watcher = Watcher(redis, self.store, Pusher(client, self.key), payload)
            self.watching = asyncio.create_task(self.watcher.run())
            self.watching.add_done_callback(log_stop)
            try:
                yield
            finally:
                self.watching.cancel()
                await asyncio.gather(self.watching, return_exceptions=True)
                await redis.close()

    async def problem(self) -> str | None:
        """Return why notifications would not arrive, None if they would."""
        if self.watcher is None or self.watching is None:
            return self.reason
        if self.watching.done():
            return "the watcher has stopped"
        try:
            await anyio.to_thread.run_sync(self.store.check)
        except psycopg.Error:
            return "postgres does not answer"
        try:
            await self.watcher.ping()
        except (RedisError, OSError):
            return "redis does not answer"
        return None if self.watcher.listening else "events of redis do not arrive"


def connect() -> Connections:
    """Return clients of the Redis databases. Raises RuntimeError for a secret that can't be read."""
    # A lost connection is noticed after half a minute, also one that only listens.
    alive = {socket.TCP_KEEPIDLE: 15, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}
    common: dict[str, Any] = {
        "decode_responses": True,
        "encoding_errors": "replace",  # any client of Redis may publish anything
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        "socket_keepalive_options": alive,
    }
    return Connections(
        events=Redis.from_url(
            redis_url(RedisDB.STATUS), **common, socket_timeout=None, health_check_interval=15
        ),
        runs=Redis.from_url(redis_url(RedisDB.LOCK), **common, socket_timeout=5, health_check_interval=15),
        jobs=Redis.from_url(redis_url(RedisDB.RQ), **common, socket_timeout=5, health_check_interval=15),
    )


def log_stop(task: asyncio.Task[None]) -> None:
    """Log why the watcher ended unless it was cancelled; health fails from then on."""
    if not task.cancelled() and task.exception() is not None:
        _log.error("the watcher has stopped", exc_info=task.exception())


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


service = Service()


async def health(request: Request) -> Response:
    """Answer OK when notifications would arrive."""
    problem = await service.problem()
    return PlainTextResponse(problem or "OK", 503 if problem else 200)


async def public_key(request: Request) -> Response:
    """Answer the key that a browser needs to subscribe."""
    if service.key is None:
        raise ServiceError(503, "unavailable", f"Notifications are off: {service.reason}.")
    return JSONResponse({"public_key": service.key.public_key}, headers={"cache-control": "no-cache"})


async def subscribe(request: Request) -> Response:
    """Keep a browser's subscription to a run."""
    if service.key is None:
        raise ServiceError(503, "unavailable", f"Notifications are off: {service.reason}.")
    endpoint, p256dh, auth = read_subscription(await read_body(request))
    runid = await _runid(request)
    try:
        new = await anyio.to_thread.run_sync(service.store.add, runid, endpoint, p256dh, auth)
    except TooManySubscriptionsError as error:
        raise ServiceError(409, "too_many_subscriptions", "Too many browsers wait for this run.") from error
    return JSONResponse({}, 201 if new else 200)


async def unsubscribe(request: Request) -> Response:
    """Forget a browser's subscription to a run."""
    endpoint = read_endpoint(await read_body(request))
    runid = await _runid(request)
    await anyio.to_thread.run_sync(service.store.remove, runid, endpoint)
    return JSONResponse({})


async def _runid(request: Request) -> str:
    runid: str = request.path_params["runid"]
    if "\0" in runid or not runid.isprintable() or len(runid) > 255:
        raise run_not_found()
    if await anyio.to_thread.run_sync(service.store.config_of, runid) is None:
        raise run_not_found()
    return runid


async def service_error(request: Request, error: Exception) -> Response:
    """Answer an expected error as JSON."""
    assert isinstance(error, ServiceError)  # noqa: S101 - registered for this class alone
    return error.as_response()


async def database_error(request: Request, error: Exception) -> Response:
    """Answer that Postgres does not."""
    _log.warning("postgres does not answer: %s", type(error).__name__)
    return ServiceError(503, "unavailable", "postgres does not answer. Try again.").as_response()


async def http_error(request: Request, error: Exception) -> Response:
    """Answer an unknown address or method as JSON."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "error")
    answer = ServiceError(error.status_code, code, error.detail).as_response()
    answer.headers.update(error.headers or {})
    return answer


@contextlib.asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    """Run the service with the application."""
    global service
    service = Service()
    async with service.running():
        yield


app = Starlette(
    routes=[
        Route("/health", health),
        Route("/vapid-public-key", public_key),
        Route("/subscriptions/{runid}", subscribe, methods=["POST"]),
        Route("/subscriptions/{runid}", unsubscribe, methods=["DELETE"]),
    ],
    lifespan=lifespan,
    exception_handlers={
        ServiceError: service_error,
        HTTPException: http_error,
        psycopg.Error: database_error,
    },
)
app.router.redirect_slashes = False  # such an answer would repeat the Host header
