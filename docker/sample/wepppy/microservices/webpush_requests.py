"""What browsers send to the notification service, checked before anything is kept."""

from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from starlette.requests import Request

from wepppy.microservices.service_errors import Fault, ServiceError, invalid
from wepppy.microservices.webpush_address import endpoint_fault, insecure_allowed
from wepppy.microservices.webpush_keys import decode

MAX_BODY = 8192


async def read_body(request: Request) -> dict[str, Any]:
    """Return the JSON object that a request sends; raises ServiceError 400, 413 or 415."""
    # A form on a foreign page can't send this type, so a visitor can't be subscribed behind their back.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ServiceError(415, "unsupported_media_type", "Send application/json.")
    data = b""
    async for piece in request.stream():
        data += piece
        if len(data) > MAX_BODY:
            raise ServiceError(413, "too_large", f"At most {MAX_BODY} bytes, please.")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise invalid("body", "is not JSON") from error
    if not isinstance(body, dict):
        raise invalid("body", "must be a JSON object")
    return body


def read_subscription(body: dict[str, Any]) -> tuple[str, str, str]:
    """Return endpoint and keys of a PushSubscription; raises ServiceError naming every part that is wrong."""
    faults: list[Fault] = []
    endpoint = body.get("endpoint")
    fault = (
        endpoint_fault(endpoint, insecure=insecure_allowed())
        if isinstance(endpoint, str)
        else "must be a URL"
    )
    if fault:
        faults.append(Fault("validation_error", fault, "endpoint"))
    keys = body.get("keys")
    keys = keys if isinstance(keys, dict) else {}
    p256dh, auth = keys.get("p256dh"), keys.get("auth")
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _bytes(p256dh, 65))
    except ValueError:
        faults.append(
            Fault("validation_error", "must be a point of P-256, 65 bytes in base64url", "keys.p256dh")
        )
    try:
        _bytes(auth, 16)
    except ValueError:
        faults.append(Fault("validation_error", "must be 16 bytes in base64url", "keys.auth"))
    if faults:
        raise ServiceError(400, "validation_error", "This is not a push subscription.", tuple(faults))
    return str(endpoint), str(p256dh), str(auth)


def read_endpoint(body: dict[str, Any]) -> str:
    """Return the endpoint of a subscription to forget; raises ServiceError 400."""
    endpoint = body.get("endpoint")
    fault = endpoint_fault(endpoint, insecure=True) if isinstance(endpoint, str) else "must be a URL"
    if fault or not isinstance(endpoint, str):
        raise invalid("endpoint", fault or "must be a URL")
    return endpoint


def _bytes(text: object, length: int) -> bytes:
    data = decode(text) if isinstance(text, str) else b""
    if len(data) != length:
        raise ValueError("wrong length")
    return data
