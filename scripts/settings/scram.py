"""The text that a Postgres server keeps instead of a password.

Made here, so that the password itself is in no statement: not in the server's log, not in pg_stat_activity.
RFC 5802 section 3 (the keys), RFC 7677 (SHA-256, at least 4096 rounds), RFC 5803 (the stored form).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

ROUNDS = 4096
SALT_BYTES = 16


def verifier(password: str, *, salt: bytes | None = None, rounds: int = ROUNDS) -> str:
    """`SCRAM-SHA-256$<rounds>:<salt>$<StoredKey>:<ServerKey>`, the latter three in base64.

    password: printable ASCII, of which SASLprep (RFC 4013) changes nothing. salt: random where none is given.
    """
    if not password.isascii() or not password.isprintable():
        raise ValueError("only printable ASCII")
    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, rounds)
    stored_key = hashlib.sha256(_hmac(salted, b"Client Key")).digest()
    server_key = _hmac(salted, b"Server Key")
    return f"SCRAM-SHA-256${rounds}:{_text(salt)}${_text(stored_key)}:{_text(server_key)}"


def fits(password: str, stored: str) -> bool:
    """Return True when `stored`, as a server keeps it (see `verifier`), is this password's."""
    try:
        rounds, salt = stored.split("$")[1].split(":")
        made = verifier(password, salt=base64.b64decode(salt, validate=True), rounds=int(rounds))
    except (ValueError, IndexError):
        return False
    return hmac.compare_digest(made, stored)


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
