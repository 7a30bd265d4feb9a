"""The token that lets a visitor's browser read the files, the log and the checklist of a private run.

The services behind these have no sessions; they accept a JSON Web Token (RFC 7519) that names the run, in a cookie
sent only to the addresses of that run.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime

import jwt
from flask import Response, current_app, request, session
from flask_login import current_user

from wepppy.config.run_tokens import REVOKED, audience, cookie_name, signing_secrets
from wepppy.weppcloud.models import Run
from wepppy.weppcloud.run_store import hashes

_SESSION_KEY = "browse_jti"


def give_token(response: Response, run: Run, paths: Iterable[str]) -> None:
    """Add the token for `run` to a page for a user who is logged in; `paths` are the run's addresses.

    Do nothing without a secret to sign with.
    """
    secrets = signing_secrets()
    if not secrets or not current_user.is_authenticated:
        return
    lifetime = current_app.permanent_session_lifetime
    claims = {
        "sub": current_user.email,
        "aud": audience(),
        "exp": datetime.now(UTC) + lifetime,
        # One id per login, so that logging out ends every token at once.
        "jti": session.setdefault(_SESSION_KEY, uuid.uuid4().hex),
        "runid": run.runid,
        "roles": [role.name for role in current_user.roles],
    }
    token = jwt.encode(claims, secrets[0], algorithm="HS256")
    for path in paths:
        response.set_cookie(
            cookie_name(),
            token,
            max_age=lifetime,
            path=path,
            secure=request.is_secure,
            httponly=True,
            samesite=current_app.config["SESSION_COOKIE_SAMESITE"],
        )


def revoke_tokens() -> None:
    """End the tokens given to this session."""
    jti = session.pop(_SESSION_KEY, None)
    if isinstance(jti, str):
        hashes().set(REVOKED + jti, "1", ex=current_app.permanent_session_lifetime)
