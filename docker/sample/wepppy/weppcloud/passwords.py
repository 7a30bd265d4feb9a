"""Hashing and checking passwords."""

from __future__ import annotations

import base64
import hashlib
import hmac

from werkzeug.security import check_password_hash, generate_password_hash

# scrypt with 2^15 blocks of 8, one lane (RFC 7914): about 32 MB and a twentieth of a second for every guess.
METHOD = "scrypt:32768:8:1"
# In the form of a stored hash (werkzeug's), and no password's: checking it costs what checking a real one costs.
_UNKNOWN_ACCOUNT = f"{METHOD}$nobody${'0' * 128}"


def hash_password(password: str, site_salt: str) -> str:
    """Return the text to store for a password: scrypt over an HMAC with the site's own secret salt.

    The HMAC makes a stolen table useless without the secret; scrypt adds its own random salt per password.
    """
    return generate_password_hash(_keyed(password, site_salt), METHOD)


def verify_password(stored: str | None, password: str, site_salt: str) -> bool:
    """Return whether `password` is the one behind `stored`.

    Takes the same time for an account that does not exist (`stored` None), so that accounts can't be listed.
    """
    matches = check_password_hash(stored or _UNKNOWN_ACCOUNT, _keyed(password, site_salt))
    return matches and stored is not None


def _keyed(password: str, site_salt: str) -> str:
    # JSON may carry half a surrogate pair; it is a wrong password, not an error.
    digest = hmac.digest(site_salt.encode(), password.encode("utf-8", "surrogatepass"), hashlib.sha512)
    return base64.b64encode(digest).decode("ascii")
