"""A small wepppy checkout with its siblings, the services that run it, and a stack to check it with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scripts.engine.runner import Result
from scripts.prepare.finding import Finding
from scripts.prepare.source_check import checks
from scripts.prepare.source_check.checks import Report
from tests.unit.fakes import Checkout

REQUIREMENTS = """\
fastapi==0.154.0
flask==3.0.3
numpy==2.1.3  # the newest that the tree was tried with
gdal==3.10.2
extra[socks]==1.0 ; python_version >= "3.9"
brotli @ git+https://git.example/brotli
"""
FILES = {
    "docker/requirements-uv.txt": REQUIREMENTS,
    "docker/rq-worker-startup.sh": "#!/bin/sh\n",
    "docker/scheduled-tasks.yml": "version: 1\n",
    "docker/pth_files/wepppyo3.pth": "/workdir/wepppyo3/release/linux/py312/\n",
    "docker/pth_files/weppcloud2.pth": "/workdir/weppcloud2/\n",
    "services/cap/Dockerfile": "FROM scratch\n",
    "services/status2/cmd/status2/main.go": "package main\n",
    "services/status2/go.mod": "module m/status2\n\ngo 1.25\n\nrequire redis.example/go-redis/v9 v9.5.5\n",
    "services/status2/go.sum": "redis.example/go-redis/v9 v9.5.5 h1:x=\n",
    "wepp_runner/__init__.py": "",
    "wepp_runner/runner.py": "import subprocess\n",
    "wepppy/__init__.py": "",
    "wepppy/config/__init__.py": "",
    "wepppy/config/redis_settings.py": "",
    "wepppy/nodb/__init__.py": "from wepp_runner import runner\nfrom .base import Base\n",
    "wepppy/nodb/base.py": (
        "import numpy, wepppyo3\n"
        "from os import path\n"
        "try:\n    import not_there\nexcept ImportError:\n    not_there = None\n"
        "class Base:\n    def late(self):\n        import wepppy.not_there_either\n"
    ),
    "wepppy/rq/__init__.py": "class WepppyRqWorker:\n    pass\n",
    "wepppy/rq/project_rq.py": "from wepppy.nodb import Base\n",
    "wepppy/tools/__init__.py": "",
    "wepppy/tools/scheduler.py": "from wepppy.config import redis_settings\n",
    "wepppy/weppcloud/__init__.py": "",
    "wepppy/weppcloud/app.py": (
        "import flask\nfrom wepppy.nodb import Base\nfrom weppcloud2 import discord_bot\napp = flask.Flask(__name__)\n"
    ),
    "wepppy/weppcloud/controllers_js/build_controllers_js.py": "",
    "wepppy/weppcloud/static-src/package.json": "{}\n",
    "wepppy/weppcloud/static-src/package-lock.json": "{}\n",
    "wepppy/webservices/__init__.py": "",
    "wepppy/webservices/wmesque2.py": (
        "from fastapi import FastAPI, Query\napp = FastAPI()\n"
        "def retrieve(resample: str = Query('near', enum=['near', 'bilinear'])):\n    pass\n"
    ),
}
SIBLINGS = {
    "wepppyo3/release/linux/py312/wepppyo3/__init__.py": "from . import rust\n",
    "wepppyo3/release/linux/py312/wepppyo3/rust.cpython-312-x86_64-linux-gnu.so": "",
    "weppcloud2/weppcloud2/__init__.py": "",
    "weppcloud2/weppcloud2/discord_bot/__init__.py": "",
    "weppcloud2/weppcloud2/discord_bot/.bot_token": "",
}
ARGUMENTS = {
    "PYTHON_IMAGE": "python:3.12-slim-trixie",
    "WEPPPY_BUILD_PACKAGES": "git g++ libgdal-dev",
    "WEPPPY_SYSTEM_PACKAGES": "gdal-bin nco",
}


class SmallTree:
    """The tree in `root`/tree, its siblings beside it, and a fake stack whose model runs it."""

    def __init__(self, root: Path) -> None:
        self.tree, self.siblings = root / "tree", root / "siblings"
        for folder, files in ((self.tree, FILES), (self.siblings, SIBLINGS)):
            for name, text in files.items():
                self.write(folder / name, text)
        (root / "stack").mkdir()
        self.checkout = Checkout(root / "stack")
        self.folders = {name: root / name for name in ("wc1", "geodata")}
        for folder in self.folders.values():
            folder.mkdir()
            folder.chmod(0o777)
        self.user = "4242:4242"
        self.settings = {
            "WEPPPY_SRC": str(self.tree),
            "WEPPPY_SIBLINGS_DIR": str(self.siblings),
            "WEPPPY_REQUIREMENTS": "docker/requirements-uv.txt",
        }
        self.arguments = dict(ARGUMENTS)
        self.go_image = "golang:1.27-trixie"
        self.images: dict[str, dict[str, Any] | str] = {}
        (root / "stack" / ".docker-data").mkdir()

    @staticmethod
    def write(path: Path, text: str) -> Path:
        """Write a file, its folders with it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def python(self, *command: str, **more: Any) -> dict[str, Any]:
        """Return a service that runs in the Python image, the tree mounted."""
        return {
            "image": self.settings.get("WEPPPY_IMAGE") or "wepppy-python:dev",
            "build": {
                "context": "/kit/python",
                "additional_contexts": {"source": str(self.tree)},
                "args": self.arguments,
            },
            "user": self.user,
            "command": list(command),
            "volumes": [{"type": "bind", "source": str(self.tree), "target": "/workdir/wepppy"}],
            **more,
        }

    def model(self) -> dict[str, Any]:
        """Return the rendered model."""
        data = [
            {"type": "bind", "source": str(self.folders["wc1"]), "target": "/wc1"},
            {"type": "bind", "source": str(self.folders["geodata"]), "target": "/geodata", "read_only": True},
        ]
        source = {"context": "/kit/go", "additional_contexts": {"source": str(self.tree)}}
        return {
            "name": "wepppy",
            "services": {
                "caddy": {"image": "caddy:2.10"},
                "weppcloud": self.python("gunicorn", "wepppy.weppcloud.app:app", "--bind", "0:8000", volumes=data),
                "status": {
                    "image": "wepppy-status:dev",
                    "build": {**source, "args": {"SERVICE": "status2", "GO_IMAGE": self.go_image}},
                },
                "wmesque2": self.python("gunicorn", "wepppy.webservices.wmesque2:app", profiles=["geo"]),
                "rq-worker": self.python("docker/rq-worker-startup.sh", "2", "default"),
                "kit-worker": self.python("python", "/opt/stack/rq-worker.py", "default", profiles=["legacy"]),
                "scheduler": self.python(
                    "python", "-m", "wepppy.tools.scheduler",
                    environment={"SCHEDULE_CONFIG": "/workdir/wepppy/docker/scheduled-tasks.yml"},
                ),
                "cap": {
                    "image": "wepppy-cap:dev",
                    "user": "10001:10001",
                    "build": {"context": str(self.tree), "dockerfile": "services/cap/Dockerfile"},
                },
                "assets": self.python("python", "/opt/stack/assets.py"),
                "assets-vendor": {"image": "node"},
            },
        }  # fmt: skip

    def report(self, *profiles: str) -> Report:
        """Check it."""
        checkout = self.checkout
        checkout.with_env(mode=0o600, **self.settings)
        checkout.runner.on("config", "json", stdout=json.dumps(self.model()))
        checkout.runner.do("docker", "image", "inspect", "{{.Id}}", action=self._inspect)
        checkout.runner.do("docker", "run", action=self._run)
        return checks.examine(checkout.compose(*(profiles or ("geo",))))

    def _inspect(self, argv: Any) -> Result:
        here = argv[-1] in self.images
        return Result(
            tuple(argv),
            0 if here else 1,
            f"sha256:{argv[-1]}\n" if here else "",
            "" if here else "no such image",
        )

    def _run(self, argv: Any) -> Result:
        image = argv[argv.index("--entrypoint") + 2]
        facts = self.images[image]
        if isinstance(facts, str):
            return Result(tuple(argv), 127, "", facts)
        said = {"interpreter": "3.12", "tree": True, "requirements": "", "names": [], **facts}
        return Result(tuple(argv), 0, json.dumps(said))


def errors(report: Report) -> list[Finding]:
    """Return the errors of a report."""
    return [each for each in report.lacks if each.level == "error"]


def only(report: Report) -> Finding:
    """Return the one error of a report."""
    found = errors(report)
    assert len(found) == 1, found
    assert found[0].fix, "every error needs a fix"
    assert not report.ok
    return found[0]
