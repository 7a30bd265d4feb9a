"""Recognise whose project it is before anything is changed: this checkout's with this `.env`, or somebody else's.

Every fresh clone has the same default project name, and the engine knows projects by their names alone. Containers tell
the folder and the settings file that they were made from. Volumes of a stack that is down tell neither: a checkout
writes down which ones it has seen, and where it has seen none of them, the database in them must take its password.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from scripts.base.errors import ExitCode, StackError, refuse
from scripts.base.files import read_state, write_state
from scripts.engine.compose import Compose
from scripts.engine.container import Container
from scripts.engine.database_server import VOLUME
from scripts.engine.docker import PROJECT_LABEL
from scripts.prepare.images import chosen_images
from scripts.settings import scram, secret_ids
from scripts.settings.envfile import DEFAULT_PROJECT, display_path

# What a `compose-up` that ended well writes down in the data folder.
LAST_UP = "last-up.json"
SEEN_VOLUMES = "volumes.json"
LOOK_SECONDS = 60.0
EMPTY = "no database"
# Prints the passwords' verifiers that the files of a database hold, whatever their major and the server's state.
LOOK = (
    f"test -n \"$(find /files -name PG_VERSION)\" || echo '{EMPTY}'; "
    "find /files -path '*/global/*' -type f -exec cat {} + | tr -c '[:print:]' '\\n' | "
    "grep -oE 'SCRAM-SHA-256[$][0-9]+:[A-Za-z0-9+/=]+[$][A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+'"
)


def require(compose: Compose, *, in_swarm: bool = False) -> None:
    """Return when the project is free or this checkout's own. Raise StackError (refused) when it is another's.

    in_swarm: also where it runs in a swarm.
    """
    project = _project(compose)
    containers = compose.engine.containers(project)
    if not in_swarm and all(each.state != "running" for each in containers):
        compose.engine.refuse_in_swarm(project)
    _refuse_other_folder(compose, project, containers)
    _refuse_other_settings(compose, project, containers)
    if any(not each.folder or _is_own_folder(compose, each.folder) for each in containers):
        return
    made = _volumes(compose, project)
    if not made or _seen(compose, made):
        return
    _refuse_other_data(compose, project, made)
    if compose.env_path.exists() and not compose.runner.dry:
        remember_volumes(compose)


def remember_volumes(compose: Compose) -> None:
    """Write down which volumes the project has now. To be called once they are known to be this checkout's."""
    write_state(_path(compose), _volumes(compose, compose.project))


def _project(compose: Compose) -> str:
    if compose.env_path.exists():
        return compose.project
    return compose.environment.get("COMPOSE_PROJECT_NAME") or DEFAULT_PROJECT


# ---- containers ----


def _is_own_folder(compose: Compose, folder: str) -> bool:
    """Return True for this checkout by whatever path: a link, a mount of the same folder."""
    return any(_same(Path(folder), own) for own in (compose.root / "docker", compose.root))


def _same(one: Path, other: Path) -> bool:
    with contextlib.suppress(OSError):
        return one.samefile(other)
    return False


def _refuse_other_folder(compose: Compose, project: str, containers: Iterable[Container]) -> None:
    for folder in sorted({each.folder for each in containers if each.folder}):
        # One that is gone was moved or deleted; then the volumes decide.
        if Path(folder).is_dir() and not _is_own_folder(compose, folder):
            checkout = Path(folder).parent if Path(folder).name == "docker" else Path(folder)
            refuse(
                f"project {project} belongs to another checkout, in {checkout}; nothing was changed",
                f"run this there, or give this checkout a name of its own: {_rename(compose)}",
            )


def _refuse_other_settings(compose: Compose, project: str, containers: Iterable[Container]) -> None:
    for names in sorted({each.env_file for each in containers if each.env_file}):
        files = [Path(name) for name in names.split(",")]
        if all(file.is_file() and not _same(file, compose.env_path) for file in files):
            refuse(
                f"project {project} was started with the settings of {files[0]}, not of "
                f"{display_path(compose.env_path)}; nothing was changed",
                f"run this with WEPP_ENV_FILE={files[0]}, or give this one a name of its own: {_rename(compose)}",
            )


