"""Look into the Python image: its interpreter, what it holds, and which requirements it was built from."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.base.files import read_state, write_state
from scripts.engine.compose import Compose
from scripts.prepare.finding import Finding, Level

CHECK, STALE_CHECK = "image", "image's requirements"
VENV = "/opt/venv"
# A build of the kit's keeps a copy of the requirements there; an image of the tree's own Dockerfile holds the tree.
KEPT_REQUIREMENTS = f"{VENV}/requirements.txt"
LOOK_SECONDS = 60.0
# Runs in the image with its own interpreter, the standard library alone.
PROGRAM = """
import glob, hashlib, json, os, sys
names = {each.split(".")[0] for each in os.listdir("/workdir")} if os.path.isdir("/workdir") else set()
for folder in glob.glob("/opt/venv/lib/python3*/site-packages"):
    names |= {each.split(".")[0] for each in os.listdir(folder) if not each.endswith((".dist-info", ".pth"))}
requirements = ""
for path in sys.argv[1:]:
    if os.path.isfile(path) and not requirements:
        requirements = hashlib.sha256(open(path, "rb").read()).hexdigest()
version = "%d.%d" % sys.version_info[:2]
tree = os.path.isdir("/workdir/wepppy")
print(json.dumps({"interpreter": version, "tree": tree, "requirements": requirements, "names": sorted(names)}))
"""


@dataclass(frozen=True)
class Image:
    """What an image is. id: empty when it is not on this machine. problem: why it could not be looked into.

    requirements: SHA-256 (hex) of those that it was built from. names: modules and sibling folders that it has.
    """

    reference: str
    id: str = ""
    problem: str = ""
    interpreter: str = ""
    tree: bool = False
    requirements: str = ""
    names: Sequence[str] = ()


def look(compose: Compose, reference: str, requirements: str) -> Image:
    """Look into an image; what was found is kept in the stack's data folder until the image is another.

    requirements: the requirements file inside the tree, which an image that holds the tree has too.
    """
    found = compose.runner.capture(["docker", "image", "inspect", "--format", "{{.Id}}", reference])
    identity = found.stdout.strip()
    if not found.ok or not identity:
        return Image(reference)
    cache = compose.data_dir / "image-facts.json"
    asked = [reference, identity, requirements]
    cached = read_state(cache)
    if cached.get("asked") == asked:
        return Image(reference, identity, **cached["facts"])
    files = [KEPT_REQUIREMENTS, f"/workdir/wepppy/{requirements}"]
    done = compose.runner.capture(
        ["docker", "run", "--rm", "--network", "none", "--entrypoint", f"{VENV}/bin/python", reference,
         "-I", "-S", "-c", PROGRAM, *files],
        timeout=LOOK_SECONDS,
    )  # fmt: skip
    if not done.ok:
        absent = "no such file" in done.stderr.lower()
        return Image(reference, identity, f"it has no {VENV}" if absent else done.complaint)
    try:
        facts = json.loads(done.stdout)
        image = Image(reference, identity, **facts)
    except (ValueError, TypeError):
        return Image(reference, identity, f"{VENV}/bin/python in it is no Python")
    if compose.data_dir.is_dir():
        with contextlib.suppress(OSError):
            write_state(cache, {"asked": asked, "facts": facts})
    return image


def siblings_path(root: Path, interpreter: str) -> list[str]:
    """Return the import path that the kit's image has for the repositories beside the tree. root: of this kit."""
    file = root / "docker" / "python" / "siblings.pth"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [line.replace("@PYTHON@", interpreter.replace(".", "")) for line in lines if line]


def given(image: Image, tree: Path) -> Iterator[Finding]:
    """Yield what is wrong with an image that WEPPPY_IMAGE names."""
    name = f"WEPPPY_IMAGE={image.reference}"
    build = f"docker build --file {tree}/docker/Dockerfile --tag {image.reference} {tree}"
    fix = f"name an image that the tree's own Dockerfile builds ({build}), or empty WEPPPY_IMAGE"
    if not image.id:
        fix = f"build it ({build}), load it (docker load --input FILE), pull it, or empty WEPPPY_IMAGE"
        yield Finding(CHECK, f"{name} is not on this machine", fix)
    elif image.problem:
        yield Finding(CHECK, f"{name} cannot run the services: {image.problem}", fix)
    elif not image.tree:
        yield Finding(CHECK, f"{name} has no /workdir/wepppy, where the services run", fix)


def stale(image: Image, requirements: Path, name: str, *, is_given: bool) -> Iterator[Finding]:
    """Yield what to say of an image that was built from other requirements than the tree has now.

    is_given: it is the user's own, who may mean it; services start with it.
    """
    if not image.requirements or not requirements.is_file():
        return
    if hashlib.sha256(requirements.read_bytes()).hexdigest() == image.requirements:
        return
    what = f"{name} changed after the image {image.reference} was built"
    if is_given:
        fix = f"build {image.reference} again from the tree, then run `invoke compose-up`"
        yield Finding(STALE_CHECK, what, fix, Level.WARNING)
    else:
        yield Finding(STALE_CHECK, what, "run `invoke compose-up --build`")


def compiled_for(folder: Path) -> list[str]:
    """Return the interpreters (`3.12`) that a folder's extension modules are for."""
    names = (path.name for path in (*folder.glob("*.so"), *folder.glob("*/*.so")))
    found = {match[1] for name in names if (match := re.search(r"\.cpython-3(\d+)", name))}
    return [f"3.{minor}" for minor in sorted(found)]
