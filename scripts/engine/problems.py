"""Find what is wrong with a stack that is to run: services that are down, backups that are late, a refused password,
a Redis of others that does not do what the stack needs.

`compose-status`, `db-backups` and `doctor` tell it, and end with an exit status that cron understands.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scripts.base.console import Console
from scripts.base.errors import StackError
from scripts.engine import sidecar
from scripts.engine.compose import Compose
from scripts.engine.container import Container
from scripts.engine.database_server import is_external
from scripts.engine.runner import Result
from scripts.settings import secret_files, secret_ids

ANSWER_SECONDS = 20.0
SUPERUSER = "postgres"
# Logs in with the password file that comes on standard input. Status 2: no connection; 3: nowhere to put the file.
# Its answer: what the role can do.
IS_SUPERUSER, MAKES_DATABASES, NEITHER = "superuser", "createdb", "neither"
LOG_IN = (
    'umask 077; file=$(mktemp) || exit 3; cat > "$file"; '
    'PGPASSFILE="$file" psql --no-psqlrc --no-password --quiet --tuples-only --command '
    "\"SELECT CASE WHEN rolsuper THEN 'superuser' WHEN rolcreatedb THEN 'createdb' ELSE 'neither' END "
    'FROM pg_roles WHERE rolname = current_user"; '
    'status=$?; rm -f "$file"; exit $status'
)
WEB, REDIS = "weppcloud", "redis"
REDIS_EVENTS = ("/opt/venv/bin/python", "-I", "/opt/stack/redis-events.py")
REFUSED = "password authentication failed"
# What Redis (and its entry point) say of files that they do not start with.
DAMAGED_FILES = re.compile(
    r"(?:Bad file format|Error|Unexpected end of file) reading (?:from )?the append only file"
    r"|Invalid AOF manifest|Unable to obtain the AOF file|AOF .*doesn't exist|Redis would start empty"
    r"|Wrong RDB checksum|Internal error in RDB|RDB CRC error|Wrong signature trying to load DB"
    r"|Short read or OOM loading DB|Fatal error loading the DB"
)
REPAIR = "run `invoke redis-repair`: it keeps the files, repairs a copy and says what is lost"
REPAIR_LINES = 40


@dataclass(frozen=True)
class Problem:
    """What is wrong with which part, and how to fix it."""

    about: str
    what: str
    fix: str


def warn(console: Console, problems: Iterable[Problem]) -> None:
    for each in problems:
        console.warn(f"{each.what} ({each.fix})")


def of_services(compose: Compose, containers: Iterable[Container]) -> list[Problem]:
    """Return the services that should run and do not, or not well; a one-shot that failed."""
    here: dict[str, list[Container]] = {}
    for each in containers:
        here.setdefault(each.service, []).append(each)
    return [
        problem
        for service in compose.catalogue.active(compose.active_profiles)
        for problem in _of_service(service.name, here.get(service.name, []))
    ]


def _of_service(name: str, containers: Sequence[Container]) -> list[Problem]:
    if not containers:
        return [Problem(name, f"{name} has no container", "start it: invoke compose-up")]
    return [
        Problem(
            name,
            f"{name} is {each.condition}{each.exit_text}{_reason(each)}",
            f"see `invoke compose-logs --services={name}`, then `invoke compose-up`",
        )
        for each in containers
        if not each.fine
    ]


def _reason(container: Container) -> str:
    if container.condition == "unhealthy" and container.health_log and container.health_log[-1]:
        return f": {' '.join(container.health_log[-1].split())}"
    return f": {container.error}" if container.error else ""


def of_password(compose: Compose, containers: Iterable[Container]) -> list[Problem]:
    """Return which passwords of secret files the database refuses, asked from the backup service's container."""
    container = _asked_from(compose, containers)
    if not container:
        return []
    found = []
    application = compose.setting("POSTGRES_USER", "wepppy")
    result = _log_in(compose, container, application, secret_ids.DATABASE)
    # A server that does not answer is told by its health.
    if REFUSED in result.stderr:
        found.append(_refused(compose, application, secret_ids.DATABASE, "invoke db-rotate-password"))
    # On an older volume the application's role is the superuser; an external server's is not ours.
    if result.ok and result.stdout.strip() in (MAKES_DATABASES, NEITHER) and not is_external(compose):
        other = _log_in(compose, container, SUPERUSER, secret_ids.SUPERUSER)
        if REFUSED in other.stderr:
            fix = "invoke db-rotate-password --superuser"
            found.append(_refused(compose, SUPERUSER, secret_ids.SUPERUSER, fix))
    return found


