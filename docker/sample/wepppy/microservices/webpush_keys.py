"""The key pair that identifies this application server to push services (VAPID, RFC 8292)."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from wepppy.config.environment import setting
from wepppy.config.secrets import get_secret

TOKEN_SECONDS = 12 * 3600  # RFC 8292 allows 24 h at most
RENEW_SECONDS = 6 * 3600


class VapidKey:
    """A P-256 key pair and the tokens signed with it."""

    def __init__(
        self, private: ec.EllipticCurvePrivateKey, subject: str | None, clock: Callable[[], float] = time.time
    ) -> None:
        self._private = private
        self._subject = subject
        self._clock = clock
        self._tokens: dict[str, tuple[float, str]] = {}
        point = private.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        self.public_key = encode(point)

    def authorization(self, endpoint: str) -> str:
        """Return the `Authorization` header for a push service (RFC 8292, section 3).

        The token names the service's origin and is used again for some hours, as the RFC advises.
        """
        parts = urlsplit(endpoint)
        audience = f"{parts.scheme}://{parts.netloc}"
        now = self._clock()
        made, token = self._tokens.get(audience, (0.0, ""))
        if not token or not 0 <= now - made < RENEW_SECONDS:
            claims: dict[str, object] = {"aud": audience, "exp": int(now) + TOKEN_SECONDS}
            if self._subject:
                claims["sub"] = self._subject
            token = jwt.encode(claims, self._private, algorithm="ES256")
            if len(self._tokens) >= 100:
                self._tokens.clear()
            self._tokens[audience] = (now, token)
        return f"vapid t={token}, k={self.public_key}"


def load_key() -> VapidKey:
    """Return the key of `VAPID_PRIVATE_KEY[_FILE]`: the 32 bytes of the private number in base64url, or PEM.

    `VAPID_SUBJECT` is how a push service reaches the operator, `mailto:...` or `https://...`.
    Raises RuntimeError with a reason that holds no part of the secret.
    """
    text = get_secret("VAPID_PRIVATE_KEY")
    if text is None:
        raise RuntimeError("VAPID_PRIVATE_KEY_FILE is not set")
    subject = setting("VAPID_SUBJECT") or None
    if subject and not subject.startswith(("mailto:", "https://")):
        raise RuntimeError("VAPID_SUBJECT must start with mailto: or https://")
    return VapidKey(parse_private_key(text), subject)


def parse_private_key(text: str) -> ec.EllipticCurvePrivateKey:
    """Return the private key written as base64url of 32 bytes or as PEM. Raises RuntimeError for anything else."""
    try:
        if text.lstrip().startswith("-----BEGIN"):
            pem = text.replace("\\n", "\n").encode()
            key = serialization.load_pem_private_key(pem, password=None)
            if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
                return key
        else:
            number = decode(text.strip())
            if len(number) == 32:
                return ec.derive_private_key(int.from_bytes(number, "big"), ec.SECP256R1())
    except (ValueError, TypeError):
        pass  # the cause may hold the secret
    raise RuntimeError("VAPID_PRIVATE_KEY is not a P-256 private key (32 bytes in base64url, or PEM)")


def decode(text: str) -> bytes:
    """Return the bytes that base64url text stands for, with or without padding. Raises ValueError."""
    try:
        return base64.b64decode(
            text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True
        )
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("not base64url") from error


def encode(data: bytes) -> str:
    """Return bytes as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
