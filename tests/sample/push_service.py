"""A browser's keys and a push service of our own: it decrypts what arrives and checks who sent it.

Decryption is written here from RFC 8188 and RFC 8291 on purpose, apart from the library that encrypts.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

UNCOMPRESSED = (serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def encode(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Return the bytes of base64url text without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Browser:
    """The receiving end: a key pair and a secret of its own."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        self._secret = os.urandom(16)
        self.public = self._private.public_key().public_bytes(*UNCOMPRESSED)

    def subscription(self, endpoint: str) -> dict[str, Any]:
        """Return what `PushSubscription.toJSON()` gives."""
        keys = {"p256dh": encode(self.public), "auth": encode(self._secret)}
        return {"endpoint": endpoint, "expirationTime": None, "keys": keys}

    def decrypt(self, body: bytes) -> bytes:
        """Return the message in an `aes128gcm` body of one record (RFC 8188 2, RFC 8291 3)."""
        salt, record, length = body[:16], int.from_bytes(body[16:20], "big"), body[20]
        sender, sealed = body[21 : 21 + length], body[21 + length :]
        assert len(sealed) <= record
        shared = self._private.exchange(
            ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
        )
        material = expand(extract(self._secret, shared), b"WebPush: info\0" + self.public + sender, 32)
        secret = extract(salt, material)
        key = expand(secret, b"Content-Encoding: aes128gcm\0", 16)
        nonce = expand(secret, b"Content-Encoding: nonce\0", 12)
        plain = AESGCM(key).decrypt(nonce, sealed, None).rstrip(b"\0")
        assert plain.endswith(b"\x02"), "the delimiter of the last record"
        return plain[:-1]


def extract(salt: bytes, material: bytes) -> bytes:
    """HKDF-Extract with SHA-256 (RFC 5869 2.2)."""
    return hmac.new(salt, material, hashlib.sha256).digest()


def expand(secret: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand with SHA-256 of at most one block (RFC 5869 2.3)."""
    return hmac.new(secret, info + b"\x01", hashlib.sha256).digest()[:length]


@dataclass
class Push:
    """One request that arrived."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class PushService:
    """A push service on the loopback interface. `answers` are given first, then 201 for ever."""

    answers: deque[tuple[int, dict[str, str]]] = field(default_factory=deque)
    pushes: list[Push] = field(default_factory=list)

    def __enter__(self) -> PushService:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                service.pushes.append(Push(self.path, headers, body))
                status, fields = service.answers.popleft() if service.answers else (201, {})
                self.send_response(status)
                for name, value in {"content-length": "0", **fields}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def origin(self) -> str:
        """The service's origin."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def endpoint(self, name: str) -> str:
        """Return the address of one browser."""
        return f"{self.origin}/push/{name}"


def check_sender(push: Push, origin: str, public_key: str, now: float) -> dict[str, Any]:
    """Verify the VAPID header (RFC 8292 2 and 3) and return the token's claims."""
    scheme, _, parameters = push.headers["authorization"].partition(" ")
    assert scheme == "vapid"
    values = dict(item.strip().split("=", 1) for item in parameters.split(","))
    assert values["k"] == public_key
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decode(values["k"]))
    claims: dict[str, Any] = jwt.decode(values["t"], key, algorithms=["ES256"], audience=origin)
    assert now < claims["exp"] <= now + 24 * 3600
    return claims


def message(browser: Browser, push: Push) -> dict[str, Any]:
    """Return the decrypted JSON message of a push."""
    assert push.headers["content-encoding"] == "aes128gcm"
    assert int(push.headers["ttl"]) > 0
    assert len(push.headers["topic"]) <= 32
    reported: dict[str, Any] = json.loads(browser.decrypt(push.body))
    return reported
