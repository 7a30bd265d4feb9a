"""Errors of the services around a run's files, and their JSON form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse


@dataclass(frozen=True)
class Fault:
    """One thing wrong with one parameter: `path` names the parameter."""

    code: str
    message: str
    path: str


class ServiceError(Exception):
    """A request that can't be answered: HTTP status, code of the interface, and a message without paths."""

    def __init__(self, status: int, code: str, message: str, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.faults = faults

    def as_json(self) -> dict[str, Any]:
        """Return the body `{"error": {"message", "code", "details"}}`, with `errors` if there are any."""
        details = "; ".join(f"{fault.path}: {fault.message}" for fault in self.faults) or self.message
        body: dict[str, Any] = {"error": {"message": self.message, "code": self.code, "details": details}}
        if self.faults:
            body["errors"] = [
                {"code": fault.code, "message": fault.message, "path": fault.path} for fault in self.faults
            ]
        return body

    def as_response(self) -> JSONResponse:
        """Return the error as an answer that no cache keeps."""
        return JSONResponse(self.as_json(), self.status, {"cache-control": "no-store"})


def run_not_found() -> ServiceError:
    """Return the one error for a run that does not exist, an impossible id, and a run the visitor may not read."""
    return ServiceError(
        404, "run_not_found", "There is no such run. If it is a private one of yours, log in."
    )


def path_not_found() -> ServiceError:
    """Return the error for a path where nothing is, or that is hidden."""
    return ServiceError(404, "path_not_found", "There is no such file or directory in this run.")


def path_outside_root() -> ServiceError:
    """Return the error for a path that leads out of the run, by itself or by a symbolic link on it."""
    return ServiceError(400, "path_outside_root", "The path leads out of the run.")


def forbidden_path() -> ServiceError:
    """Return the error for a path that is there but may not be read."""
    return ServiceError(403, "forbidden_path", "This path is not open for reading.")


def invalid(parameter: str, message: str) -> ServiceError:
    """Return the error for one parameter with an unusable value."""
    return ServiceError(
        400, "validation_error", f"{parameter}: {message}", (Fault("validation_error", message, parameter),)
    )
