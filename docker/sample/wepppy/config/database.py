"""Where the Postgres database is."""

from __future__ import annotations

from urllib.parse import quote

from wepppy.config.environment import setting
from wepppy.config.secrets import get_secret


def database_url() -> str:
    """Return the libpq URL (`postgresql://...`) of the database, password included: never print it.

    Order: `SQLALCHEMY_DATABASE_URI`, `DATABASE_URL`, else built from `POSTGRES_HOST` (postgres),
    `POSTGRES_PORT` (5432), `POSTGRES_DB`, `POSTGRES_USER` (both wepppy) and `POSTGRES_PASSWORD[_FILE]`.
    `POSTGRES_IDLE_IN_TX_TIMEOUT` (a Postgres duration: `30s`, or milliseconds) ends forgotten transactions.
    """
    if given := setting("SQLALCHEMY_DATABASE_URI") or setting("DATABASE_URL"):
        return given
    host = setting("POSTGRES_HOST", "postgres")
    port = setting("POSTGRES_PORT", "5432")
    user = quote(setting("POSTGRES_USER", "wepppy"), safe="")
    name = quote(setting("POSTGRES_DB", "wepppy"), safe="")
    password = get_secret("POSTGRES_PASSWORD")
    login = f"{user}:{quote(password, safe='')}" if password else user
    url = f"postgresql://{login}@{host}:{port}/{name}"
    if timeout := setting("POSTGRES_IDLE_IN_TX_TIMEOUT"):
        url += "?options=" + quote(f"-c idle_in_transaction_session_timeout={timeout}", safe="")
    return url
