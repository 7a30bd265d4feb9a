"""The CAPTCHA: ask the `cap` service whether a token is a solved one."""

from __future__ import annotations

import os

import requests

from wepppy.config.secrets import required_secret


class CapVerificationError(RuntimeError):
    """The CAPTCHA service could not be asked."""


def verify_cap_token(token: str, site: str) -> bool:
    """Return whether the token is good; a relative CAP_BASE_URL is looked for below `site`."""
    if not token:
        return False
    base = os.environ.get("CAP_BASE_URL", "/cap").rstrip("/")
    key = os.environ.get("CAP_SITE_KEY", "")
    if not key:
        raise CapVerificationError("CAP_SITE_KEY is required")
    if base.startswith("/"):
        base = site.rstrip("/") + base
    proof = {"secret": required_secret("CAP_SECRET"), "response": token}
    try:
        answer = requests.post(f"{base}/{key}/siteverify", json=proof, timeout=6)
        answer.raise_for_status()
        return bool(answer.json().get("success"))
    except (requests.RequestException, ValueError) as error:
        raise CapVerificationError(f"{base} did not verify the CAPTCHA: {error}") from error
