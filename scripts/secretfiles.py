"""Owns the secret files that containers get under /run/secrets, written from `.env`.

Folder 0700, files 0444: Compose ignores owner and mode of file secrets (docker/compose#9648), so the files must be
readable for whatever user a container runs as; on the host the folder keeps everybody else out.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts import envfile, envinit, overlays
from scripts.compose import Compose
from scripts.errors import ExitCode, StackError

FOLDER_MODE, FILE_MODE = 0o700, 0o444
# How the caller's own machine reaches packages; only those that are set are passed on to builds.
MIRROR_VARIABLES = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "GOPROXY",
    "GONOPROXY",
    "GOPRIVATE",
    "GONOSUMDB",
    "GOSUMDB",
)


def wanted(model: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Keys of `.env` -> secret files below `folder` that the model mounts."""
    files = {
        name.upper(): Path(each["file"])
        for name, each in (model.get("secrets") or {}).items()
        if isinstance(each, Mapping) and each.get("file")
    }
    return {key: path for key, path in files.items() if path.is_relative_to(folder)}


def missing(compose: Compose) -> list[StackError]:
    """What the model needs a secret for and `.env` leaves empty, each with the mend that can fill it."""
    name = envfile.shown(compose.env_path)
    return [
        StackError(f"{key} is empty in {name}", _mend(compose, key))
        for key in wanted(compose.model, compose.secrets_dir)
        if not compose.env.get(key)
    ]


def _mend(compose: Compose, key: str) -> str:
    example = compose.root / ".env.example"
    if example.is_file() and key in envinit.generated_keys(example.read_text(encoding="utf-8")):
        return "run `invoke env-init`, it fills in what is empty"
    # Emptied, it switches its overlay off; a list of files that the caller exports is the caller's to change.
    if key == overlays.HOOK and "COMPOSE_FILE" not in compose.environment:
        return f"run `invoke compose-up`, it takes {overlays.HOOK_FILE} out of COMPOSE_FILE"
    return "give it a value there, or take the file that asks for it out of COMPOSE_FILE"


def write(compose: Compose) -> list[str]:
    """Writes the secret files that changed; returns their names. Raises StackError for a missing value."""
    for problem in missing(compose):
        raise problem
    changed = []
    files = wanted(compose.model, compose.secrets_dir)
    try:
        if files:
            private_folder(compose.secrets_dir)
        for key, path in files.items():
            # `.env` alone counts: an exported variable of some other project must not change a password here.
            if replace_if_changed(path, compose.env.get(key), FILE_MODE):
                changed.append(path.name)
    except OSError as error:
        raise StackError(
            f"{error.filename or compose.secrets_dir} cannot be written: {error.strerror}",
            f"make the folder your own: sudo chown -R {os.getuid()} {compose.data_dir}",
            ExitCode.NOT_READY,
        ) from error
    return changed


def write_build_environment(compose: Compose) -> Path | None:
    """Writes the caller's package mirrors for builds to read as a secret; None when there are none."""
    mirrors = {name: compose.environment[name] for name in MIRROR_VARIABLES if compose.environment.get(name)}
    # uv does not read pip's variables; a build must not leave the mirror because it uses uv.
    if "PIP_INDEX_URL" in mirrors and not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & mirrors.keys():
        mirrors["UV_DEFAULT_INDEX"] = mirrors["PIP_INDEX_URL"]
    path = compose.data_dir / "build-environment"
    if not mirrors:
        return path if path.is_file() else None
    compose.data_dir.mkdir(parents=True, exist_ok=True)
    # Addresses of mirrors may hold a password.
    text = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in mirrors.items())
    replace_if_changed(path, text, envfile.PRIVATE)
    return path


def private_folder(path: Path) -> None:
    """Makes the folder, for its owner only."""
    path.mkdir(parents=True, exist_ok=True)
    if path.stat().st_mode & 0o777 != FOLDER_MODE:
        path.chmod(FOLDER_MODE)


def replace_if_changed(path: Path, text: str, mode: int) -> bool:
    """Writes the file whole or not at all, only when text or mode differ; True when it wrote."""
    with contextlib.suppress(FileNotFoundError, UnicodeDecodeError):
        if path.read_text(encoding="utf-8") == text and path.stat().st_mode & 0o777 == mode:
            return False
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    return True
