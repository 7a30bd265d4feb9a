"""Owns how a `.env` comes to be: from `.env.example`, with fresh secrets; what the user has is never overwritten.

`# generated: KIND` right above an empty key of the example asks for a value; the kinds are in GENERATORS.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts import envfile
from scripts.compose import Compose
from scripts.console import Console
from scripts.errors import ExitCode, StackError

MARK = re.compile(r"#\s*generated:\s*(?P<kind>[a-z0-9-]+)\s*")
# Order of the P-256 group (FIPS 186-5 / SEC 2): a private key is a number from 1 to below it.
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
TOKEN_BYTES = 32
DEFAULT_OWNER = 1000


def token() -> str:
    """A random URL-safe text of 256 bits: no reader of `.env`, URL or SQL sees anything special in it."""
    # A leading `-` would look like an option to some command some day.
    while (text := secrets.token_urlsafe(TOKEN_BYTES)).startswith("-"):
        continue
    return text


def vapid() -> str:
    """A P-256 private key as 32 bytes in base64url without padding (RFC 8292, RFC 7515 appendix C)."""
    number = 1 + secrets.randbelow(P256_ORDER - 1)
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode("ascii")


GENERATORS: Mapping[str, Callable[[], str]] = {"token": token, "vapid": vapid}


@dataclass(frozen=True)
class Written:
    """What `create` did: created, or the keys it added to a file that was there; keys whose secret was kept."""

    path: Path
    created: bool
    added: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def owner_of_caller(environment: Mapping[str, str]) -> tuple[int, int]:
    """UID and GID that containers run as: the caller's; behind sudo that person's; for root itself 1000."""
    uid, gid = os.getuid(), os.getgid()
    if uid != 0:
        return uid, gid
    with contextlib.suppress(KeyError, ValueError):
        uid, gid = int(environment["SUDO_UID"]), int(environment["SUDO_GID"])
    return (uid, gid) if uid != 0 else (DEFAULT_OWNER, DEFAULT_OWNER)


def create(
    path: Path,
    example: Path,
    *,
    environment: Mapping[str, str],
    secrets_dir: Path | None = None,
    free_ports: bool = False,
    settings: Mapping[str, str] | None = None,
) -> Written:
    """Writes `path` from `example`, or adds to it the keys that are new in the example.

    secrets_dir: files of an earlier `.env`; their values are taken over, for the database knows them.
    free_ports: give every PORT_ key of a new file a port that is free now. settings: values for a new file.
    Raises StackError when the example is missing or asks for something unknown, or the folder cannot be written.
    """
    if not example.is_file():
        raise StackError(f"{envfile.shown(example)} is missing", "get it back: git checkout -- .env.example")
    text = example.read_text(encoding="utf-8")
    generated = generated_keys(text)
    uid, gid = owner_of_caller(environment)
    there = envfile.read(path) if path.exists() else None
    if there:
        # Taken apart by a reader that stumbles, the file would get keys again that it has.
        envfile.refuse_fatal(there)
    known = there.values if there else {}

    wanted = envfile.parse(text, example).values
    wanted |= {"UID": str(uid), "GID": str(gid)} if {"UID", "GID"} <= wanted.keys() else {}
    kept = []
    for key, kind in generated.items():
        earlier = _earlier_secret(secrets_dir, key)
        wanted[key] = earlier or GENERATORS[kind]()
        if earlier and key not in known:
            kept.append(key)
    if there is None:
        ports = [key for key in wanted if key.startswith("PORT_")] if free_ports else []
        wanted |= dict(zip(ports, free_port_numbers(len(ports)), strict=True))
        wanted |= settings or {}
        changes = {key: value for key, value in wanted.items() if value}
        _write(path, envfile.with_keys(text, changes), (uid, gid))
        return Written(path, True, tuple(wanted), tuple(kept))

    added = {key: value for key, value in wanted.items() if key not in known}
    # Keys that are there but empty are the user's choice, except secrets: an empty one starts nothing.
    added |= {key: wanted[key] for key in generated if not known.get(key)}
    if added:
        envfile.set_keys(path, added)
    return Written(path, False, tuple(added), tuple(kept))


def initialise(compose: Compose, *, free_ports: bool = False) -> Written:
    """Writes the stack's `.env` and what belongs beside it: the link for hand-typed commands, the build's mirrors."""
    from scripts import secretfiles

    path, root = compose.env_path, compose.root
    own = path != root / ".env"
    settings = _settings_of_second(compose) if own and not path.exists() else {}
    written = create(
        path,
        root / ".env.example",
        environment=compose.environment,
        # A second stack's secrets are its own.
        secrets_dir=None if own else root / ".docker-data" / "secrets",
        free_ports=free_ports,
        settings=settings,
    )
    compose.forget()
    if not own:
        link_beside_compose_files(root)
    if written.created:
        bundle = compose.environment.get("SSL_CERT_FILE", "")
        mirrors = secretfiles.write_build_environment(compose)
        changes = {"BUILD_CA_BUNDLE": bundle} if bundle and Path(bundle).is_file() else {}
        if mirrors:
            changes["BUILD_ENVIRONMENT_FILE"] = str(mirrors)
        envfile.set_keys(path, changes)
        compose.forget()
    return written


def _settings_of_second(compose: Compose) -> dict[str, str]:
    """What the `.env` of a second stack names besides, so that hand-typed commands find its folders too."""
    project = compose.environment.get("COMPOSE_PROJECT_NAME", "")
    folder = compose.root / ".docker-data" / (project or compose.env_path.parent.name)
    settings = {
        "DOCKER_DATA_DIR": str(folder),
        "SECRETS_DIR": str(folder / "secrets"),
        "STACK_ENV_FILE": str(compose.env_path.absolute()),
    }
    return settings | ({"COMPOSE_PROJECT_NAME": project} if project else {})


def tell(console: Console, written: Written, *, free_ports: bool) -> None:
    """Says what `initialise` did."""
    name = envfile.shown(written.path)
    if written.created:
        console.say(f"{name} written, mode 0600, secrets generated")
    elif written.added:
        console.say(f"{name} was there and is kept; added what it lacked: {', '.join(written.added)}")
    else:
        console.say(f"{name} was there and is kept as it is; nothing to add")
    if written.kept:
        console.say(f"taken over from the secret files of an earlier .env: {', '.join(written.kept)}")
    if free_ports and not written.created:
        console.warn("--free-ports is for a new file; the ports in this one are kept")


def generated_keys(example: str) -> dict[str, str]:
    """Keys of the example that want a generated value, with its kind."""
    keys: dict[str, str] = {}
    lines = example.splitlines()
    for mark, line in itertools.pairwise(lines):
        wanted, assignment = MARK.fullmatch(mark.strip()), envfile.ASSIGNMENT.match(line)
        if not wanted or not assignment:
            continue
        if wanted["kind"] not in GENERATORS:
            raise StackError(
                f".env.example asks for an unknown kind of value: {wanted['kind']}",
                f"use one of: {', '.join(GENERATORS)}",
                ExitCode.BUG,
            )
        keys[assignment["key"]] = wanted["kind"]
    return keys


def free_port_numbers(count: int) -> list[str]:
    """Numbers of `count` different TCP ports of the loopback that nobody listens on now."""
    with contextlib.ExitStack() as held:
        numbers = []
        for _ in range(count):
            # Held until all are found: the same one cannot come twice.
            listener = held.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            numbers.append(str(listener.getsockname()[1]))
        return numbers


def link_beside_compose_files(root: Path) -> None:
    """Makes docker/.env point to ../.env: Compose looks there when it is given `-f docker/...` by hand."""
    link = root / "docker" / ".env"
    if not link.exists() and not link.is_symlink() and link.parent.is_dir():
        link.symlink_to(Path("..") / ".env")


def _earlier_secret(folder: Path | None, key: str) -> str:
    if folder is None:
        return ""
    try:
        return (folder / key.lower()).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _write(path: Path, text: str, owner: tuple[int, int]) -> None:
    try:
        envfile.write_private(path, text, owner=owner)
    except OSError as error:
        raise StackError(
            f"{envfile.shown(path)} cannot be written: {error.strerror}",
            f"make the folder writable for yourself: {path.parent}",
        ) from error
