"""Sessions: those of users are in Redis under `session:<id>`, named by a signed cookie.

Those of other visitors (a CSRF token) are inside a signed cookie, so that crawlers take no memory.
"""

from __future__ import annotations

import warnings
from datetime import timedelta
from typing import Any

import msgspec
from flask import Flask, Request, Response, request, session
from flask_session.base import Serializer, ServerSideSession
from flask_session.redis.redis import RedisSession, RedisSessionInterface
from itsdangerous import BadSignature, URLSafeSerializer
from redis import Redis, RedisError

from wepppy.weppcloud.errors import Problem

PREFIX = "session:"
# Answered without a look at the session, so that they work (and stay cheap) while Redis is away.
SESSIONLESS = frozenset({"/health", "/service-worker.js"})
STATIC = "/static/"
# How the cookie of a visitor begins of whom nothing is kept. No session id holds a dot there.
ANONYMOUS = "anonymous."
_USER = "_user_id"  # Flask-Login's
_PERMANENT = "_permanent"  # Flask's


class JsonSerializer(Serializer):
    """Sessions are plain JSON. Nothing that Redis returns is ever unpickled."""

    def encode(self, session: ServerSideSession) -> bytes:
        """Return the stored form of a session."""
        return msgspec.json.encode(dict(session))

    def decode(self, serialized_data: bytes) -> dict[str, Any]:
        """Return the content of a stored session; an empty one when it is not ours to read."""
        try:
            return msgspec.json.decode(serialized_data, type=dict[str, Any])
        except msgspec.DecodeError:
            return {}


class Sessions(RedisSessionInterface):
    """Flask-Session over Redis with the cookie's scope and security following the request."""

    def __init__(self, app: Flask, client: Redis) -> None:
        with warnings.catch_warnings():
            # Flask-Session deprecates signing; the cookies of this stack are signed.
            warnings.simplefilter("ignore", DeprecationWarning)
            super().__init__(app, client, key_prefix=PREFIX, use_signer=True, permanent=False)
        self.serializer = JsonSerializer()

    def open_session(self, app: Flask, request: Request) -> ServerSideSession:
        """Return the visitor's session; an unsaved one marked `unavailable` when Redis does not answer."""
        if request.path in SESSIONLESS or request.path.startswith(STATIC):
            return _unsaved()
        cookie = request.cookies.get(self.get_cookie_name(app), "")
        if cookie.startswith(ANONYMOUS):
            content = self._anonymous_content(app, cookie)
            return RedisSession(content, sid=self._generate_sid(self.sid_length), permanent=False)
        try:
            return super().open_session(app, request)
        except RedisError as error:
            app.logger.warning("sessions are unavailable: %s", error)
            session = _unsaved()
            session.unavailable = True
            return session

    def save_session(self, app: Flask, session: ServerSideSession | None, response: Response) -> None:
        """Store the session of a user, or put an anonymous one into its cookie, unless this request has none."""
        if session is None or session.sid is None:
            return
        if _USER in session:
            super().save_session(app, session, response)
            return
        if session.accessed:
            response.vary.add("Cookie")
        if not session.modified:
            return
        content = {name: value for name, value in session.items() if name != _PERMANENT}
        scope: dict[str, Any] = {
            "path": self.get_cookie_path(app),
            "domain": self.get_cookie_domain(app),
            "secure": self.get_cookie_secure(app),
            "httponly": self.get_cookie_httponly(app),
            "samesite": self.get_cookie_samesite(app),
        }
        if content:
            value = ANONYMOUS + serializer(app).dumps(content)
            response.set_cookie(self.get_cookie_name(app), value, **scope)
        else:
            response.delete_cookie(self.get_cookie_name(app), **scope)

    def _anonymous_content(self, app: Flask, cookie: str) -> dict[str, Any]:
        try:
            content = serializer(app).loads(cookie.removeprefix(ANONYMOUS))
        except BadSignature:
            return {}
        return {name: value for name, value in content.items() if name != _USER}

    def get_cookie_secure(self, app: Flask) -> bool:
        """Secure over https; plain http is the loopback of a workstation, where login must work."""
        return request.is_secure

    def get_cookie_path(self, app: Flask) -> str:
        """Return the prefix under which the proxy shows the application."""
        return request.script_root or "/"

    def _retrieve_session_data(self, store_id: str) -> dict[str, Any] | None:
        # Reading a session extends it, in the same round trip.
        data = self.client.getex(store_id, ex=self.app.permanent_session_lifetime)
        return self.serializer.decode(data) if data else None

    def _upsert_session(self, session_lifetime: timedelta, session: ServerSideSession, store_id: str) -> None:
        self.client.set(store_id, self.serializer.encode(session), ex=session_lifetime)

    def _delete_session(self, store_id: str) -> None:
        self.client.delete(store_id)


def require_session() -> None:
    """Raise Problem 503 when the request can't have a session."""
    if getattr(session, "unavailable", False):
        raise Problem(503, "redis does not answer. Try again in a moment.", "redis_unavailable")


def serializer(app: Flask) -> URLSafeSerializer:
    """Return what signs the content of anonymous cookies."""
    return URLSafeSerializer(str(app.secret_key), salt="anonymous-session")


def _unsaved() -> ServerSideSession:
    return RedisSession(sid=None, permanent=False)
