"""Access to the files of a run: open if it is public, else for the holder of a token that names it.

A token is a JSON Web Token (RFC 7519), HS256, signed with one of `WEPP_AUTH_JWT_SECRETS[_FILE]` (comma
separated, all accepted, so that secrets can be rotated). It must carry `exp`, `jti` and the audience
`RQ_ENGINE_JWT_AUDIENCE` (default `rq-engine`), and grants a run when its `runid` is that run, its `runs` list
holds it, or its `roles` hold Admin or Root. It is looked for in the cookie `wepp_browse_jwt`
(`WEPP_BROWSE_JWT_COOKIE_NAME`), then in `Authorization: Bearer`.
A token whose `jti` is in Redis (database 0, `auth:jwt:revoked:<jti>`) is refused, and so is every token while
Redis does not answer. Without a configured secret only public runs can be read.
A run that the visitor may not read is answered like one that there is not.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
from redis import Redis, RedisError
from starlette.requests import Request

from wepppy.config.environment import site_prefix
from wepppy.config.redis_settings import RedisDB, redis_client
from wepppy.config.run_paths import MARKER, PUBLIC_MARKER, SEPARATOR, get_wd
from wepppy.config.run_tokens import REVOKED, audience, cookie_name, signing_secrets
from wepppy.microservices.service_errors import ServiceError, run_not_found

_SCENARIOS = frozenset({"omni", "omni-contrast"})


@dataclass(frozen=True)
class Access:
    """A visitor's access to one run: its directory and its names; `privileged` opens its exception logs."""

    run: Path
    runid: str
    config: str
    privileged: bool

    @property
    def url(self) -> str:
        """The run's address, `/weppcloud/runs/R/C`."""
        return f"{site_prefix()}/runs/{quote(self.runid)}/{quote(self.config)}"


def check_access(request: Request, runid: str, config: str) -> Access:
    """Return the visitor's access to a run. Ask in a thread: files and Redis are read.

    Raises ServiceError: `run_not_found` (404) also for a run that the visitor may not read,
    `token_check_unavailable` (503).
    """
    run, public = _find(runid)
    claims: dict[str, Any] = {}
    try:
        claims = _claims(_token(request))
    except ServiceError:
        if not public:  # an expired cookie must not close a public run
            raise
    roles = {str(role).lower() for role in _items(claims.get("roles"))}
    named = claims.get("runid") == runid or runid in _items(claims.get("runs"))
    if run is None or not (public or named or roles & {"admin", "root"}):
        raise run_not_found()
    return Access(run, runid, config, privileged="root" in roles)


def _find(runid: str) -> tuple[Path | None, bool]:
    """Return the directory of a run, None when there is none, and whether everybody may read it."""
    try:
        run = get_wd(runid)
        if not (run / MARKER).is_file():
            return None, False
        owners = [run]
        parts = runid.split(SEPARATOR)
        if len(parts) >= 3 and parts[-2] in _SCENARIOS:  # a scenario is as public as its parent
            owners.append(get_wd(SEPARATOR.join(parts[:-2])))
        return run, any((owner / PUBLIC_MARKER).is_file() for owner in owners)
    except (ValueError, OSError):
        return None, False


def _token(request: Request) -> str:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    return request.cookies.get(cookie_name()) or (value.strip() if scheme.lower() == "bearer" else "")


def _claims(token: str) -> dict[str, Any]:
    """Return the claims of a valid token, none of another; raises ServiceError 503 while that can't be checked."""
    options: Any = {"require": ["exp", "jti", "aud"]}
    try:
        for secret in signing_secrets() if token else ():
            try:
                claims = jwt.decode(token, secret, ["HS256"], audience=audience(), options=options)
            except jwt.PyJWTError:
                continue
            return {} if not claims["jti"] or _denylist().exists(REVOKED + claims["jti"]) else claims
    except (RuntimeError, RedisError) as error:
        raise ServiceError(
            503, "token_check_unavailable", "Tokens can't be checked at the moment. Try again."
        ) from error
    return {}


@functools.lru_cache(maxsize=1)
def _denylist() -> Redis:
    return redis_client(RedisDB.LOCK)


def _items(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []
