"""Secrets, as files first and as environment variables second."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path


@cache
def get_secret(name: str, required: bool = False) -> str | None:
    """Return the secret called `name`, or None.

    `NAME_FILE` wins over `NAME`. Raise RuntimeError when the named file cannot be read or is empty, and for a
    required secret that neither gives. The answer is kept for the life of the process.
    """
    file_name = os.environ.get(f"{name}_FILE", "").strip()
    if file_name:
        try:
            value = Path(file_name).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise RuntimeError(f"{name}_FILE: cannot read {file_name}: {error}") from error
        if not value:
            raise RuntimeError(f"{name}_FILE: {file_name} is empty")
        return value
    value = os.environ.get(name, "").strip()
    if not value and required:
        raise RuntimeError(f"{name} is required: set {name}_FILE or {name}")
    return value or None


def required_secret(name: str) -> str:
    """Return the secret called `name`; raise RuntimeError when there is none."""
    value = get_secret(name, required=True)
    assert value is not None
    return value
