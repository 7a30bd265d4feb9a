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
from collections.abc import Callable
from pathlib import Path

TREE = Path("/workdir/wepppy/wepppy/weppcloud")
CONTROLLERS = TREE / "controllers_js" / "build_controllers_js.py"
MARK = ".sources-sha256"
COPIED = {"static": TREE / "static", "usersum-static": TREE / "routes" / "usersum" / "static"}


def renew(target: Path, folder: Path, make: Callable[[Path], object]) -> None:
    """Have `make` put a folder in the old one's place, where the names or contents of the files in `folder` changed."""
    found = hashlib.sha256()
    for path in sorted(
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ):
        content = path.read_bytes()
        found.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode() + content)
    mark = target / MARK
    if mark.is_file() and mark.read_text(encoding="utf-8") == found.hexdigest():
        return
    made, old = target.with_name(f".new-{target.name}"), target.with_name(f".old-{target.name}")
    for leftover in (made, old):
        shutil.rmtree(leftover, ignore_errors=True)
    make(made)
    made.chmod(0o755)
    (made / MARK).write_text(found.hexdigest(), encoding="utf-8")
    if target.exists():
        target.rename(old)
    made.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    print(f"assets: {target} is made from {folder}")


def build_controllers(made: Path) -> None:
    """Build the bundle of the controllers' scripts by the tree's own program."""
    made.mkdir()
    subprocess.run([sys.executable, CONTROLLERS, "--output", made / "controllers-gl.js"], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="assets.py")
    parser.add_argument("--copy-static", action="store_true")
    options = parser.parse_args()
    os.umask(0o022)
    if CONTROLLERS.is_file():
        renew(Path("/srv/assets/js"), CONTROLLERS.parent, build_controllers)
    for name, folder in COPIED.items() if options.copy_static else ():
        if folder.is_dir():
            renew(Path("/srv/tree") / name, folder, lambda made, folder=folder: shutil.copytree(folder, made))
