"""Look into the Python image: its interpreter, what it holds, and which requirements it was built from."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.engine.compose import Compose
from scripts.engine.runner import Runner
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
    """What an image is. id: empty when it is not on this machine. problem: why it could not be looked into."""

    reference: str
    id: str = ""
    problem: str = ""
    interpreter: str = ""
    tree: bool = False
    requirements: str = ""
    names: tuple[str, ...] = ()


def look(compose: Compose, reference: str, requirements: str) -> Image:
    """Look into an image; what was found is kept in the stack's data folder until the image is another.

    requirements: the requirements file inside the tree, which an image that holds the tree has too.
    """
    asked = compose.runner.capture(["docker", "image", "inspect", "--format", "{{.Id}}", reference])
    if not asked.ok or not asked.stdout.strip():
        return Image(reference)
    identity = asked.stdout.split()[0]
    cache = compose.data_dir / "image-facts.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        cached = json.loads(cache.read_text(encoding="utf-8"))
        if cached.pop("asked") == requirements and cached.get("id") == identity:
            return Image(**{**cached, "reference": reference, "names": tuple(cached["names"])})
    image = _inside(compose.runner, reference, identity, requirements)
    if not image.problem and compose.data_dir.is_dir():
        with contextlib.suppress(OSError):
            cache.write_text(json.dumps({"asked": requirements, **asdict(image)}), encoding="utf-8")
    return image


def _inside(runner: Runner, reference: str, identity: str, requirements: str) -> Image:
    files = [KEPT_REQUIREMENTS, f"/workdir/wepppy/{requirements}"]
    done = runner.capture(
        ["docker", "run", "--rm", "--network", "none", "--entrypoint", f"{VENV}/bin/python", reference,
         "-I", "-S", "-c", PROGRAM, *files],
        timeout=LOOK_SECONDS,
    )  # fmt: skip
    if not done.ok:
        absent = "no such file" in done.stderr.lower()
        return Image(reference, identity, f"it has no {VENV}" if absent else done.complaint)
    try:
        said = json.loads(done.stdout)
        return Image(
            reference,
            identity,
            "",
            str(said["interpreter"]),
            bool(said["tree"]),
            str(said["requirements"]),
            tuple(str(name) for name in said["names"]),
        )
    except (ValueError, KeyError, TypeError):
        return Image(reference, identity, f"{VENV}/bin/python in it is no Python")


def siblings_path(root: Path, interpreter: str) -> list[str]:
    """Return the import path that the kit's image has for the repositories beside the tree. root: of this kit."""
    file = root / "docker" / "python" / "siblings.pth"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [line.replace("@PYTHON@", interpreter.replace(".", "")) for line in lines if line]


def given(image: Image, tree: Path, services: Sequence[str]) -> Iterator[Finding]:
    """Yield what is wrong with an image that WEPPPY_IMAGE names. services: those that run in it."""
    name = f"WEPPPY_IMAGE={image.reference}"
    build = f"docker build --file {tree}/docker/Dockerfile --tag {image.reference} {tree}"
    if not image.id:
        fix = f"build it ({build}), load it (docker load --input FILE), pull it, or empty WEPPPY_IMAGE"
        yield Finding(CHECK, Level.ERROR, f"{name} is not on this machine", fix, tuple(services))
    elif image.problem:
        fix = f"name an image that the tree's own Dockerfile builds ({build}), or empty WEPPPY_IMAGE"
        yield Finding(
            CHECK, Level.ERROR, f"{name} cannot run the services: {image.problem}", fix, tuple(services)
        )
    elif not image.tree:
        yield Finding(
            CHECK,
            Level.ERROR,
            f"{name} has no /workdir/wepppy, where the services run",
            f"name an image that the tree's own Dockerfile builds ({build}), or empty WEPPPY_IMAGE",
            tuple(services),
        )


def stale(
    image: Image, requirements: Path, name: str, services: Sequence[str], *, is_given: bool
) -> Iterator[Finding]:
    """Yield what to say of an image that was built from other requirements than the tree has now.

    is_given: it is the user's own, who may mean it; services start with it. services: those that run in it.
    """
    if not image.requirements or not requirements.is_file():
        return
    if hashlib.sha256(requirements.read_bytes()).hexdigest() == image.requirements:
        return
    what = f"{name} changed after the image {image.reference} was built"
    if is_given:
        fix = f"build {image.reference} again from the tree, then run `invoke compose-up`"
        yield Finding(STALE_CHECK, Level.WARNING, what, fix, ())
    else:
        yield Finding(STALE_CHECK, Level.ERROR, what, "run `invoke compose-up --build`", tuple(services))


def compiled(image_or_base: str, folder: Path) -> tuple[str, ...]:
    """Return the interpreters (`3.12`) that a folder's extension modules are for, where none is for the given one."""
    tags = set()
    for path in (*folder.glob("*.so"), *folder.glob("*/*.so")):
        _, found, rest = path.name.partition(".cpython-3")
        if found:
            tags.add(f"3.{rest.split('-')[0].split('.')[0]}")
    return () if image_or_base in tags else tuple(sorted(tags))
