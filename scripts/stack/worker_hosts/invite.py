"""`worker-invite`, on the main host: give another host access and write the file that carries it there."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.base.clock import SYSTEM_CLOCK, Clock
from scripts.base.console import Console
from scripts.base.errors import StackError, refuse, usage
from scripts.base.files import replace
from scripts.engine import database_server
from scripts.engine.compose import Compose
from scripts.prepare import lock
from scripts.prepare.overlays import ADDRESS
from scripts.prepare.worker_authority import AUTHORITY
from scripts.settings import secret_files
from scripts.settings.envfile import display_path
from scripts.settings.secret_ids import DATABASE
from scripts.stack.service_commands import require_running
from scripts.stack.worker_hosts import access, invitation
from scripts.stack.worker_hosts.access import Granted
from scripts.stack.worker_hosts.containers import WORKER, ask
from scripts.stack.worker_hosts.invitation import Folder, Invitation

GATEWAY = "worker-gateway"
QUEUES = ("default", "batch", "fork-archive")
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
# Where containers see the folders that all hosts share.
SHARED = {"WC1_DIR": "/wc1", "GEODATA_DIR": "/geodata"}
TREE = "/workdir/wepppy"
MINUTES = 30
TOKEN = ".wepp-stack-"  # noqa: S105 - begins the name of a file
# The passwords that each host has of its own.
OWN_SECRETS = {DATABASE, "redis_password"}
# Settings of this stack that a worker's code reads as they are here.
SETTINGS = ("POSTGRES_DB", "SITE_PREFIX", "TZ", "WEPPPY_SRC", "RQ_EXACTLY_ONE", "WORKER_SAME_REVISION")


def invite(
    compose: Compose, console: Console, host: str, queues: Sequence[str], clock: Clock = SYSTEM_CLOCK
) -> None:
    """Write `HOST.invitation` into the current folder and print its passphrase. Raise StackError.

    What was left over of hosts that have gone is deleted first.
    """
    if not NAME.fullmatch(host):
        usage(f"--host={host} is no name of a host", "its short name: letters, digits and '-', 32 at most")
    if unknown := [name for name in queues if name not in QUEUES]:
        usage(f"there is no queue {unknown[0]}", f"choose from: {', '.join(QUEUES)}")
    folders = _shared_folders(compose)
    if compose.runner.dry:
        console.say(f"would give {host} access for {', '.join(queues)} and write {host}.invitation")
        return
    for service in (GATEWAY, WORKER, access.REDIS, database_server.DATABASE):
        require_running(compose, service)
    with lock.sole(compose):
        known = access.hosts(compose).get(host)
        if known and known.get("joined"):
            refuse(
                f"{host} has joined already",
                f"let it leave first: `invoke worker-leave` there, or `invoke worker-leave --host={host}` here",
            )
        forget_tokens(compose, clock)
        access.tidy(compose)
        number = secrets.token_hex(8)
        until = clock.now() + MINUTES * 60
        shared = {key: _with_token(Path(path), number) for key, path in folders.items()}
        answer = ask(compose, WORKER, "revision")
        granted = access.grant(compose, host, {"id": number, "until": until, "queues": list(queues)})
    made = Invitation(
        id=number,
        host=host,
        until=until,
        project=compose.project,
        gateway=gateway_address(compose),
        image=compose.catalogue.services[WORKER].image,
        revision=answer["revision"],
        queues=tuple(queues),
        uid=compose.owner[0],
        gid=compose.owner[1],
        folders=shared,
        settings={key: compose.setting(key) for key in SETTINGS if compose.setting(key)},
        secrets=secrets_of_host(compose, granted),
    )
    path = Path.cwd() / f"{host}.invitation"
    phrase = invitation.passphrase()
    try:
        invitation.write(path, made, phrase)
    except OSError as error:
        raise StackError(
            f"{path} cannot be written: {error.strerror}", "run it in a folder of yours"
        ) from error
    console.answer(
        {"ok": True, "host": host, "file": str(path), "passphrase": phrase, "minutes": MINUTES},
        f"{display_path(path)}: copy it to {host} and type there, within {MINUTES} minutes,\n"
        f"  invoke worker-join {path.name}\n"
        f"passphrase (shown once): {phrase}",
    )


def forget_tokens(compose: Compose, clock: Clock) -> None:
    """Delete the files by which hosts recognised the shared folders, but those of open invitations."""
    hosts = access.hosts(compose).values()
    open_ones = {each["id"] for each in hosts if not each.get("joined") and each["until"] > clock.now()}
    for path in _shared_folders(compose).values():
        for token in Path(path).glob(f"{TOKEN}*"):
            if token.name.removeprefix(TOKEN) not in open_ones:
                token.unlink(missing_ok=True)


def require_open(compose: Compose) -> None:
    """Raise StackError (refused) unless other hosts can reach the stores, and run what this one runs."""
    if not compose.setting(ADDRESS):
        refuse(
            f"{ADDRESS} is empty: the stores are open to no other host",
            "set it in .env to the private address of this host that worker hosts reach, then `invoke compose-up`",
        )
    if GATEWAY not in compose.catalogue.services:
        refuse("the stores are not open to worker hosts yet", "invoke compose-up")
    if TREE in _mounts(compose):
        refuse(
            "this stack is in development: its tree is mounted, and other hosts run what is in the image",
            "set COMPOSE_FILE in .env to docker/docker-compose.prod.yml, then `invoke compose-up --build`",
        )


def _mounts(compose: Compose) -> dict[str, Any]:
    return {each["target"]: each for each in compose.model["services"][WORKER].get("volumes") or ()}


def _shared_folders(compose: Compose) -> dict[str, str]:
    """Return the folders of this host that worker hosts mount too, by setting. Raise StackError (refused)."""
    require_open(compose)
    mounts = _mounts(compose)
    found = {}
    for key, target in SHARED.items():
        mount = mounts[target]
        if mount["type"] != "bind":
            refuse(
                f"{key} is empty: {target} is a volume of this engine, which no other host can mount",
                f"set {key} in .env to a folder that all hosts share, move the files there, `invoke compose-up`",
            )
        found[key] = mount["source"]
    return found


def _with_token(folder: Path, number: str) -> Folder:
    """Write a file into a shared folder by which the other host recognises it."""
    text, name = secrets.token_hex(32), f"{TOKEN}{number}"
    try:
        replace(folder / name, text, 0o644)
    except OSError as error:
        raise StackError(
            f"{folder}/{name} cannot be written: {error.strerror}",
            "run it as a user who may write there: by that file the other host recognises the folder",
        ) from error
    status = folder.stat()
    return Folder(str(folder), status.st_uid, status.st_gid, name, hashlib.sha256(text.encode()).hexdigest())


def gateway_address(compose: Compose) -> str:
    """Return where worker hosts reach the main host's gateway."""
    return f"{compose.setting(ADDRESS)}:{compose.setting('WORKER_PORT', '7380')}"


def secrets_of_host(compose: Compose, granted: Granted) -> dict[str, str]:
    """Return the secrets of a worker host by id: those that workers get here, its own passwords and certificate."""
    services = [each for each in compose.catalogue.services.values() if each.name.startswith(WORKER)]
    names = {name for each in services for name in each.secrets} - OWN_SECRETS
    return {
        **{name: secret_files.value(compose, name) for name in sorted(names)},
        "redis_password": granted.redis_password,
        DATABASE: granted.postgres_password,
        AUTHORITY: secret_files.value(compose, AUTHORITY) + "\n",
        "host_certificate": granted.certificate,
    }
