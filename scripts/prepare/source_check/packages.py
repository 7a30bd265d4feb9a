"""Check the tree's requirements against the image that will be built: interpreter, GDAL's library, git, pins."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from scripts.prepare.finding import Finding, Level

CHECK = "requirements"
REAL_TREES = "docker/requirements-uv.txt"
# libgdal of each Debian release (package libgdal-dev). The bindings refuse to build for an older library.
GDAL_OF_RELEASE = {"bookworm": "3.6.2", "trixie": "3.10.3"}
# Releases without a wheel for an interpreter (the files of each on PyPI): name, releases, interpreters.
WITHOUT_WHEEL = (
    ("numpy", "<2.1", ">=3.13"),
    ("pandas", "<2.2.3", ">=3.13"),
    ("pyarrow", "<18", ">=3.13"),
    ("rasterio", "<1.4", ">=3.13"),
    ("scipy", "<1.14.1", ">=3.13"),
    ("shapely", "<2.0.6", ">=3.13"),
)
# From this FastAPI on `Query` takes no `enum`.
FASTAPI_WITHOUT_ENUM = Version("0.155.0")


@dataclass(frozen=True)
class Base:
    """The image that the Python image starts from, as far as its name tells: interpreter and Debian release.

    packages: Debian packages of the builder and of the image; None where the model does not say.
    """

    image: str
    interpreter: str = ""
    release: str = ""
    build_packages: frozenset[str] | None = None
    system_packages: frozenset[str] = frozenset()

    @classmethod
    def of(cls, arguments: Mapping[str, object]) -> Base:
        """Read it from the arguments of the Python image's build."""
        image = str(arguments.get("PYTHON_IMAGE") or "")
        tag = image.partition("@")[0].rpartition(":")[2]
        interpreter = re.match(r"(\d+\.\d+)", tag)
        release = next((each for each in GDAL_OF_RELEASE if each in tag), "")
        build = arguments.get("WEPPPY_BUILD_PACKAGES")
        return cls(
            image,
            interpreter[1] if interpreter else "",
            release,
            frozenset(str(build).split()) if build is not None else None,
            frozenset(str(arguments.get("WEPPPY_SYSTEM_PACKAGES") or "").split()),
        )


@dataclass(frozen=True)
class Requirements:
    """What a requirements file asks for, constraints applied; git: those that are fetched with git."""

    wanted: Mapping[str, SpecifierSet]
    git: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


def read(path: Path, constraints: Path | None = None) -> Requirements:
    """Read a requirements file; files that it includes are read too. Raise OSError and UnicodeDecodeError."""
    wanted: dict[str, SpecifierSet] = {}
    git: list[str] = []
    unreadable: list[str] = []
    for line in _lines(path):
        if "git+" in line:
            git.append(re.split(r"\s*@\s*git\+|\s", line)[0])
            continue
        try:
            each = Requirement(re.split(r"\s--", line)[0])
        except InvalidRequirement:
            unreadable.append(line)
            continue
        name = canonicalize_name(each.name)
        wanted[name] = wanted.get(name, SpecifierSet()) & each.specifier
    for line in _lines(constraints) if constraints else ():
        try:
            each = Requirement(line)
        except InvalidRequirement:
            continue
        name = canonicalize_name(each.name)
        if name in wanted:
            wanted[name] &= each.specifier
    return Requirements(wanted, tuple(git), tuple(unreadable))


def _lines(path: Path, depth: int = 0) -> Iterator[str]:
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        included = re.match(r"(?:-r|--requirement)[ =]+(\S+)", line)
        if included and depth < 5:
            yield from _lines(path.parent / included[1], depth + 1)
        elif line and not line.startswith("-"):
            yield line


