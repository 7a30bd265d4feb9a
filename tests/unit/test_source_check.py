"""A checkout is read, not run: each thing that it lacks is named with who cannot start and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.prepare.source_check import python_code
from tests.unit.small_tree import REQUIREMENTS, SmallTree, errors, only


@pytest.fixture
def small(tmp_path: Path) -> SmallTree:
    return SmallTree(tmp_path)


def test_a_whole_tree_lacks_nothing(small: SmallTree) -> None:
    found = small.report()
    assert errors(found) == []
    assert found.ok
    assert {need.name for need in found.needs if need.active} >= {"weppcloud", "status", "wmesque2", "cap"}


def in_tree(name: str, text: str | None = None) -> Callable[[SmallTree], None]:
    """A defect: the file is gone, or holds another text."""

    def spoil(small: SmallTree) -> None:
        path = small.tree / name
        if text is None:
            path.unlink()
        else:
            small.write(path, text)

    return spoil


def beside(name: str) -> Callable[[SmallTree], None]:
    """A defect: something of a sibling is gone."""

    def spoil(small: SmallTree) -> None:
        (small.siblings / name).rename(small.siblings / "elsewhere")

    return spoil


def argument(name: str, value: str) -> Callable[[SmallTree], None]:
    """A defect of the build's settings."""

    def spoil(small: SmallTree) -> None:
        small.arguments[name] = value

    return spoil


def setting(name: str, value: str) -> Callable[[SmallTree], None]:
    """A defect of `.env`."""

    def spoil(small: SmallTree) -> None:
        small.settings[name] = value

    return spoil


RUNS = ("weppcloud", "rq-worker", "kit-worker")
PYTHON = ("weppcloud", "wmesque2", "rq-worker", "kit-worker", "scheduler", "assets")
DEFECTS: dict[str, tuple[Callable[[SmallTree], None], tuple[str, ...], str, str]] = {
    "module": (
        in_tree("wepppy/weppcloud/app.py"), ("weppcloud",), "no module wepppy.weppcloud.app", "check out a revision",
    ),
    "application": (
        in_tree("wepppy/weppcloud/app.py", "application = 1\n"), ("weppcloud",),
        "wepppy/weppcloud/app.py does not define app", "define app",
    ),
    "worker class": (
        in_tree("wepppy/rq/__init__.py", "Worker = 1\n"), ("rq-worker", "kit-worker"),
        "does not define WepppyRqWorker", "define",
    ),
    "syntax": (
        in_tree("wepppy/nodb/base.py", "def broken(:\n"), RUNS,
        "wepppy/nodb/base.py does not parse", "git checkout",
    ),
    "module inside": (
        in_tree("wepppy/nodb/base.py"), RUNS,
        "wepppy/nodb/__init__.py line 2 imports wepppy.nodb.base, which is not in the tree", "check out a revision",
    ),
    "package at the root": (
        in_tree("wepp_runner/__init__.py", "import wepp_runner.gone\n"), RUNS,
        "wepp_runner/__init__.py line 1 imports wepp_runner.gone", "check out a revision",
    ),
    "name inside": (
        in_tree("wepppy/nodb/base.py", "import numpy\n"), RUNS,
        "wepppy/nodb/__init__.py line 2 imports wepppy.nodb.base.Base", "check out a revision",
    ),
    "start-up script": (
        in_tree("docker/rq-worker-startup.sh"), ("rq-worker",),
        "no docker/rq-worker-startup.sh", "check out a revision",
    ),
    "schedule": (
        in_tree("docker/scheduled-tasks.yml"), ("scheduler",), "no docker/scheduled-tasks.yml", "check out a revision",
    ),
    "Dockerfile": (
        in_tree("services/cap/Dockerfile"), ("cap",), "no services/cap/Dockerfile to build", "check out a revision",
    ),
    "front end": (
        in_tree("wepppy/weppcloud/static-src/package-lock.json"), ("assets-vendor",),
        "no wepppy/weppcloud/static-src/package-lock.json", "check out a revision",
    ),
    "sibling folder": (
        setting("WEPPPY_SIBLINGS_DIR", "/no/such/folder"), PYTHON, "WEPPPY_SIBLINGS_DIR=/no/such/folder does not exist",
        "WEPPPY_SIBLINGS_DIR",
    ),
    "sibling": (
        beside("wepppyo3"), RUNS, "wepppy/nodb/base.py line 1 imports wepppyo3", "clone wepppyo3 into",
    ),
    "no siblings": (
        setting("WEPPPY_SIBLINGS_DIR", ""), RUNS, "WEPPPY_SIBLINGS_DIR is empty", "set WEPPPY_SIBLINGS_DIR",
    ),
    "sibling incomplete": (
        beside("wepppyo3/release"), RUNS, "no folder on the import path holds wepppyo3", "git lfs pull",
    ),
    "newer Go": (
        in_tree("services/status2/go.mod", "module m\n\ngo 1.99\n"), ("status",),
        "says go 1.99, the builder golang:1.27-trixie is Go 1.27", "GO_IMAGE",
    ),
    "requirements": (
        setting("WEPPPY_REQUIREMENTS", "requirements.txt"), PYTHON, "the tree has no requirements.txt",
        "set WEPPPY_REQUIREMENTS in .env to docker/requirements-uv.txt",
    ),
    "constraints": (
        setting("WEPPPY_CONSTRAINTS", "no-file"), PYTHON, "/tree/no-file is not a file",
        "WEPPPY_CONSTRAINTS",
    ),
    "git": (
        argument("WEPPPY_BUILD_PACKAGES", "g++ libgdal-dev"), PYTHON, "brotli come from git repositories", "add git",
    ),
    "GDAL's library": (
        argument("PYTHON_IMAGE", "python:3.12-slim-bookworm"), PYTHON,
        "bookworm (python:3.12-slim-bookworm) has libgdal 3.6.2",
        "choose a base image of Debian trixie",
    ),
    "GDAL's headers": (
        argument("WEPPPY_BUILD_PACKAGES", "git"), PYTHON, "the builder has no libgdal-dev", "libgdal-dev",
    ),
    "GDAL at run time": (
        argument("WEPPPY_SYSTEM_PACKAGES", "nco"), PYTHON,
        "loads libgdal, which the image does not have", "add gdal-bin",
    ),
    "FastAPI": (
        in_tree("docker/requirements-uv.txt", REQUIREMENTS.replace("==0.154.0", ">=0.120.0")), ("wmesque2",),
        "wmesque2.py line 3 calls Query(enum=...)", "WEPPPY_CONSTRAINTS_DIR=FOLDER",
    ),
}  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_is_told_with_the_services_that_it_stops_and_a_fix(small: SmallTree, defect: str) -> None:
    spoil, services, what, fix = DEFECTS[defect]
    spoil(small)
    found = errors(small.report("geo", "legacy"))
    assert {service for lack in found for service in lack.services} == set(services)
    # Two siblings are in the one folder that is not named.
    lack = next(each for each in reversed(found) if what in each.what)
    assert fix in lack.fix
    assert len(found) == (2 if defect == "no siblings" else 1)


