"""Write the stack's `.env` from `.env.example`, and its secrets; what the user has is never overwritten."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.base.console import Console
from scripts.base.errors import StackError, usage
from scripts.base.files import replace_if_changed, write
from scripts.base.host import free_port_numbers
from scripts.engine.compose import Compose
from scripts.prepare import build_environment, tree_settings
from scripts.prepare.tree_settings import Choice
from scripts.settings import env_editing, envfile, package_index, secret_files, setting_values
from scripts.settings.envfile import DEFAULT_PROJECT

DEFAULT_OWNER = 1000


@dataclass(frozen=True)
class Written:
    """What was done: the file created, or the keys added to one that was there; what was done about secrets."""

    path: Path
    created: bool
    added: tuple[str, ...]
    choices: tuple[Choice, ...]
    secrets: secret_files.Made


def owner_of_caller(environment: Mapping[str, str]) -> tuple[int, int]:
    """Return the UID and GID that containers run as: the caller's; behind sudo that person's; for root itself 1000."""
    uid, gid = os.getuid(), os.getgid()
    if uid != 0:
        return uid, gid
    with contextlib.suppress(KeyError, ValueError):
        uid, gid = int(environment["SUDO_UID"]), int(environment["SUDO_GID"])
    return (uid, gid) if uid != 0 else (DEFAULT_OWNER, DEFAULT_OWNER)


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
    example, path = compose.root / ".env.example", compose.env_path
    if not example.is_file():
        raise StackError(
            f"{envfile.display_path(example)} is missing", "get it back: git checkout -- .env.example"
        )
    owner = owner_of_caller(compose.environment)
    defaults = envfile.read(example).values
    defaults |= dict(zip(("UID", "GID"), map(str, owner), strict=True))
    constraints = compose.root / ".docker-data" / "constraints"
    choices = tree_settings.choose(tree, defaults, constraints) if tree else []
    choices += [Choice("WEPPPY_IMAGE", image, "the image you named", asked=True)] if image else []
    choices += _limits(compose.root, preset) if preset else []
    created = not path.exists()
    here: dict[str, str] = {}
    if not created:
        there = envfile.read(path)
        # Taken apart by a reader that stumbles, the file would get keys again that it has.
        envfile.refuse_fatal(there)
        here = there.values
    # The one thing of the shell's that is written: without it a later shell would name another stack.
    project = compose.environment.get("COMPOSE_PROJECT_NAME", "")
    setting_values.require(here | {"COMPOSE_PROJECT_NAME": project})
    added = {key: value for key, value in defaults.items() if key not in here}
    if created:
        added |= _ports(defaults) if free_ports else {}
        added |= _settings_of_second(compose) if path != compose.root / ".env" else {}
        added |= {"COMPOSE_PROJECT_NAME": project} if project else {}
        text = env_editing.with_keys(example.read_text(encoding="utf-8"), _filled(added))
        write(path, text, env_editing.PRIVATE, owner)
        compose.forget()
        env_editing.set_keys(path, _how_builds_reach_packages(compose))
    elif added:
        env_editing.set_keys(path, added)
    if path == compose.root / ".env":
        _link_beside_compose_files(compose.root)
    compose.forget()
    resolved = tree_settings.resolve(choices, compose.env.values, defaults)
    chosen = {each.key: each.value for each in resolved if not each.kept}
    if chosen.get(tree_settings.CONSTRAINTS_DIR) == str(constraints):
        constraints.mkdir(parents=True, exist_ok=True)
        replace_if_changed(constraints / tree_settings.CONSTRAINTS_NAME, tree_settings.CONSTRAINTS, 0o644)
    env_editing.set_keys(path, chosen)
    compose.forget()
    return Written(path, created, tuple(added), tuple(resolved), secret_files.ensure(compose))


def _filled(settings: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in settings.items() if value}


def _ports(defaults: Mapping[str, str]) -> dict[str, str]:
    """Return a port that is free now for every PORT_ key."""
    keys = [key for key in defaults if key.startswith("PORT_")]
    return dict(zip(keys, free_port_numbers(len(keys)), strict=True))


def _how_builds_reach_packages(compose: Compose) -> dict[str, str]:
    bundle, mirrors = package_index.ca_bundle(compose.environment), build_environment.write(compose)
    found = {"BUILD_CA_BUNDLE": str(bundle or ""), "BUILD_ENVIRONMENT_FILE": str(mirrors or "")}
    return _filled(found)


def _limits(root: Path, preset: str) -> list[Choice]:
    """Return the settings of a preset."""
    file = root / "docker" / f"limits-{preset}.env"
    if not file.is_file():
        names = [each.stem.removeprefix("limits-") for each in sorted((root / "docker").glob("limits-*.env"))]
        usage(f"there is no preset {preset}", f"choose from: {', '.join(names) or '(none)'}")
    return [Choice(key, value, f"preset {preset}") for key, value in envfile.read(file).values.items()]


def _settings_of_second(compose: Compose) -> dict[str, str]:
    """Return what the `.env` of a second stack names besides, so that hand-typed commands find its folders too."""
    path = compose.env_path.absolute()
    # A project name for one that was given none: the first one's would share its data.
    stem = path.name.removeprefix(".env").strip(".") or path.parent.name
    words = re.sub(r"[^a-z0-9]+", "-", stem.removesuffix(".env").lower()).strip("-")
    project = compose.environment.get("COMPOSE_PROJECT_NAME") or f"{DEFAULT_PROJECT}-{words or 'second'}"
    folder = compose.folder_of_second(project)
    return {
        "COMPOSE_PROJECT_NAME": project,
        "DOCKER_DATA_DIR": str(folder),
        "SECRETS_DIR": str(folder / "secrets"),
        "STACK_ENV_FILE": str(path),
    }


def tell(console: Console, written: Written, *, free_ports: bool) -> None:
    """Say what `initialise` did; as one JSON document where that is wanted."""
    settings = [
        {"key": each.key, "value": each.kept or each.value, "chosen": not each.kept, "why": each.reason}
        for each in written.choices
    ]
    if console.as_json:
        made = {**asdict(written.secrets), "folder": str(written.secrets.folder)}
        document = {"ok": True, "path": str(written.path), "created": written.created}
        console.document({**document, "added": list(written.added), "settings": settings, "secrets": made})
        return
    name = envfile.display_path(written.path)
    if written.created:
        console.say(f"{name} written, mode 0600")
    elif written.added:
        console.say(f"{name} was there and is kept; added what it lacked: {', '.join(written.added)}")
    else:
        console.say(f"{name} was there and is kept as it is; nothing to add")
    if written.choices:
        rows = [[each.key, each.kept or each.value, each.reason] for each in written.choices]
        console.table(["setting", "value", "why"], rows)
        if any(each.key == "WEPPPY_SRC" and each.value for each in written.choices):
            console.say("what the checkout lacks: invoke source-check")
    secret_files.tell(console, written.secrets)
    secret_files.tell_kept(console, written.secrets)
    if free_ports and not written.created:
        console.warn("--free-ports is for a new file; the ports in this one are kept")


def _link_beside_compose_files(root: Path) -> None:
    """Make docker/.env point to ../.env: Compose looks there when it is given `-f docker/...` by hand."""
    link = root / "docker" / ".env"
    if not link.exists() and not link.is_symlink() and link.parent.is_dir():
        link.symlink_to(Path("..") / ".env")
