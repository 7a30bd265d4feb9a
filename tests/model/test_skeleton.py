"""source-check on the skeleton of a real checkout and on the sample: nothing is lacking; each planted defect is told.

The model is the one that the compose files render, the engine a fake that has no image.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scripts.engine.compose import Compose
from scripts.engine.runner import Result
from scripts.prepare.finding import Finding
from scripts.prepare.source_check import checks
from scripts.prepare.source_check.checks import Report
from tests.model.conftest import ROOT
from tests.unit.fakes import FakeRunner

FILES = ["docker-compose.dev.yml", "docker-compose.wepppy.yml", "docker-compose.wepppy-dev.yml"]
TREE = ROOT / "tests" / "tree"
# Stands for the checkout in the model, which is rendered once.
PLACE = "/place-of-the-checkout"
UID = 4242
# All that a real tree has services for.
PROFILES = ("geo", "legacy", "analysis", "exchange", "developer")


@dataclass
class Checkout:
    """A copy of the skeleton with its siblings, and the settings of its stack."""

    folder: Path
    rendered: str
    settings: dict[str, str] = field(default_factory=dict)
    python_version: str = "3.12"
    images: dict[str, dict[str, object]] = field(default_factory=dict)

    @property
    def tree(self) -> Path:
        return self.folder / "wepppy"

    @property
    def siblings(self) -> Path:
        return self.folder / "siblings"

    def report(self) -> Report:
        """Check it with every profile on that a real tree has."""
        (self.folder / ".env").write_text("".join(f"{key}={value}\n" for key, value in self.settings.items()))
        runner = FakeRunner()
        text = self.rendered.replace(PLACE, str(self.folder))
        for name in (
            "PYTHON_IMAGE",
            "GO_IMAGE",
            "WEPPPY_IMAGE",
            "WEPPPY_BUILD_PACKAGES",
            "WEPPPY_SYSTEM_PACKAGES",
        ):
            if value := self.settings.get(name):
                text = _with_argument(text, name, value)
        runner.on("config", "json", stdout=text)
        runner.do("docker", action=self._engine)
        runner.on("docker", "compose", "config", "json", stdout=text)
        environment = {
            "WEPP_ENV_FILE": str(self.folder / ".env"),
            "SECRETS_DIR": str(self.folder / "secrets"),
        }
        return checks.examine(Compose(ROOT, runner, environment=environment, profiles=PROFILES))

    def _engine(self, argv: Sequence[str]) -> Result:
        image = next((each for each in argv if each in self.images), "")
        if not image:
            return Result(tuple(argv), 1, "", "no such image")
        if "inspect" in argv:
            return Result(tuple(argv), 0, f"sha256:{image}\n")
        said = {"interpreter": "3.12", "tree": True, "requirements": "", "names": [], **self.images[image]}
        return Result(tuple(argv), 0, json.dumps(said))


def _with_argument(text: str, name: str, value: str) -> str:
    """Return the model with another argument of every build that has it, or another image of the Python services."""
    model = json.loads(text)
    python = model["services"]["weppcloud"]["image"]
    for service in model["services"].values():
        arguments = (service.get("build") or {}).get("args") or {}
        if name in arguments:
            arguments[name] = value
        if name == "WEPPPY_IMAGE" and service.get("image") == python:
            service["image"] = value
            service.pop("build", None)
    return json.dumps(model)


@pytest.fixture(scope="session")
def rendered(render_with: Callable[..., dict[str, object]]) -> str:
    """The model of a real tree's stack."""
    variables = {
        "WEPPPY_SRC": f"{PLACE}/wepppy",
        "WEPPPY_SIBLINGS_DIR": f"{PLACE}/siblings",
        "WEPPPY_REQUIREMENTS": "docker/requirements-uv.txt",
        "WEPPPY_BUILD_PACKAGES": "git g++ libgdal-dev python3-dev",
        "WEPPPY_SYSTEM_PACKAGES": "gdal-bin nco",
        "PYTHON_IMAGE": "python:3.12-slim-trixie",
        "WC1_DIR": f"{PLACE}/wc1",
        "GEODATA_DIR": f"{PLACE}/geodata",
        "SECRETS_DIR": f"{PLACE}/secrets",
        "UID": str(UID),
        "GID": str(UID),
    }
    return json.dumps(render_with(FILES, **variables))


