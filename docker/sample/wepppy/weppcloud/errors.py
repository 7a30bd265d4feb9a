"""The one shape of every error: `{"error": {"message", "code", "details"}, "error_id"}`."""

from __future__ import annotations

import math
import time
import uuid
from functools import partial
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, jsonify, render_template, request
from flask_limiter import RateLimitExceeded
from flask_wtf.csrf import CSRFError
from redis import RedisError
from sqlalchemy.exc import InterfaceError, OperationalError
from werkzeug.exceptions import BadHost, HTTPException

from wepppy.weppcloud.rate_limits import limiter

Answer = tuple[Response | str, int]
# Of all other statuses the name in the standard.
CODES = {401: "login_required", 413: "too_large", 503: "unavailable"}


class Problem(HTTPException):
    """An expected error: HTTP status, message for the visitor, and code of the interface."""

    def __init__(self, status: int, message: str, name: str = "") -> None:
        super().__init__(message)
        self.code = status
        self.interface_code = name


def wants_json() -> bool:
    """Return whether the visitor is a program: it called the JSON interface, sent JSON or accepts it alone."""
    if request.path == "/health" or request.path.startswith("/api/") or request.is_json:
        return True
    best = request.accept_mimetypes.best_match(["text/html", "application/json"])
    return best == "application/json"


def failure(status: int, message: str, code: str, **extra: Any) -> Answer:
    """Return the answer for an error, as JSON for programs and as a page for browsers (where one can be made).

    `details` goes inside `error`, everything else (`error_id`) beside it.
    """
    # Without a usable Host no address can be made, and a page is full of them.
    if not wants_json() and not isinstance(request.routing_exception, BadHost):
        return render_template("error.html", message=message, **extra), status
    error: dict[str, Any] = {"message": message, "code": code}
    if "details" in extra:
        error["details"] = extra.pop("details")
    return jsonify({"error": error, **extra}), status


def register(app: Flask) -> None:
    """Make the application answer every error in that shape."""
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(RateLimitExceeded, _too_often)
    app.register_error_handler(OperationalError, partial(_unavailable, "postgres"))
    app.register_error_handler(InterfaceError, partial(_unavailable, "postgres"))
    app.register_error_handler(RedisError, partial(_unavailable, "redis"))
    app.register_error_handler(Exception, _unexpected)


def _http(error: HTTPException) -> Response | HTTPException:
    status = error.code or 500
    if status < 400:
        return error
    code = "csrf_failed" if isinstance(error, CSRFError) else getattr(error, "interface_code", "")
    code = code or CODES.get(status) or HTTPStatus(status).name.lower()
    response = current_app.make_response(failure(status, error.description or error.name, code))
    for name, value in error.get_headers(request.environ):
        if name.lower() in {"allow", "retry-after"}:
            response.headers[name] = value
    return response


def _too_often(error: RateLimitExceeded) -> Response | HTTPException:
    broken = limiter.current_limit
    error.retry_after = max(1, int(broken.reset_at - time.time())) if broken else 1
    error.description = f"{error.description} Try again in {_duration(error.retry_after)}."
    return _http(error)


def _duration(seconds: int) -> str:
    unit, length = next(
        (unit, length)
        for unit, length in (("hour", 3600), ("minute", 60), ("second", 1))
        if seconds >= length
    )
    count = math.ceil(seconds / length)
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _unavailable(service: str, error: Exception) -> Answer:
    error_id = uuid.uuid4().hex
    # The first line only: a driver's message goes on with the statement and its parameters.
    reason = str(error).strip().partition("\n")[0]
    current_app.logger.error(
        "%s is unavailable, error %s: %s: %s", service, error_id, type(error).__name__, reason
    )
    message = f"{service} does not answer. Try again in a moment."
    return failure(503, message, f"{service}_unavailable", error_id=error_id)


def _unexpected(error: Exception) -> Answer:
    error_id = uuid.uuid4().hex
    current_app.logger.exception("unexpected error %s", error_id, exc_info=error)
    return failure(500, "Something went wrong on the server.", "internal_error", error_id=error_id)
