"""Notifications when a run ends, to browsers that subscribed to it (port 9003).

Routes; the proxy strips `/weppcloud-microservices/webpush`:

- `GET /vapid-public-key`: `{"public_key": "<base64url, 65 bytes>"}`, the `applicationServerKey` of
  `pushManager.subscribe({userVisibleOnly: true, applicationServerKey: ...})`.
- `POST /subscriptions/{runid}` with what `PushSubscription.toJSON()` gives (`{"endpoint", "keys": {"p256dh",
  "auth"}}`), `Content-Type: application/json`. Answers 201 `{}`, or 200 `{}` if it was known. It is for the run's
  next end: the message takes it away.
- `DELETE /subscriptions/{runid}` with `{"endpoint": ...}` as JSON. Answers 200 `{}`, also if there was none.
- `GET /health`: `OK` as text, or 503 with the reason (no key, Postgres, Redis).

Failures: `{"error": {"message", "code", "details"}[, "errors": [{"code", "message", "path"}]]}`, codes
`validation_error` 400, `run_not_found` 404, `unsupported_media_type` 415, `too_many_subscriptions` 409,
`unavailable` 503.

The message a service worker receives (`event.data.json()`): `{"type": "run", "runid", "config", "status": "finished" or
"failed", "title", "body", "url", "tag"}`; `url` is the run page's path, `tag` makes a later message replace an
earlier one of the same run. Whoever may read a run may subscribe to it (`browse_access`).

`webpush_watch` notices the end of a job and sends the message, signed with `VAPID_PRIVATE_KEY[_FILE]` (32 bytes in
base64url); `VAPID_SUBJECT` is how a push service reaches the operator, `mailto:...` or `https://...`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Annotated, TypeVar

import psycopg
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02, VapidException
from py_vapid.utils import b64urldecode, b64urlencode
from pydantic import AfterValidator, BaseModel, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from wepppy.config.secrets import get_secret
from wepppy.microservices import webpush_store
from wepppy.microservices.browse_access import check_access
from wepppy.microservices.service_errors import ServiceError, invalid_input, json_error
from wepppy.microservices.webpush_watch import Watcher, is_push_service, vapid_subject

Model = TypeVar("Model", bound=BaseModel)
_log = logging.getLogger(__name__)


def _service(endpoint: str) -> str:
    if not is_push_service(endpoint):
        raise ValueError("must be an https URL of a browser's push service")
    return endpoint


def _point(text: str) -> str:
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b64urldecode(text.encode()))
    return text


def _secret(text: str) -> str:
    if len(b64urldecode(text.encode())) != 16:
        raise ValueError("must be 16 bytes in base64url")
    return text


class Keys(BaseModel):
    """What messages to a browser are encrypted with."""

    p256dh: Annotated[str, Field(max_length=200), AfterValidator(_point)]
    auth: Annotated[str, Field(max_length=200), AfterValidator(_secret)]


class PushSubscription(BaseModel):
    """A browser's subscription."""

    endpoint: Annotated[str, AfterValidator(_service)]
    keys: Keys


class Endpoint(BaseModel):
    """The address of a subscription to forget."""

    endpoint: str = Field(pattern=r"^[!-~]+$")


def load_key() -> tuple[Vapid02, str]:
    """Return the key pair of `VAPID_PRIVATE_KEY[_FILE]`, and the public key as a browser needs it.

    Raises RuntimeError with a reason that holds no part of the secret.
    """
    text = get_secret("VAPID_PRIVATE_KEY")
    if text is None:
        raise RuntimeError("VAPID_PRIVATE_KEY_FILE is not set")
    try:
        if len(b64urldecode(text.encode())) != 32:
            raise ValueError
        key = Vapid02.from_raw(text.encode())
    except ValueError:
        raise RuntimeError("VAPID_PRIVATE_KEY is not a P-256 private key (32 bytes in base64url)") from None
    try:
        key.sign({"aud": "https://fcm.googleapis.com", "sub": vapid_subject()})
    except VapidException:
        raise RuntimeError("VAPID_SUBJECT must be mailto:NAME@HOST or https://HOST") from None
    return key, b64urlencode(key.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


async def health(request: Request) -> Response:
    """Answer OK when notifications would arrive."""
    watcher = request.app.state.watcher
    problem = request.app.state.problem if watcher is None else watcher.problem
    return PlainTextResponse(problem or "OK", 503 if problem else 200)


async def public_key(request: Request) -> Response:
    """Answer the key that a browser needs to subscribe."""
    return JSONResponse({"public_key": _public_key(request)}, headers={"cache-control": "no-cache"})


def _public_key(request: Request) -> str:
    if request.app.state.watcher is None:
        raise ServiceError(503, "unavailable", f"Notifications are off: {request.app.state.problem}.")
    key: str = request.app.state.public_key
    return key


async def subscribe(request: Request) -> Response:
    """Keep a browser's subscription to a run."""
    _public_key(request)
    sent = await read_body(request, PushSubscription)
    runid = await _open_run(request)
    new = await run_in_threadpool(webpush_store.add, runid, sent.endpoint, sent.keys.p256dh, sent.keys.auth)
    if new is None:
        raise ServiceError(409, "too_many_subscriptions", "Too many browsers wait for this run.")
    return JSONResponse({}, 201 if new else 200)


async def unsubscribe(request: Request) -> Response:
    """Forget a browser's subscription to a run."""
    sent = await read_body(request, Endpoint)
    await run_in_threadpool(webpush_store.remove, await _open_run(request), sent.endpoint)
    return JSONResponse({})


async def read_body(request: Request, model: type[Model]) -> Model:
    """Return what a request sends as JSON; raises ServiceError naming every part that is wrong."""
    # A form on a foreign page can't send this type, so a visitor can't be subscribed behind their back.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ServiceError(415, "unsupported_media_type", "Send application/json.")
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        raise invalid_input(error) from error


async def _open_run(request: Request) -> str:
    return (await run_in_threadpool(check_access, request, request.path_params["runid"], "")).runid


async def database_error(request: Request, error: Exception) -> Response:
    """Answer that Postgres does not."""
    _log.warning("postgres does not answer: %s", type(error).__name__)
    return await json_error(request, ServiceError(503, "unavailable", "postgres does not answer. Try again."))


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Watch for ends of runs while the application serves; without a usable key it answers 503 with the reason."""
    try:
        key, app.state.public_key = load_key()
        watcher = Watcher(key)
    except (RuntimeError, ValueError) as error:
        app.state.problem = str(error)
        _log.error("notifications are off: %s", error)
        yield
        return
    watcher.start()
    app.state.watcher = watcher
    yield
    app.state.watcher = None
    await run_in_threadpool(watcher.stop)


app = Starlette(
    routes=[
        Route("/health", health),
        Route("/vapid-public-key", public_key),
        Route("/subscriptions/{runid}", subscribe, methods=["POST"]),
        Route("/subscriptions/{runid}", unsubscribe, methods=["DELETE"]),
    ],
    lifespan=lifespan,
    exception_handlers={HTTPException: json_error, psycopg.Error: database_error},
)
app.state.watcher, app.state.problem = None, "the service is starting"
app.router.redirect_slashes = False  # such an answer would repeat the Host header