def test_services_that_are_off_are_checked_and_keep_nothing_from_starting(small: SmallTree) -> None:
    (small.tree / "wepppy/webservices/wmesque2.py").unlink()
    found = small.report("core")
    assert [lack.services for lack in errors(found)] == [("wmesque2",)]
    assert found.ok
    assert not small.report("geo").ok


def test_code_of_the_tree_is_not_executed(small: SmallTree, tmp_path: Path) -> None:
    sign = tmp_path / "executed"
    text = f"open({str(sign)!r}, 'w')\nimport flask\napp = flask.Flask(__name__)\n"
    small.write(small.tree / "wepppy/weppcloud/app.py", text)
    assert errors(small.report()) == []
    assert not sign.exists()


def test_modules_that_the_image_has_are_not_missing(small: SmallTree) -> None:
    """The tree's own Dockerfile puts the siblings into its image."""
    small.settings |= {"WEPPPY_SIBLINGS_DIR": "", "WEPPPY_IMAGE": "wepppy:latest"}
    small.images["wepppy:latest"] = {"names": ["weppcloud2", "wepppyo3"]}
    assert errors(small.report()) == []


@pytest.mark.parametrize(
    ("constraint", "good"),
    [
        ("fastapi<0.155", True),
        ("fastapi==0.154.0  # reason", True),
        ("fastapi>=0.150", False),
        ("starlette<1", False),
    ],
)
def test_a_constraints_file_decides_which_fastapi_comes(
    small: SmallTree, constraint: str, good: bool
) -> None:
    small.write(small.tree / "docker/requirements-uv.txt", "fastapi>=0.120.0\n")
    small.write(small.tree / "constraints.txt", f"{constraint}\n")
    small.settings["WEPPPY_CONSTRAINTS"] = "constraints.txt"
    assert small.report().ok == good
    small.settings["WEPPPY_CONSTRAINTS_DIR"] = str(small.tree.parent / "mine")
    small.write(small.tree.parent / "mine" / "constraints.txt", "fastapi<0.155\n")
    assert small.report().ok


@pytest.mark.parametrize(
    ("image", "pin", "good"),
    [
        ("wepp-base/python:3.13-trixie", "numpy==1.26.0", False),
        ("wepp-base/python:3.13-trixie", "numpy==2.1.3", True),
        ("wepp-base/python:3.13-trixie", "numpy>=1.26", True),
        ("python:3.12-slim-trixie", "numpy==1.26.0", True),
        ("registry.example:5000/python@sha256:abc", "numpy==1.26.0", True),
    ],
)
def test_pins_are_checked_against_the_interpreter_that_is_known(
    small: SmallTree, image: str, pin: str, good: bool
) -> None:
    small.arguments["PYTHON_IMAGE"] = image
    small.write(small.tree / "docker/requirements-uv.txt", f"{pin}\n")
    # The compiled sibling is for 3.12; what is said of it is not the question here.
    found = [lack for lack in errors(small.report()) if lack.check == "requirements"]
    assert bool(found) != good
    assert all(f"{pin}, for which Python 3.13 ({image}) has no wheel" in lack.what for lack in found)


def test_requirements_that_are_split_over_files_are_read_together(small: SmallTree) -> None:
    small.write(
        small.tree / "docker/requirements-uv.txt",
        "-r more/web.txt\nflask==3.0.3 --hash=sha256:ab \\\n  --hash=x\n",
    )
    small.write(small.tree / "docker/more/web.txt", "gdal==3.11.0\n")
    assert "gdal==3.11.0 is compiled against libgdal, and Debian trixie" in only(small.report()).what


def test_what_was_read_is_kept_and_a_file_that_changed_is_read_again(
    small: SmallTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert small.report().ok
    read: list[Path] = []
    before = python_code.read

    def reading(path: Path) -> python_code.Code:
        read.append(path)
        return before(path)

    monkeypatch.setattr(python_code, "read", reading)
    assert small.report().ok
    assert read == []
    base = small.write(small.tree / "wepppy/nodb/base.py", "import wepp_runner.gone\nclass Base:\n    pass\n")
    assert "wepppy/nodb/base.py line 1 imports wepp_runner.gone" in only(small.report()).what
    assert read == [base]
    cache = small.checkout.root / ".docker-data" / "source-cache.json"
    cache.write_text("[1")
    assert "wepp_runner.gone" in only(small.report()).what
