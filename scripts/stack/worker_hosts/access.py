"""What a worker host may do at this stack's stores: a user of Redis, a role of Postgres, and the gateway's file.

The host's file comes last and goes first: without it the gateway lets nobody in, whatever else is there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scripts.base.errors import StackError, fail
from scripts.base.files import replace
from scripts.engine import database_server
from scripts.engine.compose import Compose
from scripts.prepare.worker_authority import FOLDER, issue
from scripts.settings import scram
from scripts.settings.secret_ids import token

REDIS = "redis"
PREFIX = "worker-"
READABLE = 0o644
ANSWER_SECONDS = 60.0
# Nothing that administers the server or another client; what rq and wepppy ask is.
COMMANDS = "~* &* +@all -@admin -@dangerous +info +keys +sort +client|list +client|setname"
MARK = "wepp-stack: a worker host"
# It works as the application's own role, so that what it makes belongs to that.
GRANT = """
DO $do$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
    CREATE ROLE "{role}";
  ELSIF NOT EXISTS ({ours} AND rolname = '{role}') THEN
    RAISE EXCEPTION 'there is a role {role} that wepp-stack has not made';
  END IF;
END $do$;
COMMENT ON ROLE "{role}" IS '{mark}';
GRANT "{application}" TO "{role}";
ALTER ROLE "{role}" SET role TO "{application}";
ALTER ROLE "{role}" LOGIN PASSWORD '{verifier}';
"""
FOREIGN = re.compile(r"there is a role (\S+) that wepp-stack has not made")
OURS = "SELECT rolname FROM pg_authid WHERE shobj_description(oid, 'pg_authid') = '{mark}'"
REVOKE = """
ALTER ROLE "{role}" NOLOGIN;
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}';
DROP ROLE "{role}";
"""


@dataclass(frozen=True)
class Granted:
    """What the host gets: its certificate with the key (PEM), and its passwords at both stores."""

    certificate: str
    redis_password: str
    postgres_password: str


def hosts(compose: Compose) -> dict[str, dict[str, Any]]:
    """Return the gateway's file of each host that has access or an open invitation, by the host's name."""
    found = {}
    for path in sorted((compose.data_dir / FOLDER).glob("*.json")):
        # One that cannot be read lets nobody in.
        try:
            found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return found


def grant(compose: Compose, name: str, invitation: Mapping[str, object]) -> Granted:
    """Give a host access with new passwords and a new certificate; what it had before is over. Raise StackError.

    invitation: what the gateway's file holds beside the certificate's SHA-256.
    """
    certificate, fingerprint = issue(compose.secrets_dir, name)
    granted = Granted(certificate, token(), token())
    hashed = hashlib.sha256(granted.redis_password.encode("ascii")).hexdigest()
    _write(compose, f"{name}.acl", f"user {PREFIX}{name} on #{hashed} {COMMANDS}\n")
    _tell_redis(compose)
    application = compose.setting("POSTGRES_USER", "wepppy").replace('"', '""')
    verifier = scram.verifier(granted.postgres_password)
    role = f"{PREFIX}{name}"
    ours = OURS.format(mark=MARK)
    _sql(
        compose,
        GRANT.format(role=role, application=application, verifier=verifier, mark=MARK, ours=ours),
    )
    _write(compose, f"{name}.json", json.dumps({**invitation, "certificate": fingerprint}))
    return granted


def revoke(compose: Compose, name: str) -> None:
    """Take a host's access away: at once what it has open, then its user and its role. Raise StackError."""
    (compose.data_dir / FOLDER / f"{name}.json").unlink(missing_ok=True)
    tidy(compose)


def tidy(compose: Compose) -> list[str]:
    """Delete users and roles of hosts that have no access any more; return the hosts' names. Raise StackError."""
    folder, known = compose.data_dir / FOLDER, hosts(compose)
    gone = [path for path in folder.glob("*.acl") if path.stem not in known]
    for path in gone:
        path.unlink()
    if gone:
        _tell_redis(compose)
    roles = _sql(compose, OURS.format(mark=MARK)).split()
    dropped = [role for role in roles if role.removeprefix(PREFIX) not in known]
    for role in dropped:
        _sql(compose, REVOKE.format(role=role))
    return sorted({path.stem for path in gone} | {role.removeprefix(PREFIX) for role in dropped})


def _write(compose: Compose, name: str, text: str) -> None:
    replace(compose.data_dir / FOLDER / name, text, READABLE, compose.owner)


def _tell_redis(compose: Compose) -> None:
    result = compose.capture("exec", "-T", REDIS, "sh", "/opt/stack/redis-users.sh")
    if not result.ok:
        fail(
            f"Redis does not take the users of worker hosts: {result.complaint}",
            "see `invoke compose-logs --services=redis`; after `invoke compose-up` run it again",
        )


def _sql(compose: Compose, statements: str) -> str:
    """Have the server's superuser run statements, over the socket inside; return the answers. Raise StackError."""
    server = database_server.container(compose)
    if not server or server.state != "running":
        raise StackError("the stack's own database does not run", "start it: invoke compose-up")
    psql = ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]
    psql += ["--set", "ON_ERROR_STOP=1", "--set", "VERBOSITY=terse"]
    # Older volumes have the application's role as superuser.
    for user in ("postgres", compose.setting("POSTGRES_USER", "wepppy")):
        told = [*psql, "--username", user, "--dbname", "postgres"]
        argv = ["docker", "exec", "--interactive", server.name, *told]
        result = compose.runner.capture(argv, stdin=statements, timeout=ANSWER_SECONDS)
        if result.ok or f'role "{user}" does not exist' not in result.stderr:
            break
    if not result.ok:
        fix = "see `invoke compose-logs --services=postgres`, then run it again"
        if foreign := FOREIGN.search(result.complaint):
            fix = (
                "choose another --host; or, where nothing logs in as that role (a restored dump may have brought it): "
                f"docker exec {server.name} psql -U {user} -d postgres -c 'DROP ROLE \"{foreign[1]}\"'"
            )
        fail(f"the database does not take a worker host's role: {result.complaint}", fix)
    return result.stdout
