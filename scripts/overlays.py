"""Owns which optional compose files are listed in COMPOSE_FILE of `.env`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scripts import envfile
from scripts.compose import Compose
from scripts.console import Console
from scripts.doctor_engine import FAST_START_API, FAST_START_FILE

# A store that somebody else runs, by the setting that says where; its value where the stack's own is used.
EXTERNAL_STORES = {
    "docker/docker-compose.external-postgres.yml": ("POSTGRES_HOST", "postgres"),
    "docker/docker-compose.external-redis.yml": ("REDIS_HOST", "redis"),
}
# The sidecar's way to whoever watches over the backups; its address is a secret and not shown.
HOOK_FILE, HOOK = "docker/docker-compose.backup-hook.yml", "BACKUP_HOOK_URL"


def wanted(settings: Mapping[str, str], api: tuple[int, int]) -> dict[str, tuple[bool, str]]:
    """For each overlay whether it belongs in the list, and why. An unknown API (0, 0) decides nothing."""
    choice: dict[str, tuple[bool, str]] = {}
    for name, (key, own) in EXTERNAL_STORES.items():
        where = settings.get(key) or own
        choice[name] = (where != own, f"{key} is {where}")
    hook = bool(settings.get(HOOK))
    choice[HOOK_FILE] = (hook, f"{HOOK} is {'set' if hook else 'empty'}")
    if api != (0, 0):
        choice[FAST_START_FILE] = (
            api >= FAST_START_API,
            "the engine decides whether quick first probes work",
        )
    return choice


def chosen(files: Sequence[str], choice: Mapping[str, tuple[bool, str]], present: Sequence[str]) -> list[str]:
    """The files with each overlay that is wanted and present, without those that are not; others as they are."""
    kept = [
        name for name in files if choice.get(name, (True, ""))[0] and (name not in choice or name in present)
    ]
    added = [name for name, (yes, _) in choice.items() if yes and name in present and name not in kept]
    return [*kept, *added]


def choose(compose: Compose, console: Console) -> None:
    """Writes the right list to `.env`; leaves a COMPOSE_FILE of the caller's environment alone."""
    if "COMPOSE_FILE" in compose.environment:
        return
    settings = {key: compose.setting(key) for key, _ in EXTERNAL_STORES.values()}
    # As with every secret, `.env` alone counts.
    settings[HOOK] = compose.env.get(HOOK)
    choice = wanted(settings, compose.engine.api_version())
    present = [name for name in choice if (compose.root / name).is_file()]
    before = compose.files
    after = chosen(before, choice, present)
    if after == before:
        return
    for name, (_, reason) in choice.items():
        if (name in after) != (name in before):
            console.say(f"{name} {'added' if name in after else 'removed'} in COMPOSE_FILE: {reason}")
    envfile.set_keys(compose.env_path, {"COMPOSE_FILE": ":".join(after)})
    compose.forget()
