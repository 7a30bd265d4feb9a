"""The configuration of the web application, read once from the environment and the mounted secrets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from limits import parse_many

from wepppy.config.database import database_url
from wepppy.config.environment import flag, setting, site_prefix
from wepppy.config.secrets import get_secret

# A lost server must be noticed in seconds, not after the kernel's own fifteen minutes of retries.
CONNECT_ARGUMENTS = {
    "connect_timeout": 3,
    "keepalives_idle": 30,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "weppcloud",
}


def sqlalchemy_url(url: str) -> str:
    """Return a libpq URL in the form that makes SQLAlchemy use psycopg 3, whichever driver is its default."""
    scheme, separator, rest = url.partition("://")
    return f"postgresql+psycopg://{rest}" if separator and scheme in {"postgres", "postgresql"} else url


def _rate_limit(name: str) -> str:
    """Return the rate limits in the environment variable `name`, "" (none) where it is unset or blank."""
    limits = setting(name)
    try:
        return limits if limits and parse_many(limits) else ""
    except ValueError as error:
        raise RuntimeError(f"{name}={limits} is no list of limits such as 10/minute,100/day") from error


def settings() -> dict[str, Any]:
    """Return the Flask configuration.

    Raises RuntimeError when `SECRET_KEY` or `SECURITY_PASSWORD_SALT` is missing, a secret file can't be read, or a
    setting has a value that can't work.
    """
    csrf_limit = setting("WTF_CSRF_TIME_LIMIT_SECONDS") or setting("WTF_CSRF_TIME_LIMIT", "43200")
    return {
        "SECRET_KEY": get_secret("SECRET_KEY", required=True),
        "PASSWORD_SALT": get_secret("SECURITY_PASSWORD_SALT", required=True),
        "APPLICATION_ROOT": "/",
        "MAX_CONTENT_LENGTH": 1_000_000,
        "SQLALCHEMY_DATABASE_URI": sqlalchemy_url(database_url()),
        "SQLALCHEMY_ENGINE_OPTIONS": {
            "pool_pre_ping": True,
            "pool_recycle": 1800,
            "connect_args": CONNECT_ARGUMENTS,
        },
        "SESSION_COOKIE_NAME": setting("SESSION_COOKIE_NAME", "session"),
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": setting("SESSION_COOKIE_SAMESITE", "Lax"),
        "SESSION_REFRESH_EACH_REQUEST": False,
        "PERMANENT_SESSION_LIFETIME": timedelta(hours=12),
        "WTF_CSRF_TIME_LIMIT": int(csrf_limit) or None,
        "ANONYMOUS_CREATION": flag("WEPPCLOUD_ALLOW_ANONYMOUS_PROJECT_CREATION", True),
        "RUN_LIMIT_PER_CLIENT": _rate_limit("RUN_LIMIT_PER_CLIENT"),
        "RUN_LIMIT_PER_ADDRESS": _rate_limit("RUN_LIMIT_PER_ADDRESS"),
        "SEND_FILE_MAX_AGE_DEFAULT": int(setting("STATIC_MAX_AGE", "0")),
        "PROXIES": 2 if setting("TRUSTED_PROXIES") else 1,
        "SITE_PREFIX": site_prefix(),
    }
