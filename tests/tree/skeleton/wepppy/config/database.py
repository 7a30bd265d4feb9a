"""Where Postgres is."""

from __future__ import annotations

import os
from urllib.parse import quote

from wepppy.config.secrets import get_secret


def database_uri() -> str:
    """Return SQLAlchemy's URI of the application's database."""
    for name in ("SQLALCHEMY_DATABASE_URI", "DATABASE_URL"):
        if os.environ.get(name):
            return os.environ[name]
    user = quote(os.environ.get("POSTGRES_USER") or "wepppy", safe="")
    password = get_secret("POSTGRES_PASSWORD")
    login = f"{user}:{quote(password, safe='')}" if password else user
    host, port = os.environ.get("POSTGRES_HOST") or "postgres", os.environ.get("POSTGRES_PORT") or "5432"
    return f"postgresql://{login}@{host}:{port}/{os.environ.get('POSTGRES_DB') or 'wepppy'}"
