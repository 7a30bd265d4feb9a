"""Errors of the services around a run's files, and their JSON form."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wepppy.webservices.refusals import HEADERS


class ServiceError(HTTPException):
    """A request that can't be answered: HTTP status, code of the interface, and a message without paths.

    faults: what is wrong, by the parameter's name.
    """

    def __init__(self, status: int, code: str, message: str, faults: dict[str, str] | None = None) -> None:
        super().__init__(status, message, HEADERS.get(status))
        self.code = code
        self.faults = faults or {}


async def json_error(_: Request, error: Exception) -> Response:
    """Answer `{"error": {"message", "code", "details"}}`, with `errors` if there are faults."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
    code = error.code if isinstance(error, ServiceError) else HTTPStatus(error.status_code).name.lower()
    faults = error.faults if isinstance(error, ServiceError) else {}
    details = "; ".join(f"{path}: {message}" for path, message in faults.items()) or error.detail
    body: dict[str, Any] = {"error": {"message": error.detail, "code": code, "details": details}}
    if faults:
        body["errors"] = [
            {"code": code, "message": message, "path": path} for path, message in faults.items()
        ]
    return JSONResponse(body, error.status_code, error.headers)


def invalid(message: str, faults: dict[str, str] | None = None) -> ServiceError:
    """Return the error for a request that can't be understood."""
    return ServiceError(400, "validation_error", message, faults)


def invalid_input(error: ValidationError) -> ServiceError:
    """Return the error that names every part of an input that its model refuses."""
    faults = {".".join(map(str, each["loc"])) or "body": each["msg"] for each in error.errors()}
    return invalid(f"Invalid: {', '.join(faults)}.", faults)


def run_not_found() -> ServiceError:
    """Return the one error for a run that does not exist, an impossible id, and a run the visitor may not read."""
    return ServiceError(
        404, "run_not_found", "There is no such run. If it is a private one of yours, log in."
    )
