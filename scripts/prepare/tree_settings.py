"""The settings that fit a wepppy checkout, each with the reason for it; reads the checkout and changes nothing."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.base.errors import usage
from scripts.prepare.source_check import packages, python_code
from scripts.prepare.source_mounts import SIBLINGS
from scripts.settings import envfile, secret_ids

DEFAULTS = ("docker/defaults.env", "docker/.env")
REQUIREMENTS = ("docker/requirements-uv.txt", "requirements.txt")
# The one that the real tree's compiled siblings are made for.
INTERPRETER = "3.12"
# Programs that the services of a wepppy checkout run, by Debian package.
PROGRAMS = "gdal-bin nco aria2"
SITE_KEY = "CAP_SITE_KEY"
CONSTRAINTS_DIR, CONSTRAINTS_NAME = "WEPPPY_CONSTRAINTS_DIR", "constraints.txt"
CONSTRAINTS = f"fastapi<{packages.FASTAPI_WITHOUT_ENUM}\n"
HOST_FOLDERS = ("WC1_DIR", "GEODATA_DIR")
# Whose containers' user and machine these are is not the tree's to say.
NOT_THE_TREES = {
    "UID",
    "GID",
    "COMPOSE_PROJECT_NAME",
    "COMPOSE_FILE",
    "COMPOSE_PROFILES",
    "PYTHON_VERSION",
    "TZ",
}


@dataclass(frozen=True)
class Choice:
    """A setting to write. asked: named by the user, so it replaces what is there; kept: the user's value instead."""

    key: str
    value: str
    why: str
    asked: bool = False
    kept: str = ""

    @property
    def reason(self) -> str:
        """Why the value is what it is; for a kept one also what the tree has."""
        return f"yours, kept; for the tree: {self.value} ({self.why})" if self.kept else self.why


def choose(tree: Path, example: Mapping[str, str], constraints: Path) -> list[Choice]:
    """Return the settings for a checkout. example: the keys that this stack has, with their defaults.

    constraints: the folder that CONSTRAINTS, versions that the tree's requirements leave open, would be written into.

    Raise StackError when the folder is no wepppy checkout.
    """
    if not (tree / "wepppy").is_dir():
        what = "has no folder wepppy" if tree.is_dir() else "is no folder"
        usage(f"{tree} {what}", "name the root of a wepppy checkout")
    if envfile.holds_sample(tree):
        return [Choice("WEPPPY_SRC", "", "it is the bundled sample", asked=True)]
    theirs = _defaults(tree)
    found = [
        Choice("WEPPPY_SRC", str(tree), "the checkout", asked=True),
        *_python(tree, constraints),
        *_folders(theirs),
        Choice("COMPOSE_PROFILES", "geo", "push is the sample's own: a checkout has no webpush"),
        Choice(SITE_KEY, secrets.token_hex(5), "any: it names this site at its own CAPTCHA service"),
    ]
    taken = {each.key for each in found}
    for key, (value, name) in theirs.items():
        if value and key in example and key not in {*taken, *NOT_THE_TREES, *HOST_FOLDERS}:
            found.append(Choice(key, value, f"the tree's {name}"))
    return found


def _defaults(tree: Path) -> dict[str, tuple[str, str]]:
    """Return the tree's own settings with the file that each is from; secrets are left out."""
    found: dict[str, tuple[str, str]] = {}
    for name in DEFAULTS:
        if (tree / name).is_file():
            values = envfile.read(tree / name).values
            found |= {key: (value, name) for key, value in values.items() if key not in secret_ids.BY_KEY}
    return found


# ---- Python ----


def _python(tree: Path, constraints: Path) -> Iterator[Choice]:
    siblings = tree.parent
    if beside := [name for name in SIBLINGS if (siblings / name).is_dir()]:
        yield Choice("WEPPPY_SIBLINGS_DIR", str(siblings), f"{', '.join(beside)} lie beside the tree")
    yield _interpreter(tree)
    yield Choice("WEPPPY_SYSTEM_PACKAGES", PROGRAMS, "programs that services of a wepppy checkout run")
    # Debian packages that requirements are built with, and why.
    build: dict[str, str] = {}
    requirements = next((name for name in REQUIREMENTS if (tree / name).is_file()), "")
    if requirements:
        yield Choice("WEPPPY_REQUIREMENTS", requirements, "the tree has it")
        yield from _constraints(tree, requirements, constraints)
        asked = packages.read(tree / requirements)
        if asked.git:
            build["git"] = "a git requirement"
        if "gdal" in asked.wanted:
            build["g++ libgdal-dev python3-dev"] = "GDAL's bindings, made against the image's library"
    if build:
        why = f"{requirements}: {' and '.join(build.values())}"
        yield Choice("WEPPPY_BUILD_PACKAGES", " ".join(build), why)


def _constraints(tree: Path, requirements: str, folder: Path) -> Iterator[Choice]:
    if not packages.takes_no_enum(packages.read(tree / requirements)):
        return
    for path in sorted((tree / "wepppy" / "webservices").rglob("*.py")):
        if python_code.read(path).query_enum:
            why = f"{path.relative_to(tree)} does not import with FastAPI {packages.FASTAPI_WITHOUT_ENUM} and later"
            yield Choice("WEPPPY_CONSTRAINTS", CONSTRAINTS_NAME, why)
            yield Choice(CONSTRAINTS_DIR, str(folder), f"holds it to {CONSTRAINTS.strip()}")
            return


def _interpreter(tree: Path) -> Choice:
    file = tree / "docker" / "Dockerfile"
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    if match := re.search(r"^FROM\s+python:(3\.\d+)", text, re.MULTILINE):
        return Choice("PYTHON_VERSION", match[1], "the tree's docker/Dockerfile starts from it")
    return Choice("PYTHON_VERSION", INTERPRETER, "the real tree's compiled siblings are made for it")


# ---- folders of the host ----


def _folders(theirs: Mapping[str, tuple[str, str]]) -> Iterator[Choice]:
    found = {key: Path(theirs[key][0]) for key in HOST_FOLDERS if key in theirs}
    found = {key: path for key, path in found.items() if path.is_absolute() and path.is_dir()}
    for key, path in found.items():
        yield Choice(key, str(path), f"the tree's {theirs[key][1]}, and the folder is there")
    for path in list(found.values())[:1]:
        # Runs are made in a folder below, which a share brings with an owner of its own.
        owned = path / "runs" if (path / "runs").is_dir() else path
        ids = owned.stat()
        if ids.st_uid:
            why = f"{owned} belongs to {ids.st_uid}:{ids.st_gid}"
            yield from (Choice("UID", str(ids.st_uid), why), Choice("GID", str(ids.st_gid), why))


def resolve(choices: list[Choice], here: Mapping[str, str], defaults: Mapping[str, str]) -> list[Choice]:
    """Return the choices, those marked as kept for which the file has a value of the user's own.

    here: the file's values. defaults: what env-init itself writes where nobody chooses.
    """
    resolved = []
    for each in choices:
        value = here.get(each.key, "")
        if value and each.key == SITE_KEY:
            continue
        mine = value and value not in (defaults.get(each.key, ""), each.value)
        if mine and each.asked:
            resolved.append(replace(each, why=f"{each.why}; it was {value}"))
        else:
            resolved.append(replace(each, kept=value) if mine else each)
    return resolved