def _rename(compose: Compose) -> str:
    if compose.env_path.exists():
        return f"COMPOSE_PROJECT_NAME in {display_path(compose.env_path)}"
    return "COMPOSE_PROJECT_NAME=NAME invoke env-init --free-ports"


# ---- volumes ----


def _volumes(compose: Compose, project: str) -> dict[str, str]:
    return compose.engine.volumes_made(compose.engine.volumes(project))


def _seen(compose: Compose, made: dict[str, str]) -> bool:
    """Return True when this checkout has seen the database's volume, or any where the database is elsewhere."""
    seen = read_state(_path(compose))
    database = [name for name in made if name.endswith(f"_{VOLUME}")]
    return any(seen.get(name) == made[name] for name in database or made)


def _path(compose: Compose) -> Path:
    if compose.env_path.exists():
        return compose.data_dir / SEEN_VOLUMES
    return compose.root / ".docker-data" / SEEN_VOLUMES


def _refuse_other_data(compose: Compose, project: str, made: dict[str, str]) -> None:
    passwords = _passwords(compose)
    # Without an `.env`, one is made from the secret files that are here; then this is asked again.
    if passwords and not compose.env_path.exists():
        return
    database = next((name for name in made if name.endswith(f"_{VOLUME}")), "")
    if passwords and (_takes_one(compose, database, passwords) if database else _has_started(compose)):
        return
    reason = (
        "which does not take the password of this checkout"
        if passwords
        else "and it has no password for them"
    )
    delete = f"docker volume rm $(docker volume ls -q --filter label={PROJECT_LABEL}={project})"
    refuse(
        f"project {project} has volumes that this checkout has not made ({database or next(iter(made))}), {reason}; "
        "nothing was changed",
        f"for a stack of its own: {_rename(compose)}; to take those over, copy its maker's .env to "
        f"{display_path(compose.env_path)} and .docker-data/secrets to {_secrets(compose)}; to delete them for good: "
        f"{delete}",
    )


def _passwords(compose: Compose) -> list[str]:
    """Return the database's passwords that this checkout knows: that of the secret file, that of an older `.env`."""
    found = [compose.env.get(secret_ids.BY_ID[secret_ids.DATABASE].key)] if compose.env_path.exists() else []
    with contextlib.suppress(OSError, UnicodeDecodeError):
        found.append((_secrets(compose) / secret_ids.DATABASE).read_text(encoding="utf-8").strip())
    return [password for password in found if password]


def _secrets(compose: Compose) -> Path:
    return compose.secrets_dir if compose.env_path.exists() else compose.root / ".docker-data" / "secrets"


def _takes_one(compose: Compose, volume: str, passwords: Iterable[str]) -> bool:
    """Return True when the database in the volume takes one of the passwords, or there is none in it yet."""
    for image in compose.engine.images(_images(compose)):
        result = compose.runner.capture(
            ["docker", "run", "--rm", "--pull", "never", "--network", "none", "--user", "0", "--volume",
             f"{volume}:/files:ro", "--entrypoint", "sh", image, "-c", LOOK],
            timeout=LOOK_SECONDS,
        )  # fmt: skip
        lines = result.stdout.splitlines()
        if lines:
            return EMPTY in lines or any(
                scram.fits(password, line) for line in lines for password in passwords
            )
    raise StackError(
        f"the volume {volume} was not made by this checkout, and no image is here to look into it; nothing was changed",
        "make one, it changes nothing else: invoke images-base --names=postgres",
        ExitCode.REFUSED,
    )


def _images(compose: Compose) -> list[str]:
    services = compose.model.get("services") or {}
    images = services.get("postgres", {}).get("image"), chosen_images(compose.model).get("POSTGRES_IMAGE")
    return [str(each) for each in images if each]


def _has_started(compose: Compose) -> bool:
    """Return True when a `compose-up` has ended well here: all there is to know where the database is elsewhere."""
    return (compose.data_dir / LAST_UP).is_file()
