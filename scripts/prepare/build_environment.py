"""The caller's package mirrors, written as a file that builds read as a secret."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from scripts.base.errors import StackError
from scripts.base.files import private_folder, replace_if_changed
from scripts.engine.compose import Compose
from scripts.settings import package_index
from scripts.settings.secret_files import FILE_MODE

# How the caller's own machine reaches packages other than Python's; git's as in git-config(1), GIT_CONFIG_COUNT.
PASSED = re.compile(
    r"GO(?:PROXY|NOPROXY|PRIVATE|NOSUMDB|SUMDB)|(?i:NPM_CONFIG_REGISTRY)|GIT_CONFIG_(?:COUNT|KEY_\d+|VALUE_\d+)"
)


def write(compose: Compose) -> Path | None:
    """Write the caller's package mirrors for builds to read as a secret; None when there are none.

    Raise StackError when pip's settings file cannot be read.
    """
    try:
        mirrors = package_index.for_builds(compose.environment)
    except ValueError as error:
        raise StackError(str(error), "correct that file, or move it away") from error
    # One of git's settings may be empty on purpose.
    mirrors |= {
        name: value
        for name, value in compose.environment.items()
        if PASSED.fullmatch(name) and (value or name.startswith("GIT_"))
    }
    path = compose.build_environment
    if mirrors:
        # Addresses of mirrors may hold a password: for the caller alone on this machine, and, as secret files are, for
        # whichever user builds the front end in a container.
        private_folder(path.parent)
        text = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in mirrors.items())
        replace_if_changed(path, text, FILE_MODE)
    return path if path.is_file() else None
