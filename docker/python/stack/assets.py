"""Build the files of the front end that a checkout does not hold: `assets.py [--copy-static]`.

Into /srv/assets: js/controllers-gl.js, by the tree's own program. With --copy-static also into /srv/tree, for a proxy
that has no checkout beside it: the tree's static files. What has not changed since the last time is left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

TREE = Path("/workdir/wepppy/wepppy/weppcloud")
ASSETS, COPIES = Path("/srv/assets"), Path("/srv/tree")
MARK = ".sources-sha256"
COPIED = {"static": TREE / "static", "usersum-static": TREE / "routes" / "usersum" / "static"}


def digest(folder: Path) -> str:
    """Return a SHA-256 over the names and contents of all files of a folder."""
    found = hashlib.sha256()
    for path in sorted(
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ):
        content = path.read_bytes()
        found.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode() + content)
    return found.hexdigest()


def is_current(target: Path, sources: str) -> bool:
    """Return whether a folder was made from these sources."""
    mark = target / MARK
    return mark.is_file() and mark.read_text(encoding="utf-8") == sources


def put(made: Path, target: Path, sources: str) -> None:
    """Put a finished folder in the old one's place."""
    made.chmod(0o755)
    (made / MARK).write_text(sources, encoding="utf-8")
    old = target.with_name(f".old-{target.name}")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    made.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def build_controllers() -> None:
    """Build the bundle of the controllers' scripts where they changed."""
    program = TREE / "controllers_js" / "build_controllers_js.py"
    if not program.is_file():
        print(f"assets: {program} is not in this tree; nothing to build")
        return
    sources, target = digest(program.parent), ASSETS / "js"
    if is_current(target, sources):
        print("assets: the controllers are up to date")
        return
    made = ASSETS / ".new-js"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(mode=0o755)
    subprocess.run([sys.executable, program, "--output", made / "controllers-gl.js"], check=True)
    put(made, target, sources)
    print("assets: the controllers are built")


def copy_static() -> None:
    """Copy the tree's static files where they changed."""
    for name, folder in COPIED.items():
        if not folder.is_dir():
            continue
        sources, target = digest(folder), COPIES / name
        if not is_current(target, sources):
            made = COPIES / f".new-{name}"
            shutil.rmtree(made, ignore_errors=True)
            shutil.copytree(folder, made)
            put(made, target, sources)
            print(f"assets: {folder} is copied")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="assets.py")
    parser.add_argument("--copy-static", action="store_true")
    options = parser.parse_args()
    os.umask(0o022)
    build_controllers()
    if options.copy_static:
        copy_static()