def of_roles(compose: Compose, containers: Iterable[Container]) -> list[Problem]:
    """Return what the application's role can do too much or, at an external server, too little.

    Whatever a superuser is made to say may run programs there; a restore makes a database beside the live one.
    """
    container = _asked_from(compose, containers)
    if not container:
        return []
    role = compose.setting("POSTGRES_USER", "wepppy")
    result = _log_in(compose, container, role, secret_ids.DATABASE)
    can = result.stdout.strip() if result.ok else ""
    if can == IS_SUPERUSER and is_external(compose):
        what = f"the application's role {role} is a superuser at that server"
        fix = f"have its administrator run: ALTER ROLE {role} NOSUPERUSER CREATEDB"
    elif can == IS_SUPERUSER:
        what = f"the application's role {role} is a superuser: this volume is older than the stack's own superuser"
        fix = "back it up and restore it into a new volume: README, The database's roles"
    elif can == NEITHER and is_external(compose):
        what = (
            f"the role {role} may make no databases at that server: no restore and no restore test can work"
        )
        fix = f"have its administrator run: ALTER ROLE {role} CREATEDB"
    else:
        return []
    return [Problem("roles", what, fix)]


def of_redis(compose: Compose, containers: Iterable[Container]) -> list[Problem]:
    """Return that a Redis which others run does not tell of changes: open pages then show no progress of a run."""
    if compose.setting("REDIS_HOST", REDIS) == REDIS:
        return []
    names = [each.name for each in containers if each.service == WEB and each.state == "running"]
    if not names:
        return []
    result = compose.runner.capture(["docker", "exec", names[0], *REDIS_EVENTS], timeout=ANSWER_SECONDS)
    state, _, setting = result.stdout.strip().partition(" ")
    # A server that does not answer is told by the health of the services.
    if not result.ok or state != "off":
        return []
    server = f"{compose.setting('REDIS_HOST')}:{compose.setting('REDIS_PORT', '6379')}"
    return [
        Problem(
            REDIS,
            f"the Redis at {server} sends no keyspace events of hashes: open pages do not follow a run's checklist",
            f"have its administrator run: redis-cli CONFIG SET notify-keyspace-events '{setting}' "
            "(and CONFIG REWRITE, so that it stays)",
        )
    ]


def _asked_from(compose: Compose, containers: Iterable[Container]) -> str:
    """Return the container to ask from; empty where none runs or there is no password to ask with."""
    if not _password(compose, secret_ids.DATABASE):
        return ""
    names = [each.name for each in containers if each.service == sidecar.SERVICE and each.state == "running"]
    return names[0] if names else ""


def _log_in(compose: Compose, container: str, role: str, secret: str) -> Result:
    """Log in with the secret file's password; the output is what it can do, one word."""
    escaped = _password(compose, secret).replace("\\", "\\\\").replace(":", "\\:")
    command = ["docker", "exec", "--interactive", "--env", f"PGUSER={role}", container, "sh", "-c", LOG_IN]
    return compose.runner.capture(command, stdin=f"*:*:*:*:{escaped}\n", timeout=ANSWER_SECONDS)


def _refused(compose: Compose, role: str, secret: str, fix: str) -> Problem:
    what = f"the database refuses the password of {compose.secrets_dir / secret} for role {role}"
    return Problem("password", what, f"give the role and the file one password: {fix}")


def _password(compose: Compose, secret: str) -> str:
    with contextlib.suppress(StackError):
        return secret_files.read(compose.secret_file(secret))
    return ""


def damaged_redis(compose: Compose) -> str:
    """Return what Redis says of damaged files, as after a power loss; empty when it runs or failed otherwise."""
    for each in compose.containers([REDIS]):
        if not each.fine:
            lines = [line for _, line in compose.engine.log(each.id, "--tail", str(REPAIR_LINES))]
            return next((line.strip() for line in reversed(lines) if DAMAGED_FILES.search(line)), "")
    return ""
