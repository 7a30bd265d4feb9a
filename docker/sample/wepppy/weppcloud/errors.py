"""The one shape of every error: `{"error": {"message", "code", "details"}, "error_id"}`."""

from __future__ import annotations

import math
import time
import uuid
from typing import Any

from flask import Flask, Response, current_app, jsonify, render_template, request
from flask_limiter import RateLimitExceeded
from flask_wtf.csrf import CSRFError
from redis import RedisError
from sqlalchemy.exc import InterfaceError, OperationalError
from werkzeug.exceptions import BadHost, HTTPException

from wepppy.weppcloud.rate_limits import limiter

CODES = {
    400: "bad_request",
    401: "login_required",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    422: "validation_error",
    429: "too_many_requests",
    503: "unavailable",
}


class Problem(Exception):  # noqa: N818 - most of them are the visitor's, not errors of the program
    """An expected error: HTTP status, message for the visitor, and code of the interface."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or CODES.get(status, "error")


def wants_json() -> bool:
    """Return whether the visitor is a program: it called the JSON interface, sent JSON or accepts it alone."""
    if request.path == "/health" or request.path.startswith("/api/") or request.is_json:
        return True
    best = request.accept_mimetypes.best_match(["text/html", "application/json"])
    return best == "application/json"


def failure(status: int, message: str, code: str, **extra: Any) -> tuple[Response | str, int]:
    """Return the answer for an error, as JSON for programs and as a page for browsers (where one can be made).

    `details` goes inside `error`, everything else (`error_id`) beside it.
    """
    # Without a usable Host no address can be made, and a page is full of them.
    if not wants_json() and not isinstance(request.routing_exception, BadHost):
        return render_template("error.html", message=message, status=status, **extra), status
    error: dict[str, Any] = {"message": message, "code": code}
    if "details" in extra:
        error["details"] = extra.pop("details")
    return jsonify({"error": error, **extra}), status


def register(app: Flask) -> None:
    """Make the application answer every error in that shape."""

    @app.errorhandler(Problem)
    def problem(error: Problem) -> tuple[Response | str, int]:
        return failure(error.status, error.message, error.code)

    @app.errorhandler(CSRFError)
    def csrf(error: CSRFError) -> tuple[Response | str, int]:
        return failure(400, error.description or "The form has expired. Reload the page.", "csrf_failed")

    @app.errorhandler(OperationalError)
    @app.errorhandler(InterfaceError)
    def no_database(error: Exception) -> tuple[Response | str, int]:
        return _gone("postgres", error)

    @app.errorhandler(RedisError)
    def no_redis(error: Exception) -> tuple[Response | str, int]:
        return _gone("redis", error)

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> tuple[Response | str, int] | HTTPException:
        status = error.code or 500
        if status < 400:
            return error
        answer, _ = failure(status, error.description or error.name, CODES.get(status, "error"))
        response = current_app.make_response((answer, status))
        for name, value in error.get_headers(request.environ):
            if name.lower() in {"allow", "retry-after"}:
                response.headers[name] = value
        return response, status

    @app.errorhandler(RateLimitExceeded)
    def too_often(error: RateLimitExceeded) -> tuple[Response | str, int] | HTTPException:
        broken = limiter.current_limit
        seconds = max(1, int(broken.reset_at - time.time())) if broken else 1
        error.retry_after = seconds
        error.description = f"{error.description} Try again in {_duration(seconds)}."
        return http(error)

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> tuple[Response | str, int]:
        # The session is saved after the view; its failures arrive here wrapped in nothing else.
        error_id = uuid.uuid4().hex
        current_app.logger.exception("unexpected error %s", error_id, exc_info=error)
        return failure(500, "Something went wrong on the server.", "internal_error", error_id=error_id)


def _duration(seconds: int) -> str:
    for unit, length in (("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = math.ceil(seconds / length)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"


def _gone(service: str, error: Exception) -> tuple[Response | str, int]:
    error_id = uuid.uuid4().hex
    # The first line only: a driver's message goes on with the statement and its parameters.
    reason = str(error).strip().partition("\n")[0]
    current_app.logger.error(
        "%s is unavailable, error %s: %s: %s", service, error_id, type(error).__name__, reason
    )
    message = f"{service} does not answer. Try again in a moment."
    return failure(503, message, f"{service}_unavailable", error_id=error_id)
