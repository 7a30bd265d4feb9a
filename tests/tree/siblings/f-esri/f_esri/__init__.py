"""File geodatabases by ESRI's library: the public repository drives it in a container; here only the question is."""

from __future__ import annotations

import shutil


def has_f_esri() -> bool:
    """Return whether a container engine's command line is here to run the library with."""
    return shutil.which("docker") is not None
