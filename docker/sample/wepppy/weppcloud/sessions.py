"""Sessions: those of users are in Redis under `session:<id>`, named by a signed cookie.

Those of other visitors (a CSRF token) are inside a signed cookie, so that crawlers take no memory.
"""

from __future__ import annotations

import warnings
from typing import Any

import msgspec
from flask import Flask, Request, Response, request, session
from flask.sessions import SecureCookieSessionInterface
from flask_session.base import MsgSpecSerializer, ServerSideSession
from flask_session.redis.redis import RedisSession, RedisSessionInterface
from itsdangerous import BadSignature
from redis import Redis, RedisError

from wepppy.weppcloud.errors import Problem

# Answered without a look at the session, so that they work (and stay cheap) while Redis is away.
SESSIONLESS = ("/health", "/service-worker.js", "/static/")
_USER = "_user_id"  # Flask-Login's


class JsonSerializer(MsgSpecSerializer):
    """Sessions are plain JSON. Nothing that Redis returns is ever unpickled."""

    def decode(self, serialized_data: bytes) -> dict[str, Any]:
        """Return the content of a stored session; an empty one when it is not ours to read."""
        try:
            return msgspec.json.decode(serialized_data, type=dict[str, Any])
        except msgspec.DecodeError:
            return {}


class CookieScope:
    """Where the cookie goes, by the request."""

    def get_cookie_secure(self, app: Flask) -> bool:
        """Secure over https; plain http is the loopback of a workstation, where login must work."""
        return request.is_secure

    def get_cookie_path(self, app: Flask) -> str:
        """Return the prefix under which the proxy shows the application."""
        return request.script_root or "/"


class AnonymousSessions(CookieScope, SecureCookieSessionInterface):
    """Flask's own sessions, inside the cookie."""


class Sessions(CookieScope, RedisSessionInterface):
    """Flask-Session over Redis for those who are logged in."""

    def __init__(self, app: Flask, client: Redis) -> None:
        with warnings.catch_warnings():
            # Flask-Session deprecates signing; the cookies of this stack are signed.
            warnings.simplefilter("ignore", DeprecationWarning)
            super().__init__(app, client, key_prefix="session:", use_signer=True, permanent=False)
        self.serializer = JsonSerializer(app, "json")
        self.anonymous = AnonymousSessions()

    def open_session(self, app: Flask, request: Request) -> ServerSideSession:
        """Return the visitor's session; an unsaved one marked `unavailable` when Redis does not answer."""
        if request.path.startswith(SESSIONLESS):
            return RedisSession(sid=None)
        signer: Any = self.anonymous.get_signing_serializer(app)
        try:
            content = signer.loads(request.cookies.get(self.get_cookie_name(app), ""))
        except BadSignature:
            try:
                return super().open_session(app, request)
            except RedisError as error:
                app.logger.warning("sessions are unavailable: %s", error)
                unsaved = RedisSession(sid=None)
                unsaved.unavailable = True
                return unsaved
        content.pop(_USER, None)
        return RedisSession(content, sid=self._generate_sid(self.sid_length))

    def save_session(self, app: Flask, session: ServerSideSession, response: Response) -> None:
        """Store the session of a user, or put an anonymous one into its cookie, unless this request has none."""
        if session.sid is not None:
            (super() if _USER in session else self.anonymous).save_session(app, session, response)

    def _retrieve_session_data(self, store_id: str) -> dict[str, Any] | None:
        # Reading a session extends it, in the same round trip.
        data = self.client.getex(store_id, ex=self.app.permanent_session_lifetime)
        return self.serializer.decode(data) if data else None


def require_session() -> None:
    """Raise Problem 503 when the request can't have a session."""
    if getattr(session, "unavailable", False):
        raise Problem(503, "redis does not answer. Try again in a moment.", "redis_unavailable")
