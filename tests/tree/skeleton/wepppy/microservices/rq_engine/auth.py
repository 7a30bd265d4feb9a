"""Who calls: the bearer of a token, or a visitor of the site by the session that it shares with weppcloud."""

from __future__ import annotations

import os
from typing import Any

import msgspec
from fastapi import Request
from itsdangerous import BadSignature, Signer

from wepppy.config.redis_settings import RedisDB, redis_client
from wepppy.config.secrets import required_secret
from wepppy.weppcloud.utils import auth_tokens

AUDIENCE = os.environ.get("RQ_ENGINE_JWT_AUDIENCE") or "rq-engine"


class ApiError(Exception):
    """A request that is refused: its status, its code and why."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def claims_of(token: str, runid: str | None = None) -> dict[str, Any]:
    """Return the claims of a token that may put jobs on the queues; raise ApiError."""
    try:
        claims = auth_tokens.decode(token, AUDIENCE)
    except auth_tokens.TokenError as error:
        raise ApiError(401, "unauthorized", f"Invalid token: {error}") from error
    if "rq:enqueue" not in str(claims.get("scope", "")).split():
        raise ApiError(403, "forbidden", "Token missing required scope(s): rq:enqueue")
    if runid and claims.get("runid") not in (None, runid):
        raise ApiError(403, "forbidden", "The token is for another run")
    return claims


def bearer(request: Request) -> str:
    """Return the token of a request's header, or an empty text."""
    return request.headers.get("Authorization", "").removeprefix("Bearer ").strip()


def session_user(request: Request) -> str | None:
    """Return the id of the user who is logged in, None for a visitor; raise ApiError without a session."""
    cookie = request.cookies.get(os.environ.get("SESSION_COOKIE_NAME") or "session", "")
    signer = Signer(required_secret("SECRET_KEY"), salt="flask-session", key_derivation="hmac")
    try:
        sid = signer.unsign(cookie).decode()
    except BadSignature as error:
        raise ApiError(401, "unauthorized", "No session") from error
    stored = redis_client(RedisDB.SESSION, decode_responses=False).get(f"session:{sid}")
    if stored is None:
        raise ApiError(401, "unauthorized", "Session expired or invalid")
    user = msgspec.msgpack.decode(stored).get("_user_id")
    return None if user is None else str(user)
