"""Choose the optional compose files: those that `.env` lists in COMPOSE_FILE, and those of this run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from scripts.base.console import Console
from scripts.base.errors import StackError
from scripts.engine.compose import Compose
from scripts.prepare import source_mounts
from scripts.settings import env_editing, secret_files, secret_ids

# Health checks with a quicker start are refused below it (moby/moby#48874).
FAST_START_API = (1, 44)
FAST_START_FILE = "docker/docker-compose.fast-start.yml"
# A store that somebody else runs, by the setting that says where; its value where the stack's own is used.
EXTERNAL_STORES = {
    "docker/docker-compose.external-postgres.yml": ("POSTGRES_HOST", "postgres"),
    "docker/docker-compose.external-redis.yml": ("REDIS_HOST", "redis"),
}
# The settings of a real tree that choose files.
TREE, IMAGE, OPEN_FILES = "WEPPPY_SRC", "WEPPPY_IMAGE", "WORKER_NOFILE"
STORE_KEYS = tuple(key for key, _ in EXTERNAL_STORES.values())
# The settings that choose a file and that a caller may export.
KEYS = (*STORE_KEYS, TREE, IMAGE, OPEN_FILES)
# The sidecar's way to whoever watches over the backups; its address is a secret and not shown.
HOOK_FILE, HOOK = "docker/docker-compose.backup-hook.yml", secret_ids.HOOK
PRODUCTION_FILE = "docker/docker-compose.prod.yml"
SIGN_OF_THE_SAMPLE = Path("wepppy") / "sample_data"
# Those of a real tree, in the order that they must be listed in: each amends the ones before it.
WEPPPY = "docker/docker-compose.wepppy"
TREE_FILE, DEV_FILE, PROD_FILE = f"{WEPPPY}.yml", f"{WEPPPY}-dev.yml", f"{WEPPPY}-prod.yml"
IMAGE_FILE, OPEN_FILES_FILE, TREE_FAST_START = (
    f"{WEPPPY}-image.yml",
    f"{WEPPPY}-open-files.yml",
    f"{WEPPPY}-fast-start.yml",
)
TREE_FILES = (
    TREE_FILE,
    DEV_FILE,
    PROD_FILE,
    IMAGE_FILE,
    source_mounts.NAME,
    OPEN_FILES_FILE,
    TREE_FAST_START,
)


def real_tree(root: Path, named: str) -> Path | None:
    """Return the checkout that WEPPPY_SRC names; None for the sample, and for a copy of it."""
    if not named:
        return None
    # As Compose does it: relative to the first compose file.
    tree = Path(os.path.normpath(root / "docker" / named))
    return None if (tree / SIGN_OF_THE_SAMPLE).is_dir() else tree


def wanted(
    settings: Mapping[str, str], api: tuple[int, int], *, production: bool = False, tree: Path | None = None
) -> dict[str, tuple[bool, str]]:
    """For each overlay whether it belongs in the list, and why. An unknown API (0, 0) decides nothing.

    tree: the real checkout, None for the sample.
    """
    choice: dict[str, tuple[bool, str]] = {}
    for name, (key, own) in EXTERNAL_STORES.items():
        where = settings.get(key) or own
        choice[name] = (where != own, f"{key} is {where}")
    if HOOK in settings:
        hook = bool(settings[HOOK])
        choice[HOOK_FILE] = (hook, f"the secret file {HOOK} is {'filled' if hook else 'empty'}")
    if api != (0, 0):
        choice[FAST_START_FILE] = (
            api >= FAST_START_API,
            "the engine decides whether quick first probes work",
        )
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
    if api != (0, 0) or not real:
        choice[TREE_FAST_START] = (real and api >= FAST_START_API, source)
    return choice


def chosen(files: Sequence[str], choice: Mapping[str, tuple[bool, str]], present: Sequence[str]) -> list[str]:
    """Return the files with each overlay that is wanted and present, without those that are not; others as they are."""
    kept = [
        name for name in files if choice.get(name, (True, ""))[0] and (name not in choice or name in present)
    ]
    added = [name for name, (yes, _) in choice.items() if yes and name in present and name not in kept]
    listed = [*kept, *added]
    ordered = iter(sorted((name for name in listed if name in TREE_FILES), key=TREE_FILES.index))
    return [next(ordered) if name in TREE_FILES else name for name in listed]


def choose(compose: Compose, console: Console) -> None:
    """Write to `.env` the list that its own settings ask for; leave a COMPOSE_FILE of the caller's alone."""
    if "COMPOSE_FILE" in compose.environment:
        return
    # What the caller exports is for this run: see `follow`.
    settings = {key: compose.env.get(key) for key in KEYS}
    settings[HOOK] = secret_files.value(compose, HOOK)
    before = _plain(compose)
    choice = _choice(compose, settings, before, compose.engine.api_version())
    after = chosen(before, choice, _present(compose, choice))
    if after != before:
        for name, (_, reason) in choice.items():
            if (name in after) != (name in before):
                console.say(f"{name} {'added' if name in after else 'removed'} in COMPOSE_FILE: {reason}")
        env_editing.set_keys(compose.env_path, {"COMPOSE_FILE": ":".join(_real(compose, after))})
        compose.forget()
    follow(compose)
    _write_source_mounts(compose)


def follow(compose: Compose) -> None:
    """Let this run use the files that exported settings ask for: they stand over `.env`, which stays as it is."""
    compose.overrides.pop("COMPOSE_FILE", None)
    exported = {key: compose.setting(key) for key in KEYS if key in compose.environment}
    if "COMPOSE_FILE" in compose.environment or not exported or not compose.env_path.exists():
        return
    try:
        listed = _plain(compose)
        settings = {key: exported.get(key, compose.env.get(key)) for key in KEYS}
        choice = _choice(compose, settings, listed, (0, 0))
    except StackError:
        # An unusable `.env` is told by whoever needs it.
        return
    files = chosen(listed, choice, _present(compose, choice))
    if files != listed:
        compose.overrides["COMPOSE_FILE"] = ":".join(_real(compose, files))


def _choice(
    compose: Compose, settings: Mapping[str, str], listed: Sequence[str], api: tuple[int, int]
) -> dict[str, tuple[bool, str]]:
    tree = real_tree(compose.root, settings.get(TREE, ""))
    return wanted(settings, api, production=PRODUCTION_FILE in listed, tree=tree)


def _write_source_mounts(compose: Compose) -> None:
    """Write the file of what is mounted of the checkout when it is listed."""
    tree = real_tree(compose.root, compose.setting(TREE))
    if tree is not None and any(Path(name).name == source_mounts.NAME for name in compose.files):
        source_mounts.write(compose, tree)


def _plain(compose: Compose) -> list[str]:
    """Return the listed files, that of the source mounts by its name alone."""
    return [
        source_mounts.NAME if Path(name).name == source_mounts.NAME else name for name in compose.listed_files
    ]


def _real(compose: Compose, names: Iterable[str]) -> list[str]:
    """Return the files as COMPOSE_FILE has them: relative to the repository's root where they are below it."""
    path = compose.data_dir / source_mounts.NAME
    shown = str(path.relative_to(compose.root)) if path.is_relative_to(compose.root) else str(path)
    return [shown if name == source_mounts.NAME else name for name in names]


def _present(compose: Compose, names: Iterable[str]) -> list[str]:
    """Return the overlays that are there; the one of the source mounts is written when it is needed."""
    return [name for name in names if name == source_mounts.NAME or (compose.root / name).is_file()]
