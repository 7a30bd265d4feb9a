"""Check the tree's requirements against the image that will be built: interpreter, GDAL's library, git, pins."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from scripts.prepare.finding import Finding

CHECK = "requirements"
REAL_TREES = "docker/requirements-uv.txt"
# libgdal of each Debian release (package libgdal-dev). The bindings refuse to build for an older library.
GDAL_OF_RELEASE = {"bookworm": "3.6.2", "trixie": "3.10.3"}
# Releases without a wheel for Python 3.13 and later (the files of each on PyPI).
WITHOUT_WHEEL = {
    "numpy": "<2.1",
    "pandas": "<2.2.3",
    "pyarrow": "<18",
    "rasterio": "<1.4",
    "scipy": "<1.14.1",
    "shapely": "<2.0.6",
}
# From this FastAPI on `Query` takes no `enum`.
FASTAPI_WITHOUT_ENUM = Version("0.155.0")


class Base(NamedTuple):
    """The image that the Python image starts from, as far as its name tells: interpreter and Debian release.

    packages: Debian packages of the builder and of the image; None where the model does not say.
    """

    image: str
    interpreter: str
    release: str
    build_packages: list[str] | None
    system_packages: list[str]

    @classmethod
    def of(cls, arguments: Mapping[str, str]) -> Base:
        """Read it from the arguments of the Python image's build."""
        image = arguments.get("PYTHON_IMAGE", "")
        tag = image.partition("@")[0].rpartition(":")[2]
        interpreter = re.match(r"\d+\.\d+", tag)
        build = arguments.get("WEPPPY_BUILD_PACKAGES")
        return cls(
            image,
            interpreter[0] if interpreter else "",
            next((each for each in GDAL_OF_RELEASE if each in tag), ""),
            None if build is None else build.split(),
            arguments.get("WEPPPY_SYSTEM_PACKAGES", "").split(),
        )


@dataclass(frozen=True)
class Requirements:
    """What a requirements file asks for, constraints applied; git: those that are fetched with git."""

    wanted: Mapping[str, SpecifierSet]
    git: tuple[str, ...] = ()


def read(path: Path, constraints: Path | None = None) -> Requirements:
    """Read a requirements file; files that it includes are read too. Raise OSError and UnicodeDecodeError."""
    wanted: dict[str, SpecifierSet] = {}
    lines = list(_lines(path))
    for each in _parsed(lines):
        name = canonicalize_name(each.name)
        wanted[name] = wanted.get(name, SpecifierSet()) & each.specifier
    for each in _parsed(_lines(constraints)) if constraints else ():
        name = canonicalize_name(each.name)
        if name in wanted:
            wanted[name] &= each.specifier
    git = [re.split(r"\s*@\s*git\+|\s", line)[0] for line in lines if "git+" in line]
    return Requirements(wanted, tuple(git))


def _lines(path: Path, depth: int = 0) -> Iterator[str]:
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        included = re.match(r"(?:-r|--requirement)[ =]+(\S+)", line)
        if included and depth < 5:
            yield from _lines(path.parent / included[1], depth + 1)
        elif line and not line.startswith("-"):
            yield line


def _parsed(lines: Iterator[str] | list[str]) -> Iterator[Requirement]:
    """Yield what can be read; the rest is the installer's to complain of."""
    for line in lines:
        try:
            yield Requirement(re.split(r"\s--", line)[0])
        except InvalidRequirement:
            continue


