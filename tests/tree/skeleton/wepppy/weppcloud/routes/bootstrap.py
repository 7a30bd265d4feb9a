"""What the proxy asks before it lets git through: may the bearer of this token use that run's repository?"""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from wepppy.weppcloud.models import Run, db
from wepppy.weppcloud.utils import auth_tokens

bootstrap_bp = Blueprint("bootstrap", __name__, url_prefix="/api/bootstrap")


@bootstrap_bp.get("/verify-token")
def verify_token() -> Response:
    """Answer 200 with `X-Auth-User` for a good token, as Bearer or as a password; else 401."""
    credentials = request.authorization
    token = (credentials.token or credentials.password or "") if credentials else ""
    try:
        claims = auth_tokens.decode(token, "bootstrap")
    except auth_tokens.TokenError as error:
        return _refused(str(error))
    runid = str(claims.get("runid", ""))
    run = db.session.scalar(db.select(Run).filter_by(runid=runid))
    wanted = request.headers.get("X-Forwarded-Uri", "")
    if run is None or run.bootstrap_disabled or f"/{runid}/" not in wanted:
        return _refused(f"The token is not for {wanted}")
    answer = jsonify({})
    answer.headers["X-Auth-User"] = str(claims["sub"])
    return answer


def _refused(why: str) -> Response:
    """Ask for another password: git sends one only where it is asked for it."""
    return Response(why, 401, {"WWW-Authenticate": 'Basic realm="Bootstrap"'})
