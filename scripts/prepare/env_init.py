"""Write the stack's `.env` from `.env.example`, and its secrets; what the user has is never overwritten."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from scripts.base.console import Console
from scripts.base.errors import ExitCode, StackError
from scripts.base.files import replace_if_changed
from scripts.base.host import free_port_numbers
from scripts.engine.compose import Compose
from scripts.prepare import build_environment, tree_settings
from scripts.prepare.tree_settings import Choice
from scripts.settings import env_editing, env_syntax, envfile, package_index, secret_files, setting_values
from scripts.settings.envfile import DEFAULT_PROJECT

DEFAULT_OWNER = 1000


@dataclass(frozen=True)
class Written:
    """What was done: the file created, or the keys added to one that was there; what was done about secrets."""

    path: Path
    created: bool
    added: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    secrets: secret_files.Made | None = None


def owner_of_caller(environment: Mapping[str, str]) -> tuple[int, int]:
    """Return the UID and GID that containers run as: the caller's; behind sudo that person's; for root itself 1000."""
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
    free_ports: bool = False,
    settings: Mapping[str, str] | None = None,
) -> Written:
    """Write `path` from `example`, or add to it the keys that are new in the example.

    free_ports: give every PORT_ key of a new file a port that is free now. settings: values for a new file.
    Raise StackError when the example is missing or the folder cannot be written.
    """
    if not example.is_file():
        raise StackError(
            f"{envfile.display_path(example)} is missing", "get it back: git checkout -- .env.example"
        )
    text = example.read_text(encoding="utf-8")
    uid, gid = owner_of_caller(environment)
    there = envfile.read(path) if path.exists() else None
    if there:
        # Taken apart by a reader that stumbles, the file would get keys again that it has.
        envfile.refuse_fatal(there)
    known = there.values if there else {}

    wanted = env_syntax.parse(text, example).values
    wanted |= {"UID": str(uid), "GID": str(gid)} if {"UID", "GID"} <= wanted.keys() else {}
    if there is None:
        ports = [key for key in wanted if key.startswith("PORT_")] if free_ports else []
        wanted |= dict(zip(ports, free_port_numbers(len(ports)), strict=True))
        wanted |= settings or {}
        changes = {key: value for key, value in wanted.items() if value}
        _write(path, env_editing.with_keys(text, changes), (uid, gid))
        return Written(path, True, tuple(wanted))

    added = {key: value for key, value in wanted.items() if key not in known}
    if added:
        env_editing.set_keys(path, added)
    return Written(path, False, tuple(added))


def initialise(
    compose: Compose,
    *,
    free_ports: bool = False,
    tree: Path | None = None,
    image: str = "",
    preset: str = "",
) -> Written:
    """Write the stack's `.env` and what belongs beside it: secrets, the link for hand-typed commands, mirrors.

    tree: a wepppy checkout whose settings are written where the user has none. image: the Python image that its
    Dockerfile built. preset: a name among docker/limits-NAME.env. Raise StackError when the tree is no checkout, the
    preset is unknown, a value cannot work or a file cannot be written.
    """
    example = compose.root / ".env.example"
    choices = []
    constraints = compose.root / ".docker-data" / "constraints"
    if tree:
        choices = tree_settings.choose(tree, envfile.read(example).values, constraints)
    choices += [Choice("WEPPPY_IMAGE", image, "the image you named", asked=True)] if image else []
    choices += _limits(compose.root, preset) if preset else []
    path, root = compose.env_path, compose.root
    own = path != root / ".env"
    setting_values.require(_values_that_count(compose))
    settings = _settings_of_second(compose) if own and not path.exists() else {}
    if project := compose.environment.get("COMPOSE_PROJECT_NAME", ""):
        # The one thing of the shell's that is written: without it a later shell would name another stack.
        settings |= {"COMPOSE_PROJECT_NAME": project}
    written = create(
        path,
        root / ".env.example",
        environment=compose.environment,
        free_ports=free_ports,
        settings=settings,
    )
    compose.forget()
    if not own:
        link_beside_compose_files(root)
    if written.created:
        bundle = package_index.ca_bundle(compose.environment)
        mirrors = build_environment.write(compose)
        changes = {"BUILD_CA_BUNDLE": str(bundle)} if bundle else {}
        if mirrors:
            changes["BUILD_ENVIRONMENT_FILE"] = str(mirrors)
        env_editing.set_keys(path, changes)
        compose.forget()
    defaults = envfile.read(example).values
    uid, gid = owner_of_caller(compose.environment)
    defaults |= {"UID": str(uid), "GID": str(gid)}
    resolved = tree_settings.resolve(choices, compose.env.values, defaults)
    chosen = {each.key: each.value for each in resolved if not each.kept}
    if chosen.get(tree_settings.CONSTRAINTS_DIR) == str(constraints):
        constraints.mkdir(parents=True, exist_ok=True)
        replace_if_changed(constraints / tree_settings.CONSTRAINTS_NAME, tree_settings.CONSTRAINTS, 0o644)
    env_editing.set_keys(path, chosen)
    compose.forget()
    return replace(written, choices=tuple(resolved), secrets=secret_files.ensure(compose))


def _values_that_count(compose: Compose) -> dict[str, str]:
    """Return what `.env` says, if it is there, and the project's name that the shell exports."""
    values = dict(envfile.read(compose.env_path).values) if compose.env_path.exists() else {}
    return values | {"COMPOSE_PROJECT_NAME": compose.environment.get("COMPOSE_PROJECT_NAME", "")}


