"""Which code a launcher runs, in few characters: hosts that run the same tree and packages have the same ones."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

LENGTH = 12
NO_SOURCES = {"__pycache__", "node_modules"}


def revision(tree: Path, packages: Path) -> str:
    """Return a hash of paths and contents of all `*.py` below `tree`, and of what is installed in `packages`.

    Folders whose names begin with a dot hold tools' own files, no sources.
    """
    digest = hashlib.sha256()
    for folder, folders, names in os.walk(tree):
        folders[:] = sorted(each for each in folders if each not in NO_SOURCES and not each.startswith("."))
        for file in (Path(folder, name) for name in sorted(names) if name.endswith(".py")):
            content = b""
            with suppress(OSError):  # a link to nowhere
                content = file.read_bytes()
            digest.update(f"{file.relative_to(tree).as_posix()}\0{len(content)}\0".encode() + content)
    digest.update("\n".join(sorted(each.name for each in packages.glob("*.dist-info"))).encode())
    return digest.hexdigest()[:LENGTH]
