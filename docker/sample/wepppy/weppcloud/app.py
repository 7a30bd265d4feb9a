"""The application itself: `create_app()` puts the parts together, `app` is what a server runs."""

from __future__ import annotations

import logging
import re
import uuid
from pathlib import Path

from flask import Flask, Response, current_app, g, request
from flask_migrate import Migrate
from flask_wtf import CSRFProtect
from sqlalchemy.exc import DBAPIError
from werkzeug.middleware.proxy_fix import ProxyFix

from wepppy.config.redis_settings import RedisDB, redis_client, redis_url
from wepppy.weppcloud import accounts, api, errors, health, pages, run_check, seed
from wepppy.weppcloud.models import db
from wepppy.weppcloud.rate_limits import limiter
from wepppy.weppcloud.sessions import Sessions, require_session
from wepppy.weppcloud.settings import settings

MIGRATIONS = Path(__file__).resolve().parent / "migrations"
CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_CORRELATION_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def create_app() -> Flask:
    """Return the application, configured from the environment; nothing is contacted yet.

    Raises RuntimeError when a required secret is missing or can't be read.
    """
    app = Flask(__name__)
    # Without the redirects to an address with one slash more or less, which would repeat the Host header.
    app.url_map.strict_slashes = app.url_map.merge_slashes = False
    app.config.update(settings())
    app.logger.setLevel(logging.INFO)
    db.init_app(app)
    # Registered later than Flask-SQLAlchemy's own end of a request, so it runs before that one.
    app.teardown_appcontext(_end_database_session)
    Migrate(app, db, directory=str(MIGRATIONS))
    sessions = redis_client(RedisDB.SESSION, decode_responses=False)
    app.extensions["session_redis"] = sessions
    app.extensions["run_redis"] = redis_client(RedisDB.LOCK)
    app.extensions["job_redis"] = redis_client(RedisDB.RQ, decode_responses=False)
    app.extensions["health_redis"] = health.probe_client()
    app.session_interface = Sessions(app, sessions)
    app.before_request(_name_request)
    app.before_request(_need_session)  # before the token is looked for in it
    CSRFProtect(app)
    accounts.login_manager.init_app(app)
    app.config["RATELIMIT_STORAGE_URI"] = redis_url(RedisDB.SESSION)
    app.config["RATELIMIT_STORAGE_OPTIONS"] = {"connection_pool": sessions.connection_pool}
    limiter.init_app(app)
    for part in (health, accounts, api, pages):
        app.register_blueprint(part.blueprint)
    errors.register(app)
    app.cli.add_command(accounts.set_user)
    app.cli.add_command(seed.seed)
    app.cli.add_command(run_check.runs_check)
    app.after_request(_headers)
    # Headers of the stack's proxy, and of the one of TRUSTED_PROXIES before it, are believed; no others get here.
    app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
        app.wsgi_app, x_for=app.config["PROXIES"], x_proto=1, x_host=1, x_port=1, x_prefix=1
    )
    return app


def _end_database_session(_: BaseException | None) -> None:
    """Give the connection back; a server that went away after the last query must not spoil a finished answer.

    What a view writes is committed by then. All that is left for the server is a rollback, and an error of
    that would be raised past every error handler, as a 500 without a body.
    """
    try:
        db.session.remove()
    except DBAPIError as error:
        reason = str(error).strip().partition("\n")[0]
        current_app.logger.warning("postgres went away at the end of a request: %s", reason)
        # Of a session whose end failed nothing is used again.
        db.session.registry.clear()


def _name_request() -> None:
    given = request.headers.get("X-Correlation-ID", "")
    g.correlation_id = given if _CORRELATION_ID.fullmatch(given) else uuid.uuid4().hex


def _need_session() -> None:
    if request.method not in {"GET", "HEAD", "OPTIONS"}:
        require_session()


def _headers(response: Response) -> Response:
    response.headers["X-Correlation-ID"] = g.get("correlation_id") or uuid.uuid4().hex
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers.setdefault("Content-Security-Policy", CONTENT_POLICY)
    return response


app = create_app()
