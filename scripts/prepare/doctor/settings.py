"""Check what this checkout and its `.env` say: the file itself, its keys, the source tree it names."""

from __future__ import annotations

import re
from collections.abc import Iterator

from scripts.engine.catalogue import Catalogue
from scripts.engine.compose import Compose
from scripts.prepare import overlays
from scripts.prepare.finding import Check, Finding, Level, Target
from scripts.settings import envfile, secret_files, secret_ids, setting_values

# What Compose itself reads.
COMPOSES_OWN = {"COMPOSE_FILE", "COMPOSE_PATH_SEPARATOR", "COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME"}
# Settings whose values are not shown.
HIDDEN = re.compile(r"PASSWORD|SECRET|TOKEN|KEY|SALT|URL")
# How compose files ask for a setting.
INTERPOLATED = re.compile(r"\$\{([A-Z][A-Z0-9_]*)")


def check_settings(target: Target) -> Iterator[Finding]:
    """`.env` is there, private, well-formed, and means the same to all its readers."""
    path = target.compose.env_path
    env = envfile.read(path)
    name = envfile.display_path(path)
    sound = True
    for problem in env.problems:
        level = Level.ERROR if problem.fatal else Level.WARNING
        yield Finding("settings", f"{name} line {problem.line} {problem.what}", problem.fix, level)
        sound = sound and not problem.fatal
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        yield Finding(
            "settings", f"{name} is open to others (mode {mode:04o})", f"chmod 600 {name}", Level.WARNING
        )
    if sound:
        yield Finding("settings", f"{name}, {len(env.values)} keys", level=Level.OK)


def check_keys(target: Target) -> Iterator[Finding]:
    """Keys that nothing reads (a typing error, mostly), and keys that an update of the stack brought."""
    example_path = target.compose.root / ".env.example"
    if not example_path.is_file():
        return
    example, values = envfile.read(example_path).values, target.compose.env.values
    name = envfile.display_path(target.compose.env_path)
    # A real tree reads settings of its own from the same file; only the sample's are all known.
    if not values.get("WEPPPY_SRC"):
        known = example.keys() | _read_by_compose(target.compose) | secret_ids.BY_KEY.keys()
        unknown = sorted(values.keys() - known)
        if unknown:
            yield Finding(
                "settings",
                f"{name} has keys that neither .env.example nor a compose file knows: {', '.join(unknown)}",
                "correct the spelling or delete them",
                Level.WARNING,
            )
    new = sorted(example.keys() - values.keys())
    if new:
        yield Finding(
            "settings",
            f"{name} lacks keys that are new in .env.example: {', '.join(new)}",
            "invoke env-init adds them",
            Level.WARNING,
        )


def check_values(target: Target) -> Iterator[Finding]:
    """Values can work, those that the caller exports over `.env` among them."""
    compose = target.compose
    for problem in setting_values.problems({key: compose.setting(key) for key in compose.env.values}):
        yield Finding("settings", problem.what, problem.fix)


def check_exported(target: Target) -> Iterator[Finding]:
    """No variable that the caller exports stands over `.env` unnoticed: for Compose it counts, in every task."""
    compose = target.compose
    env, name = compose.env.values, envfile.display_path(compose.env_path)
    read = _read_by_compose(compose) | env.keys()
    # Secrets are files, whatever is exported under their older names.
    for key in sorted(read & compose.environment.keys() - secret_ids.BY_KEY.keys()):
        here, exported = env.get(key, ""), compose.environment[key]
        if exported == here:
            continue
        if HIDDEN.search(key):
            what = f"{key} is exported and stands over {name}, which has another value{_consequence(key)}"
        else:
            what = f"{key}={exported} is exported and stands over {key}={here} in {name}{_consequence(key)}"
        yield Finding("environment", what, f"unset {key}, or set it in {name} for good", Level.WARNING)


def _read_by_compose(compose: Compose) -> set[str]:
    """Return the settings that Compose and the compose files read."""
    files = (compose.root / "docker").glob("docker-compose.*.yml")
    return COMPOSES_OWN.union(*(INTERPOLATED.findall(file.read_text(encoding="utf-8")) for file in files))


def _consequence(key: str) -> str:
    """Return what an exported value of the setting changes, as the rest of a sentence."""
    if key == "COMPOSE_PROJECT_NAME":
        return ": this is another stack, with containers, volumes and data of its own"
    if key in overlays.KEYS:
        return ": tasks of this shell do not start the stack's own store and use the one named"
    if key in ("COMPOSE_FILE", "COMPOSE_PROFILES"):
        return ": tasks of this shell see other services"
    if key in ("DOCKER_DATA_DIR", "SECRETS_DIR", "WC1_DIR", "GEODATA_DIR"):
        return ": containers that this shell starts get another folder"
    return ": containers that this shell starts get it"


def check_secrets(target: Target) -> Iterator[Finding]:
    """The folder of secrets is private, and the only place of their values."""
    compose = target.compose
    folder = compose.secrets_dir
    if folder.is_dir() and folder.stat().st_mode & 0o077:
        what = f"{envfile.display_path(folder)} is open to others (mode {folder.stat().st_mode & 0o777:04o})"
        yield Finding("secrets", what, f"chmod 700 {envfile.display_path(folder)}", Level.WARNING)
    name = envfile.display_path(compose.env_path)
    for key in compose.env.values.keys() & secret_ids.BY_KEY.keys():
        yield Finding("secrets", *_duplicate(compose, key, name), level=Level.WARNING)


def _duplicate(compose: Compose, key: str, env_name: str) -> tuple[str, str]:
    """Return what to say of a secret in `.env`, and the fix."""
    path = compose.secrets_dir / secret_ids.BY_KEY[key].id
    here, named = secret_files.read(path), compose.env.get(key)
    if not here or not named or here == named:
        return (
            f"{key} stands in {env_name}; secrets are files now",
            "run `invoke env-init`, it moves the value",
        )
    what = f"{key} in {env_name} is another value than the file {envfile.display_path(path)}, which counts"
    if path.name == secret_ids.ADMIN:
        return what, (
            f"delete the line; for another password write it into the file, then: docker compose exec -T weppcloud "
            f"flask set-user admin@example.org < {envfile.display_path(path)}"
        )
    if path.name == secret_ids.DATABASE:
        return what, "delete the line; for another password run `invoke db-rotate-password`"
    return what, "delete the line, or write its value into the file, then run `invoke compose-up`"


def check_profiles(target: Target) -> Iterator[Finding]:
    """The profiles that are switched on exist."""
    Catalogue.of(target.compose.model).check_profiles(target.compose.active_profiles)
    yield from ()


def check_source_tree(target: Target) -> Iterator[Finding]:
    """The source tree has what the services need, see `invoke source-check`."""
    from scripts.prepare.source_check import checks

    yield from checks.findings(target.compose)


CHECKS: list[Check] = [check_settings, check_keys, check_values, check_exported]
MODEL_CHECKS: list[Check] = [check_secrets, check_profiles, check_source_tree]
