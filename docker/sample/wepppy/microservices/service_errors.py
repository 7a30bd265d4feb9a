"""Errors of the services around a run's files, and their JSON form."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from starlette.responses import JSONResponse


class ServiceError(Exception):
    """A request that can't be answered: HTTP status, code of the interface, and a message without paths.

    faults: what is wrong, by the parameter's name.
    """

    def __init__(self, status: int, code: str, message: str, faults: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.faults = faults or {}

    def as_response(self) -> JSONResponse:
        """Return `{"error": {"message", "code", "details"}}`, with `errors` if there are faults."""
        details = "; ".join(f"{path}: {message}" for path, message in self.faults.items()) or self.message
        body: dict[str, Any] = {"error": {"message": self.message, "code": self.code, "details": details}}
        if self.faults:
            body["errors"] = [
                {"code": self.code, "message": message, "path": path} for path, message in self.faults.items()
            ]
        return JSONResponse(body, self.status)


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
