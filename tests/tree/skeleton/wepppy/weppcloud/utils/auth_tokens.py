"""Tokens between the services: JWTs signed with the first of WEPP_AUTH_JWT_SECRETS, accepted with any of them."""

from __future__ import annotations

import time
import uuid
from typing import Any

import jwt

from wepppy.config.redis_settings import RedisDB, redis_client
from wepppy.config.secrets import required_secret


class TokenError(Exception):
    """The token is not one of ours, has expired or was revoked."""


def _secrets() -> list[str]:
    return [part.strip() for part in required_secret("WEPP_AUTH_JWT_SECRETS").split(",") if part.strip()]


def issue(subject: str, audience: str, scopes: list[str], seconds: int = 3600, **claims: Any) -> str:
    """Return a signed token."""
    now = int(time.time())
    standard = {"sub": subject, "aud": audience, "iat": now, "exp": now + seconds, "jti": uuid.uuid4().hex}
    return jwt.encode({**standard, "scope": " ".join(scopes), **claims}, _secrets()[0], algorithm="HS256")


def decode(token: str, audience: str) -> dict[str, Any]:
    """Return a token's claims; raise TokenError."""
    reason: Exception = TokenError("no secret is configured")
    for secret in _secrets():
        try:
            claims: dict[str, Any] = jwt.decode(token, secret, algorithms=["HS256"], audience=audience)
        except jwt.InvalidTokenError as error:
            reason = error
            continue
        if redis_client(RedisDB.LOCK).exists(f"auth:jwt:revoked:{claims.get('jti')}"):
            raise TokenError("the token was revoked")
        return claims
    raise TokenError(str(reason))