def lacks(
    requirements: Requirements, name: str, base: Base, services: Sequence[str], enums: Mapping[str, str]
) -> Iterator[Finding]:
    """Yield what keeps the requirements from being installed or used. services: those that run in the image.

    enums: services that call `Query(enum=...)`, with the place.
    """
    everyone = tuple(services)
    yield from _git(requirements, base, everyone)
    yield from _gdal(requirements, base, everyone)
    pins = [each for each in requirements.wanted if without_wheel(requirements, each, base.interpreter)]
    if pins:
        told = ", ".join(f"{each}{requirements.wanted[each]}" for each in sorted(pins))
        yield Finding(
            CHECK,
            Level.ERROR,
            f"{name} asks for {told}, for which Python {base.interpreter} ({base.image}) has no wheel",
            "set PYTHON_VERSION=3.12 in .env and empty PYTHON_IMAGE (needs a registry), set WEPPPY_IMAGE to an image "
            "built by the tree's own Dockerfile, or pin newer releases",
            everyone,
        )
    if enums and takes_no_enum(requirements):
        place = next(iter(enums.values()))
        yield Finding(
            CHECK,
            Level.ERROR,
            f"{place} calls Query(enum=...), which FastAPI {FASTAPI_WITHOUT_ENUM} no longer takes, and {name} asks for "
            f"fastapi{requirements.wanted['fastapi']}",
            f"write `fastapi<{FASTAPI_WITHOUT_ENUM}` into FOLDER/constraints.txt and set in .env: "
            "WEPPPY_CONSTRAINTS_DIR=FOLDER WEPPPY_CONSTRAINTS=constraints.txt",
            tuple(enums),
        )


def _git(requirements: Requirements, base: Base, services: tuple[str, ...]) -> Iterator[Finding]:
    if not requirements.git:
        return
    told = ", ".join(requirements.git)
    if base.build_packages is not None and "git" not in base.build_packages:
        yield Finding(
            CHECK,
            Level.ERROR,
            f"{told} come from git repositories, and the builder has no git",
            "add git to WEPPPY_BUILD_PACKAGES in .env",
            services,
        )
    else:
        yield Finding(CHECK, Level.OK, f"fetched with git when the image is built: {told}")


def _gdal(requirements: Requirements, base: Base, services: tuple[str, ...]) -> Iterator[Finding]:
    pin = pinned(requirements.wanted.get("gdal"))
    if pin is None:
        return
    library = GDAL_OF_RELEASE.get(base.release)
    if library and pin > Version(library):
        better = [release for release, has in GDAL_OF_RELEASE.items() if Version(has) >= pin]
        fix = f"choose a base image of Debian {better[0]} by PYTHON_IMAGE in .env" if better else ""
        yield Finding(
            CHECK,
            Level.ERROR,
            f"gdal=={pin} is compiled against libgdal, and Debian {base.release} ({base.image}) has libgdal {library}: "
            "bindings do not build for an older library",
            f"{fix}{', or ' if fix else ''}pin gdal=={library} or older, or set WEPPPY_IMAGE",
            services,
        )
    if base.build_packages is not None and "libgdal-dev" not in base.build_packages:
        yield Finding(
            CHECK,
            Level.ERROR,
            f"gdal=={pin} is compiled when the image is built, and the builder has no libgdal-dev",
            "set in .env: WEPPPY_BUILD_PACKAGES='git g++ libgdal-dev python3-dev', and WEPPPY_SYSTEM_PACKAGES=gdal-bin",
            services,
        )
    elif base.build_packages is not None and not any("gdal" in each for each in base.system_packages):
        yield Finding(
            CHECK,
            Level.ERROR,
            f"gdal=={pin} loads libgdal, which the image does not have",
            "add gdal-bin to WEPPPY_SYSTEM_PACKAGES in .env",
            services,
        )


def pinned(specifiers: SpecifierSet | None) -> Version | None:
    """Return the one version that specifiers allow by `==`; None when they leave a choice."""
    for each in specifiers or ():
        if each.operator == "==" and not each.version.endswith(".*"):
            return Version(each.version)
    return None


def without_wheel(requirements: Requirements, name: str, interpreter: str) -> bool:
    """Return whether a requirement is pinned to a release that has no wheel for an interpreter."""
    pin = pinned(requirements.wanted[name])
    return bool(interpreter and pin) and any(
        name == each and SpecifierSet(releases).contains(pin) and SpecifierSet(on).contains(interpreter)
        for each, releases, on in WITHOUT_WHEEL
        if pin
    )


def takes_no_enum(requirements: Requirements) -> bool:
    """Return whether a FastAPI may be installed whose `Query` takes no `enum`."""
    specifiers = requirements.wanted.get("fastapi")
    if specifiers is None:
        return False
    # An upper bound or a pin below it is what counts; any floor lets the newest in.
    return any(specifiers.contains(each) for each in (FASTAPI_WITHOUT_ENUM, Version("0.999"), Version("99")))
