"""The web application: `app`, configured from the environment when this is imported."""

from __future__ import annotations

import os
import uuid
from datetime import timedelta
from typing import Any

import redis
import wepp_runner
import wepppyo3
from flask import Flask, Response, g, jsonify, request
from flask_login import LoginManager
from flask_migrate import Migrate
from flask_session import Session
from flask_wtf.csrf import CSRFError, CSRFProtect
from weppcloud2.discord_bot.discord_client import send_discord_message
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from wepppy.config.database import database_uri
from wepppy.config.redis_settings import session_redis_url
from wepppy.config.secrets import required_secret
from wepppy.weppcloud.models import User, db
from wepppy.weppcloud.routes import account, bootstrap, site
from wepppy.weppcloud.routes.usersum import usersum_bp

MIGRATIONS = "/workdir/wepppy/wepppy/weppcloud/migrations"
COMPILED = (wepppyo3.__name__, wepp_runner.__name__)
login_manager = LoginManager()
login_manager.login_view = "account.login"


@login_manager.user_loader
def _user(user_id: str) -> User | None:
    return db.session.get(User, int(user_id))


def _configuration() -> dict[str, Any]:
    return {
        "SECRET_KEY": required_secret("SECRET_KEY"),
        "SECURITY_PASSWORD_SALT": required_secret("SECURITY_PASSWORD_SALT"),
        "SQLALCHEMY_DATABASE_URI": database_uri(),
        "SQLALCHEMY_ENGINE_OPTIONS": {"pool_pre_ping": True},
        "APPLICATION_ROOT": os.environ.get("SITE_PREFIX") or "/weppcloud",
        "SITE_PREFIX": os.environ.get("SITE_PREFIX") or "/weppcloud",
        "SESSION_TYPE": "redis",
        "SESSION_REDIS": redis.from_url(session_redis_url()),
        "SESSION_USE_SIGNER": True,
        "SESSION_KEY_PREFIX": "session:",
        "SESSION_COOKIE_NAME": os.environ.get("SESSION_COOKIE_NAME") or "session",
        # rq-engine, beside the prefix, reads the same cookie.
        "SESSION_COOKIE_PATH": os.environ.get("SESSION_COOKIE_PATH") or "/",
        "SESSION_COOKIE_SECURE": True,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": os.environ.get("SESSION_COOKIE_SAMESITE") or "Lax",
        "PERMANENT_SESSION_LIFETIME": timedelta(hours=12),
        "CAP_SITE_KEY": os.environ.get("CAP_SITE_KEY", ""),
        "CAP_BASE_URL": os.environ.get("CAP_BASE_URL") or "/cap",
        "CAP_ASSET_BASE_URL": os.environ.get("CAP_ASSET_BASE_URL") or "/cap/assets",
        "ENABLE_LOCAL_LOGIN": (os.environ.get("ENABLE_LOCAL_LOGIN") or "true").lower() == "true",
        "OAUTH": [
            name for name in ("GITHUB", "GOOGLE", "ORCID") if os.environ.get(f"OAUTH_{name}_CLIENT_ID")
        ],
    }


def _name_request() -> None:
    g.correlation_id = request.headers.get("X-Correlation-ID") or uuid.uuid4().hex


def _answer_name(response: Response) -> Response:
    response.headers["X-Correlation-ID"] = g.get("correlation_id", "")
    return response


def _error(error: Exception) -> tuple[Response, int]:
    """Answer an error in the shape that every client knows."""
    if isinstance(error, CSRFError):
        return jsonify(error={"message": error.description, "code": "csrf_failed"}), 400
    if isinstance(error, HTTPException):
        return jsonify(error={"message": error.description, "code": error.name.lower().replace(" ", "_")}), (
            error.code or 500
        )
    error_id = uuid.uuid4().hex
    app.logger.exception("error %s", error_id)
    return jsonify(error={"message": "An unexpected error", "details": repr(error)}, error_id=error_id), 500


def create_app() -> Flask:
    """Return the application; raise RuntimeError for a secret that is missing or cannot be read."""
    made = Flask(__name__)
    made.config.update(_configuration())
    made.extensions["discord"] = send_discord_message
    db.init_app(made)
    Migrate(made, db, directory=MIGRATIONS)
    Session(made)
    CSRFProtect(made)
    login_manager.init_app(made)
    for part in (site.site_bp, account.account_bp, bootstrap.bootstrap_bp, usersum_bp):
        made.register_blueprint(part)
    made.before_request(_name_request)
    made.after_request(_answer_name)
    made.register_error_handler(Exception, _error)
    made.wsgi_app = ProxyFix(made.wsgi_app, x_for=1, x_proto=1, x_host=1, x_port=1, x_prefix=1)
    return made


app = create_app()
