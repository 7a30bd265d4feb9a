"""The caller's package mirrors, written as a file that builds read as a secret."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from scripts.base.errors import StackError
from scripts.base.files import private_folder, replace_if_changed
from scripts.engine.compose import Compose
from scripts.settings import env_editing, package_index
from scripts.settings.secret_files import FILE_MODE

KEY = "BUILD_ENVIRONMENT_FILE"
# How the caller's own machine reaches packages other than Python's; only those that are set are passed on to builds.
MIRROR_VARIABLES = (
    "GOPROXY",
    "GONOPROXY",
    "GOPRIVATE",
    "GONOSUMDB",
    "GOSUMDB",
    "NPM_CONFIG_REGISTRY",
    "npm_config_registry",
)


def write(compose: Compose) -> Path | None:
    """Write the caller's package mirrors for builds to read as a secret; None when there are none.

    Raise StackError when pip's or uv's settings file cannot be read.
    """
    try:
        mirrors = package_index.for_builds(compose.environment)
    except ValueError as error:
        raise StackError(str(error), "correct that file, or move it away") from error
    mirrors |= {name: value for name in MIRROR_VARIABLES if (value := compose.environment.get(name))}
    mirrors |= _git_settings(compose.environment)
    path = compose.build_environment
    if mirrors:
        # Addresses of mirrors may hold a password: for the caller alone on this machine, and, as secret files are, for
        # whichever user builds the front end in a container.
        private_folder(path.parent)
        text = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in mirrors.items())
        replace_if_changed(path, text, FILE_MODE)
    if not path.is_file():
        return None
    _leave_earlier_place(compose, path)
    return path


def _leave_earlier_place(compose: Compose, path: Path) -> None:
    """Let an older `.env` name the file where it is now."""
    earlier = compose.data_dir / "build-environment"
    if compose.env.get(KEY) == str(earlier):
        env_editing.set_keys(compose.env_path, {KEY: str(path)})
        compose.forget()
        earlier.unlink(missing_ok=True)


def _git_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which the caller's environment configures git (git-config(1), GIT_CONFIG_COUNT).

    Empty when the count is no number or a setting is incomplete: git would refuse to run with those.
    """
    count = environment.get("GIT_CONFIG_COUNT", "")
    if not count.isdecimal():
        return {}
    found = {"GIT_CONFIG_COUNT": count}
    for number in range(int(count)):
        for name in (f"GIT_CONFIG_KEY_{number}", f"GIT_CONFIG_VALUE_{number}"):
            if name not in environment:
                return {}
            found[name] = environment[name]
    return found
