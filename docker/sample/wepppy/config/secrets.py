"""Secrets of a service: read from a mounted file when there is one, from the environment otherwise."""

from __future__ import annotations

import os
from pathlib import Path


def get_secret(name: str, *, required: bool = False) -> str | None:
    """Return the secret called `name`, stripped of surrounding white space.

    `<name>_FILE`, when set and not blank, names the file that holds the secret and wins over `<name>`.
    A named file that can't be read or holds nothing raises RuntimeError even if `<name>` is set as well:
    a broken mount must stop the service rather than let it run with a different secret.
    Without either the answer is None, or RuntimeError when `required`.
    """
    file_name = os.environ.get(f"{name}_FILE", "").strip()
    if file_name:
        return _read(name, Path(file_name))
    value = os.environ.get(name, "").strip()
    if value:
        return value
    if required:
        raise RuntimeError(
            f"the secret {name} is missing: set {name}_FILE to a file that holds it, or {name}"
        )
    return None


def _read(name: str, path: Path) -> str:
    try:
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RuntimeError(f"the secret file of {name}, {path}, can't be read: {reason}") from error
    if not value:
        raise RuntimeError(f"the secret file of {name}, {path}, is empty")
    return value