def lacks(requirements: Requirements, name: str, base: Base) -> Iterator[Finding]:
    """Yield what keeps the requirements from being installed."""
    told = ", ".join(requirements.git)
    if told and base.build_packages is not None and "git" not in base.build_packages:
        yield Finding(
            CHECK,
            f"{told} come from git repositories, and the builder has no git",
            "add git to WEPPPY_BUILD_PACKAGES in .env",
        )
    yield from _gdal(pinned(requirements.wanted.get("gdal")), base)
    if pins := without_wheel(requirements, base.interpreter):
        yield Finding(
            CHECK,
            f"{name} asks for {', '.join(pins)}, for which Python {base.interpreter} ({base.image}) has no wheel",
            "set PYTHON_VERSION=3.12 in .env and empty PYTHON_IMAGE (needs a registry), set WEPPPY_IMAGE to an image "
            "built by the tree's own Dockerfile, or pin newer releases",
        )


def _gdal(pin: Version | None, base: Base) -> Iterator[Finding]:
    if pin is None:
        return
    library = GDAL_OF_RELEASE.get(base.release)
    if library and pin > Version(library):
        better = [release for release, has in GDAL_OF_RELEASE.items() if Version(has) >= pin]
        fix = f"choose a base image of Debian {better[0]} by PYTHON_IMAGE in .env, or " if better else ""
        yield Finding(
            CHECK,
            f"gdal=={pin} is compiled against libgdal, and Debian {base.release} ({base.image}) has libgdal {library}: "
            "bindings do not build for an older library",
            f"{fix}pin gdal=={library} or older, or set WEPPPY_IMAGE",
        )
    if base.build_packages is None:
        return
    if "libgdal-dev" not in base.build_packages:
        yield Finding(
            CHECK,
            f"gdal=={pin} is compiled when the image is built, and the builder has no libgdal-dev",
            "set in .env: WEPPPY_BUILD_PACKAGES='git g++ libgdal-dev python3-dev', and WEPPPY_SYSTEM_PACKAGES=gdal-bin",
        )
    elif not any("gdal" in each for each in base.system_packages):
        yield Finding(
            CHECK,
            f"gdal=={pin} loads libgdal, which the image does not have",
            "add gdal-bin to WEPPPY_SYSTEM_PACKAGES in .env",
        )


def pinned(specifiers: SpecifierSet | None) -> Version | None:
    """Return the one version that specifiers allow by `==`; None when they leave a choice."""
    for each in specifiers or ():
        if each.operator == "==" and not each.version.endswith(".*"):
            return Version(each.version)
    return None


def without_wheel(requirements: Requirements, interpreter: str) -> list[str]:
    """Return the pins (`numpy==1.26.0`) to releases that have no wheel for an interpreter."""
    if not interpreter or Version(interpreter) < Version("3.13"):
        return []
    pins = {name: pinned(specifiers) for name, specifiers in sorted(requirements.wanted.items())}
    return [
        f"{name}{requirements.wanted[name]}"
        for name, pin in pins.items()
        if pin and name in WITHOUT_WHEEL and SpecifierSet(WITHOUT_WHEEL[name]).contains(pin)
    ]


def without_enum(requirements: Requirements, name: str, place: str) -> Iterator[Finding]:
    """Yield what keeps a service that calls `Query(enum=...)` in a place from being imported."""
    if place and takes_no_enum(requirements):
        yield Finding(
            CHECK,
            f"{place} calls Query(enum=...), which FastAPI {FASTAPI_WITHOUT_ENUM} no longer takes, and {name} asks for "
            f"fastapi{requirements.wanted['fastapi']}",
            f"write `fastapi<{FASTAPI_WITHOUT_ENUM}` into FOLDER/constraints.txt and set in .env: "
            "WEPPPY_CONSTRAINTS_DIR=FOLDER WEPPPY_CONSTRAINTS=constraints.txt",
        )


def takes_no_enum(requirements: Requirements) -> bool:
    """Return whether a FastAPI may be installed whose `Query` takes no `enum`."""
    specifiers = requirements.wanted.get("fastapi")
    # An upper bound or a pin below it is what counts; any floor lets the newest in.
    newer = (FASTAPI_WITHOUT_ENUM, Version("0.999"), Version("99"))
    return specifiers is not None and any(specifiers.contains(each) for each in newer)
