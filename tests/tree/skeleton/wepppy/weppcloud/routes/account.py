"""Log in, register, log out; the first two only with a solved CAPTCHA."""

from __future__ import annotations

import hashlib
import hmac
import uuid

from flask import Blueprint, abort, current_app, flash, redirect, render_template, request, session, url_for
from flask_login import login_required, login_user, logout_user
from werkzeug.security import check_password_hash, generate_password_hash
from werkzeug.wrappers import Response

from wepppy.weppcloud.models import User, db
from wepppy.weppcloud.utils.cap_verify import CapVerificationError, verify_cap_token

account_bp = Blueprint("account", __name__)


def _salted(password: str) -> str:
    salt = current_app.config["SECURITY_PASSWORD_SALT"]
    return hmac.new(salt.encode(), password.encode(), hashlib.sha512).hexdigest()


def _require_captcha() -> None:
    try:
        good = verify_cap_token(request.form.get("cap_token", ""), request.url_root)
    except CapVerificationError as error:
        current_app.logger.exception("CAPTCHA")
        abort(500, f"CAPTCHA verification failed: {error}")
    if not good:
        abort(403, "CAPTCHA verification failed.")


def _form(title: str) -> str:
    session["visited"] = title
    return render_template("account.htm", title=title, providers=current_app.config["OAUTH"])


@account_bp.route("/login", methods=["GET", "POST"])
def login() -> str | Response:
    """Show the form; log a user in who solved the CAPTCHA."""
    if request.method == "GET":
        return _form("Log in")
    if not current_app.config["ENABLE_LOCAL_LOGIN"]:
        abort(403, "Local login is disabled.")
    _require_captcha()
    user = db.session.scalar(db.select(User).filter_by(email=request.form["email"].lower()))
    if user is None or not check_password_hash(user.password, _salted(request.form["password"])):
        flash("Unknown e-mail address or wrong password.")
        return _form("Log in")
    login_user(user)
    return redirect(url_for("site.runs"))


@account_bp.route("/register", methods=["GET", "POST"])
def register() -> str | Response:
    """Show the form; create an account."""
    if request.method == "GET":
        return _form("Register")
    _require_captcha()
    email = request.form["email"].lower()
    if db.session.scalar(db.select(User).filter_by(email=email)):
        abort(409, f"{email} has an account.")
    hashed = generate_password_hash(_salted(request.form["password"]), "pbkdf2:sha256:1000")
    db.session.add(User(email=email, password=hashed, fs_uniquifier=uuid.uuid4().hex))
    db.session.commit()
    current_app.extensions["discord"](f"{email} registered")
    return redirect(url_for("account.login"))


@account_bp.post("/logout")
@login_required
def logout() -> Response:
    """End the session."""
    logout_user()
    return redirect(url_for("site.index"))
