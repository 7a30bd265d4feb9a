"""What the web application, which issues tokens for the files of private runs, and the services agree on."""

from __future__ import annotations

from wepppy.config.environment import setting
from wepppy.config.secrets import get_secret

# In Redis database 0, with the token's `jti` behind it, while the token is revoked.
REVOKED = "auth:jwt:revoked:"


def signing_secrets() -> list[str]:
    """Return the secrets of `WEPP_AUTH_JWT_SECRETS[_FILE]` (comma separated); the first signs, all are accepted.

    Raises RuntimeError for a secret file that can't be read.
    """
    value = get_secret("WEPP_AUTH_JWT_SECRETS") or ""
    return [secret.strip() for secret in value.split(",") if secret.strip()]


def audience() -> str:
    """Return the `aud` claim: `RQ_ENGINE_JWT_AUDIENCE`, else rq-engine."""
    return setting("RQ_ENGINE_JWT_AUDIENCE", "rq-engine")


def cookie_name() -> str:
    """Return the name of the token's cookie: `WEPP_BROWSE_JWT_COOKIE_NAME`, else wepp_browse_jwt."""
    return setting("WEPP_BROWSE_JWT_COOKIE_NAME", "wepp_browse_jwt")
