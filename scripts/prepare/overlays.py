"""Choose the optional compose files: those that `.env` lists in COMPOSE_FILE, and those of this run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from scripts.base.console import Console
from scripts.base.errors import StackError
from scripts.engine.compose import DEFAULT_FILE, Compose
from scripts.prepare import source_mounts
from scripts.settings import env_editing, secret_files, secret_ids
from scripts.settings.envfile import holds_sample

# A store that somebody else runs, by the setting that says where; its value where the stack's own is used.
EXTERNAL_STORES = {
    "docker/docker-compose.external-postgres.yml": ("POSTGRES_HOST", "postgres"),
    "docker/docker-compose.external-redis.yml": ("REDIS_HOST", "redis"),
}
# Opens the stores to workers on other hosts, at that address.
ADDRESS = "WORKER_ADDRESS"
# The settings of a real tree that choose files.
TREE, IMAGE, OPEN_FILES = "WEPPPY_SRC", "WEPPPY_IMAGE", "WORKER_NOFILE"
# The settings that choose a file and that a caller may export.
KEYS = (*(key for key, _ in EXTERNAL_STORES.values()), TREE, IMAGE, OPEN_FILES, ADDRESS)
# The sidecar's way to whoever watches over the backups; its address is a secret and not shown.
HOOK_FILE, HOOK = "docker/docker-compose.backup-hook.yml", secret_ids.HOOK
HOSTS_FILE = "docker/docker-compose.worker-hosts.yml"
PRODUCTION_FILE = "docker/docker-compose.prod.yml"
BASE_FILES = (DEFAULT_FILE, PRODUCTION_FILE)
# Those of a real tree.
WEPPPY = "docker/docker-compose.wepppy"
TREE_FILE, DEV_FILE, PROD_FILE = f"{WEPPPY}.yml", f"{WEPPPY}-dev.yml", f"{WEPPPY}-prod.yml"
IMAGE_FILE, OPEN_FILES_FILE = f"{WEPPPY}-image.yml", f"{WEPPPY}-open-files.yml"
# Which an `.env` of an earlier release may list.
GONE = ("docker/docker-compose.fast-start.yml", f"{WEPPPY}-fast-start.yml")


def real_tree(root: Path, named: str) -> Path | None:
    """Return the checkout that WEPPPY_SRC names; None for the sample, and for a copy of it."""
    if not named:
        return None
    # As Compose does it: relative to the first compose file.
    tree = Path(os.path.normpath(root / "docker" / named))
    return None if holds_sample(tree) else tree


def wanted(
    settings: Mapping[str, str], *, production: bool = False, tree: Path | None = None
) -> dict[str, tuple[bool, str]]:
    """For each overlay whether it belongs in the list, and why; each amends the ones before it.

    tree: the real checkout, None for the sample.
    """
    choice = dict.fromkeys(GONE, (False, "all health checks begin quickly now"))
    real = tree is not None
    source = f"{TREE} is {tree}" if real else "the tree is the sample"
    mode = "production" if production else "development"
    choice[TREE_FILE] = (real, source)
    choice[DEV_FILE] = (real and not production, f"{source}, in {mode}")
    choice[PROD_FILE] = (real and production, f"{source}, in {mode}")
    choice[IMAGE_FILE] = (real and bool(settings.get(IMAGE)), f"{IMAGE} is {settings.get(IMAGE) or 'empty'}")
    choice[source_mounts.NAME] = (real and not production, f"{source}, in {mode}")
    files = settings.get(OPEN_FILES)
    choice[OPEN_FILES_FILE] = (real and bool(files), f"{OPEN_FILES} is {files or 'empty'}")
    for name, (key, own) in EXTERNAL_STORES.items():
        where = settings.get(key) or own
        choice[name] = (where != own, f"{key} is {where}")
    hook = bool(settings.get(HOOK))
    choice[HOOK_FILE] = (hook, f"the secret file {HOOK} is {'filled' if hook else 'empty'}")
    address = settings.get(ADDRESS)
    choice[HOSTS_FILE] = (bool(address), f"{ADDRESS} is {address or 'empty'}")
    return choice


def chosen(files: Sequence[str], choice: Mapping[str, tuple[bool, str]], present: Sequence[str]) -> list[str]:
    """Return the files without the overlays of the choice, and behind this kit's base file those wanted and present."""
    others = [name for name in files if name not in choice]
    overlays = [name for name, (yes, _) in choice.items() if yes and name in present]
    place = next((n for n, name in enumerate(others, 1) if name in BASE_FILES), len(others))
    return [*others[:place], *overlays, *others[place:]]


def choose(compose: Compose, console: Console) -> None:
    """Write to `.env` the list that its own settings ask for; leave a COMPOSE_FILE of the caller's alone."""
    if "COMPOSE_FILE" in compose.environment:
        return
    # What the caller exports is for this run: see `follow`.
    settings = {key: compose.env.get(key) for key in KEYS}
    settings[HOOK] = secret_files.value(compose, HOOK)
    before, after, choice = _decide(compose, settings)
    if after != before:
        for name, (_, reason) in choice.items():
            if (name in after) != (name in before):
                console.say(f"{name} {'added' if name in after else 'removed'} in COMPOSE_FILE: {reason}")
        env_editing.set_keys(compose.env_path, {"COMPOSE_FILE": _joined(compose, after)})
        compose.forget()
    follow(compose)
    tree = real_tree(compose.root, compose.setting(TREE))
    if tree is not None and any(Path(name).name == source_mounts.NAME for name in compose.files):
        source_mounts.write(compose, tree)


def follow(compose: Compose) -> None:
    """Let this run use the files that exported settings ask for: they stand over `.env`, which stays as it is."""
    compose.overrides.pop("COMPOSE_FILE", None)
    exported = {key: compose.setting(key) for key in KEYS if key in compose.environment}
    if "COMPOSE_FILE" in compose.environment or not exported or not compose.env_path.exists():
        return
    # An unusable `.env` is told by whoever needs it.
    with contextlib.suppress(StackError):
        settings = {key: exported.get(key, compose.env.get(key)) for key in KEYS}
        settings[HOOK] = HOOK_FILE if HOOK_FILE in compose.listed_files else ""
        before, after, _ = _decide(compose, settings)
        if after != before:
            compose.overrides["COMPOSE_FILE"] = _joined(compose, after)


def _decide(
    compose: Compose, settings: Mapping[str, str]
) -> tuple[list[str], list[str], dict[str, tuple[bool, str]]]:
    """Return the files that `.env` lists and those that it should, the source mounts by name alone, and all choices."""
    mounts = source_mounts.NAME
    before = [mounts if Path(name).name == mounts else name for name in compose.listed_files]
    tree = real_tree(compose.root, settings.get(TREE, ""))
    choice = wanted(settings, production=PRODUCTION_FILE in before, tree=tree)
    # The file of the source mounts is written when it is needed.
    present = [name for name in choice if name == mounts or (compose.root / name).is_file()]
    return before, chosen(before, choice, present), choice


def _joined(compose: Compose, names: Iterable[str]) -> str:
    """Return COMPOSE_FILE: names relative to the repository's root where the files are below it."""
    path = compose.data_dir / source_mounts.NAME
    shown = str(path.relative_to(compose.root)) if path.is_relative_to(compose.root) else str(path)
    return ":".join(shown if name == source_mounts.NAME else name for name in names)
