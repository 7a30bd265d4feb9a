"""The secrets of a stack: their ids, how each is generated, and the key under which an older `.env` holds it.

An id is the name of a file in the stack's folder of secrets and of the file under /run/secrets in containers. The
ids are those of upstream's own deployments, so that a folder of secrets fits there and here.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# Order of the P-256 group (FIPS 186-5 / SEC 2): a private key is a number from 1 to below it.
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
TOKEN_BYTES = 32


def token() -> str:
    """Return a random URL-safe text of 256 bits: no reader of files, URLs or SQL sees anything special in it."""
    # A leading `-` would look like an option to some command some day.
    while (text := secrets.token_urlsafe(TOKEN_BYTES)).startswith("-"):
        continue
    return text


def vapid() -> str:
    """Return a P-256 private key as 32 bytes in base64url without padding (RFC 8292, RFC 7515 appendix C)."""
    number = 1 + secrets.randbelow(P256_ORDER - 1)
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode("ascii")


@dataclass(frozen=True)
class Secret:
    """One secret. generate: None for one that only its issuer can give; its file is empty until somebody fills it.

    older: the name that the file had, where it had another.
    """

    id: str
    generate: Callable[[], str] | None = None
    older: str = ""

    @property
    def key(self) -> str:
        """The key under which an older `.env` holds it."""
        return (self.older or self.id).upper()


DATABASE = "postgres_password"
SUPERUSER = "postgres_superuser_password"
ADMIN = "admin_password"
HOOK = "backup_hook_url"
ALL = (
    Secret(DATABASE, token),
    Secret(SUPERUSER, token),
    Secret("redis_password", token),
    Secret("flask_security_password_salt", token, "security_password_salt"),
    Secret("wepp_auth_jwt_secrets", token),
    Secret("wepp_mcp_jwt_secret", token),
    Secret("agent_jwt_secret", token),
    Secret("dtale_internal_token", token),
    Secret("cap_secret", token),
    Secret(ADMIN, token),
    Secret("vapid_private_key", vapid),
    Secret("oauth_github_client_secret"),
    Secret("oauth_google_client_secret"),
    Secret("oauth_orcid_client_secret"),
    Secret("zoho_noreply_email_password"),
    Secret("opentopography_api_key"),
    Secret("climate_engine_api_key"),
    Secret("openet_api_key"),
    Secret("wc_token"),
    Secret("discord_bot_token"),
    Secret(HOOK),
    # The last to be written: a folder without it was written when `.env` was the source of secrets.
    Secret("flask_secret_key", token, "secret_key"),
)
BY_ID: Mapping[str, Secret] = {each.id: each for each in ALL}
BY_KEY: Mapping[str, Secret] = {each.key: each for each in ALL}