def _limits(root: Path, preset: str) -> list[Choice]:
    """Return the settings of a preset."""
    names = {
        path.stem.removeprefix("limits-"): path for path in sorted((root / "docker").glob("limits-*.env"))
    }
    if preset not in names:
        raise StackError(
            f"there is no preset {preset}", f"choose from: {', '.join(names) or '(none)'}", ExitCode.USAGE
        )
    return [
        Choice(key, value, f"preset {preset}") for key, value in envfile.read(names[preset]).values.items()
    ]


def name_of_second(path: Path) -> str:
    """Return a project name for a second stack that was given none: the first one's would share its data."""
    stem = path.name.removeprefix(".env").strip(".") or path.absolute().parent.name
    words = re.sub(r"[^a-z0-9]+", "-", stem.removesuffix(".env").lower()).strip("-")
    return f"{DEFAULT_PROJECT}-{words or 'second'}"


def _settings_of_second(compose: Compose) -> dict[str, str]:
    """Return what the `.env` of a second stack names besides, so that hand-typed commands find its folders too."""
    project = compose.environment.get("COMPOSE_PROJECT_NAME") or name_of_second(compose.env_path)
    folder = compose.folder_of_second(project)
    return {
        "COMPOSE_PROJECT_NAME": project,
        "DOCKER_DATA_DIR": str(folder),
        "SECRETS_DIR": str(folder / "secrets"),
        "STACK_ENV_FILE": str(compose.env_path.absolute()),
    }


def tell(console: Console, written: Written, *, free_ports: bool) -> None:
    """Say what `initialise` did; as one JSON document where that is wanted."""
    if console.as_json:
        console.document(_document(written))
        return
    name = envfile.display_path(written.path)
    if written.created:
        console.say(f"{name} written, mode 0600")
    elif written.added:
        console.say(f"{name} was there and is kept; added what it lacked: {', '.join(written.added)}")
    else:
        console.say(f"{name} was there and is kept as it is; nothing to add")
    if written.choices:
        console.table(
            ["setting", "value", "why"],
            [[each.key, each.kept or each.value, each.reason] for each in written.choices],
        )
        if any(each.key == "WEPPPY_SRC" and each.value for each in written.choices):
            console.say("what the checkout lacks: invoke source-check")
    if written.secrets:
        secret_files.tell(console, written.secrets)
        secret_files.tell_kept(console, written.secrets)
    if free_ports and not written.created:
        console.warn("--free-ports is for a new file; the ports in this one are kept")


def _document(written: Written) -> dict[str, object]:
    made = written.secrets
    return {
        "ok": True,
        "path": str(written.path),
        "created": written.created,
        "added": list(written.added),
        "settings": [
            {"key": each.key, "value": each.kept or each.value, "chosen": not each.kept, "why": each.reason}
            for each in written.choices
        ],
        "secrets": {**asdict(made), "folder": str(made.folder)} if made else {},
    }


def link_beside_compose_files(root: Path) -> None:
    """Make docker/.env point to ../.env: Compose looks there when it is given `-f docker/...` by hand."""
    link = root / "docker" / ".env"
    if not link.exists() and not link.is_symlink() and link.parent.is_dir():
        link.symlink_to(Path("..") / ".env")


def _write(path: Path, text: str, owner: tuple[int, int]) -> None:
    try:
        env_editing.write_private(path, text, owner=owner)
    except OSError as error:
        raise StackError(
            f"{envfile.display_path(path)} cannot be written: {error.strerror}",
            f"make the folder writable for yourself: {path.parent}",
        ) from error