@pytest.fixture
def checkout(tmp_path: Path, rendered: str) -> Checkout:
    shutil.copytree(
        TREE / "skeleton", tmp_path / "wepppy", ignore=shutil.ignore_patterns("__pycache__", "node_modules")
    )
    shutil.copytree(TREE / "siblings", tmp_path / "siblings", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    for name in ("wc1", "geodata"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    (tmp_path / "constraints.txt").write_text("fastapi==0.154.0\n")
    settings = {
        "WEPPPY_SRC": str(tmp_path / "wepppy"),
        "WEPPPY_SIBLINGS_DIR": str(tmp_path / "siblings"),
        "WEPPPY_REQUIREMENTS": "docker/requirements-uv.txt",
        "WEPPPY_CONSTRAINTS_DIR": str(tmp_path),
        "WEPPPY_CONSTRAINTS": "constraints.txt",
        "DOCKER_DATA_DIR": str(tmp_path),
    }
    return Checkout(tmp_path, rendered, settings)


def errors(report: Report) -> list[Finding]:
    return [each for each in report.lacks if each.level == "error"]


def test_the_skeleton_lacks_nothing(checkout: Checkout) -> None:
    found = checkout.report()
    assert errors(found) == []
    assert found.ok
    assert any(need.python for need in found.needs)


def test_the_sample_lacks_nothing(checkout: Checkout, render_with: Callable[..., dict[str, object]]) -> None:
    checkout.rendered = json.dumps(render_with(["docker-compose.dev.yml"]))
    checkout.settings = {"DOCKER_DATA_DIR": str(checkout.folder)}
    found = checkout.report()
    assert errors(found) == []
    assert {need.name for need in found.needs if need.modules} >= {
        "weppcloud",
        "browse",
        "webpush",
        "rq-worker",
    }


Spoil = Callable[[Checkout], object]


def without(name: str) -> Spoil:
    """A file or folder of the tree is gone."""
    return lambda checkout: (checkout.tree / name).rename(checkout.folder / "elsewhere")


def without_sibling(name: str) -> Spoil:
    """A file or folder of the siblings is gone."""
    return lambda checkout: (checkout.siblings / name).rename(checkout.folder / "elsewhere")


def replaced(name: str, old: str, new: str) -> Spoil:
    """A file of the tree holds another text."""

    def spoil(checkout: Checkout) -> None:
        path = checkout.tree / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return spoil


def set_to(name: str, value: str) -> Spoil:
    """A setting has another value."""

    def spoil(checkout: Checkout) -> None:
        checkout.settings[name] = value.replace(PLACE, str(checkout.folder))

    return spoil


def mode(name: str, bits: int) -> Spoil:
    """A file or folder is closed to others."""
    return lambda checkout: (checkout.folder / name).chmod(bits)


# Name: defect, a service that it stops, what is said, the fix.
DEFECTS: dict[str, tuple[Spoil, str, str, str]] = {
    "a service's module": (
        without("wepppy/microservices/browse.py"), "browse", "the tree has no module wepppy.microservices.browse",
        "check out a revision that has it",
    ),
    "an application": (
        replaced("wepppy/webservices/wmesque2.py", "app = ", "application = "), "wmesque2",
        "wepppy/webservices/wmesque2.py does not define app", "define app in",
    ),
    "a module inside": (
        without("wepppy/config/secrets.py"), "weppcloud", "imports wepppy.config.secrets, which is not in the tree",
        "check out a revision that has it",
    ),
    "wepp_runner": (
        without("wepp_runner"), "rq-worker", "imports wepp_runner", "check out a revision that has it",
    ),
    "wepppyo3": (
        without_sibling("wepppyo3"), "weppcloud", "imports wepppyo3, which comes from the repository wepppyo3",
        "clone wepppyo3 into",
    ),
    "weppcloud-wbt": (
        without_sibling("weppcloud-wbt"), "rq-worker",
        "imports whitebox_tools, which comes from the repository weppcloud-wbt", "clone weppcloud-wbt into",
    ),
    "rosetta": (without_sibling("rosetta"), "rq-worker", "imports rosetta", "clone rosetta into"),
    "all siblings": (
        set_to("WEPPPY_SIBLINGS_DIR", f"{PLACE}/nowhere"), "weppcloud", "/nowhere does not exist",
        "WEPPPY_SIBLINGS_DIR",
    ),
    "Go older than go.mod": (
        set_to("GO_IMAGE", "golang:1.24-trixie"), "status",
        "go.mod says go 1.25, the builder golang:1.24-trixie is Go 1.24", "set GO_IMAGE",
    ),
    "a Go service": (
        without("services/preflight2"), "preflight", "the tree has no services/preflight2",
        "check out a revision that has it",
    ),
    "requirements": (
        without("docker/requirements-uv.txt"), "weppcloud",
        "the tree has no docker/requirements-uv.txt", "WEPPPY_REQUIREMENTS",
    ),
    "a constraints file": (
        set_to("WEPPPY_CONSTRAINTS", "none.txt"), "weppcloud", "none.txt is not a file", "WEPPPY_CONSTRAINTS",
    ),
    "FastAPI held": (
        set_to("WEPPPY_CONSTRAINTS", ""), "wmesque2", "calls Query(enum=...), which FastAPI 0.155.0 no longer takes",
        "WEPPPY_CONSTRAINTS_DIR=FOLDER",
    ),
    "a pin's interpreter": (
        replaced("docker/requirements-uv.txt", "numpy==2.1.3", "numpy==1.26.0"), "weppcloud",
        "asks for numpy==1.26.0, for which Python 3.13 (wepp-base/python:3.13-trixie) has no wheel",
        "PYTHON_VERSION=3.12",
    ),
    "GDAL's library": (
        replaced("docker/requirements-uv.txt", "numpy==2.1.3", "numpy==2.1.3\ngdal==3.11.0"), "weppcloud",
        "gdal==3.11.0 is compiled against libgdal, and Debian trixie", "pin gdal==3.10.3 or older",
    ),
    "a front end's lock file": (
        without("wepppy/weppcloud/static-src/package-lock.json"), "",
        "no wepppy/weppcloud/static-src/package-lock.json", "check out a revision that has it",
    ),
    "cap's Dockerfile": (
        without("services/cap/Dockerfile"), "cap", "the tree has no services/cap/Dockerfile to build the image from",
        "check out a revision that has it",
    ),
    "R's Dockerfile": (
        without("weppcloudR/Dockerfile"), "weppcloudr", "the tree has no weppcloudR/Dockerfile", "check out a revision",
    ),
    "a schedule": (
        without("docker/scheduled-tasks.yml"), "scheduler", "the tree has no docker/scheduled-tasks.yml",
        "check out a revision that has it",
    ),
    "a module of rq-engine": (
        without("wepppy/microservices/rq_engine/auth.py"), "rq-engine", "imports wepppy.microservices.rq_engine.auth",
        "check out a revision that has it",
    ),
    "git in the builder": (
        set_to("WEPPPY_BUILD_PACKAGES", "g++"), "rq-engine", "come from git repositories, and the builder has no git",
        "add git to WEPPPY_BUILD_PACKAGES",
    ),
    "a tree that others can read": (
        mode("wepppy/wepppy/weppcloud", 0o700), "weppcloud", "wepppy/weppcloud belongs to", "chmod -R go+rX",
    ),
    "siblings for the interpreter": (
        set_to("PYTHON_IMAGE", "wepp-base/python:3.11-bookworm"), "weppcloud",
        "wepppyo3 has releases for py312, py313, none for the image's Python", "set PYTHON_VERSION",
    ),
    "an image": (
        set_to("WEPPPY_IMAGE", "wepppy:latest"), "weppcloud", "WEPPPY_IMAGE=wepppy:latest is not on this machine",
        "docker build --file",
    ),
    "runs' folder": (
        lambda checkout: (checkout.folder / "wc1").rmdir(), "weppcloud", "/wc1 does not exist", "WC1_DIR",
    ),
    "runs' owner": (
        mode("wc1", 0o755), "rq-worker", f"the containers run as {UID}:{UID} and cannot write to", f"{UID}:{UID}",
    ),
}  # fmt: skip
BASE_IMAGE_OF = {"a pin's interpreter": "wepp-base/python:3.13-trixie"}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_planted_defect_is_told_with_a_service_that_it_stops_and_a_fix(
    checkout: Checkout, defect: str
) -> None:
    spoil, service, what, fix = DEFECTS[defect]
    if defect in BASE_IMAGE_OF:
        checkout.settings["PYTHON_IMAGE"] = BASE_IMAGE_OF[defect]
    spoil(checkout)
    found = checkout.report()
    told = [each for each in found.lacks if what in each.what]
    assert told, [each.what for each in found.lacks]
    assert fix in told[0].fix
    if service:
        assert service in {name for each in told for name in each.services}
        assert not found.ok
    assert {each.what for each in errors(found)} <= {each.what for each in told}


def test_what_this_kit_brings_by_itself_is_not_missing(checkout: Checkout) -> None:
    """The token of the vendor package is a secret of the stack."""
    (checkout.siblings / "weppcloud2/weppcloud2/discord_bot/.bot_token").unlink()
    (checkout.tree / "docker/wepppyo3-interchange-preflight.py").unlink()
    assert errors(checkout.report()) == []
