"""Limits on what one client may do in a time: guess passwords, create runs, start runs. Redis counts."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

from flask import Response, current_app, request, session
from flask_limiter import Limiter
from flask_login import current_user
from limits import parse

# Of one account from one address, so that no client locks others out; of all accounts from one address, which many
# clients may share.
FAILED_LOGINS = "10 per 15 minutes"
FAILED_LOGINS_PER_ADDRESS = "100 per 15 minutes"

View = Callable[..., Any]


def client_address() -> str:
    """Return what one client has of addresses: an IPv4 address, or the /64 of an IPv6 one."""
    address = request.remote_addr or "unknown"
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if parsed.version == 4 else str(ipaddress.ip_network((parsed, 64), strict=False))


limiter = Limiter(client_address)


def limit_failed_logins(view: View) -> View:
    """Refuse calls of a view after FAILED_LOGINS of its answers were 401."""
    options: dict[str, Any] = {
        "deduct_when": _is_wrong_password,
        "error_message": "Too many failed logins.",
    }
    per_account = limiter.shared_limit(FAILED_LOGINS, "login", key_func=_account_and_address, **options)
    per_address = limiter.shared_limit(FAILED_LOGINS_PER_ADDRESS, "login", key_func=client_address, **options)
    return per_account(per_address(view))


def limit_runs(done: str) -> Callable[[View], View]:
    """Return a decorator that limits how many runs one client may have `done` ("created" or "started").

    A client is an account, or a browser without one: RUN_LIMIT_PER_CLIENT. All browsers without an account at one
    address share RUN_LIMIT_PER_ADDRESS. Administrators are not limited.
    """
    message = f"Too many runs were {done} from here in a short time."
    per_client = limiter.shared_limit(
        lambda: current_app.config["RUN_LIMIT_PER_CLIENT"],
        done,
        key_func=_account_or_browser,
        exempt_when=lambda: current_user.is_administrator,
        error_message=message,
    )
    per_address = limiter.shared_limit(
        lambda: current_app.config["RUN_LIMIT_PER_ADDRESS"],
        done,
        key_func=client_address,
        exempt_when=lambda: current_user.is_authenticated,
        error_message=message,
    )
    return lambda view: per_client(per_address(view))


def forget_failed_logins() -> None:
    """Let the account that just logged in have all its guesses again from this address."""
    limiter.limiter.clear(parse(FAILED_LOGINS), _account_and_address(), "login")


def _is_wrong_password(response: Response) -> bool:
    return response.status_code == 401


def _account_and_address() -> str:
    body = request.form if request.blueprint == "accounts" else request.get_json(silent=True, force=True)
    email = body.get("email") if isinstance(body, Mapping) else None
    return f"{str(email).strip().lower()[:255]!a} {client_address()}"


def _account_or_browser() -> str:
    if current_user.is_authenticated:
        return f"account {current_user.id}"
    # Nothing is done without this token, and only its browser has it.
    return "browser " + hashlib.sha256(session["csrf_token"].encode()).hexdigest()[:32]
