"""What the Flask services share: health, and the one shape of errors, `{"Error": text}`."""

from __future__ import annotations

import logging

from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException

from wepppy.webservices.raster_dataset import geodata_problem
from wepppy.webservices.refusals import Refusal


def create_service(name: str) -> Flask:
    """Return a Flask application with `/health` and answers to unknown addresses and unexpected failures."""
    app = Flask(name, static_folder=None)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # such a redirect would repeat the Host header
    app.add_url_rule("/health", view_func=health)
    app.register_error_handler(Refusal, refuse)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(Exception, unexpected)
    return app


def health() -> Response | tuple[Response, int]:
    """Answer the JSON string "OK", or 503 with the reason when the geodata can't be read."""
    problem = geodata_problem()
    return (jsonify({"Error": problem}), 503) if problem else jsonify("OK")


def refuse(error: Refusal) -> tuple[Response, int, dict[str, str]]:
    """Answer an expected problem with the status that clients expect, or 503 while there is too much to do."""
    return jsonify({"Error": str(error)}), 503 if error.status == 503 else 200, error.headers


def http_error(error: HTTPException) -> HTTPException | tuple[Response, int]:
    """Answer unknown routes and methods, and bodies that are not JSON."""
    status = error.code or 500
    if status < 400:
        return error
    answer = jsonify({"Error": error.description if status == 400 else error.name})
    answer.headers.update({key: value for key, value in error.get_headers() if key == "Allow"})
    return answer, status


def unexpected(error: Exception) -> tuple[Response, int]:
    """Log any other failure and answer 500 without its text."""
    logging.getLogger(__name__).error("unexpected error", exc_info=error)
    return jsonify({"Error": "An internal error occurred."}), 500
