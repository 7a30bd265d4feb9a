"""`scripts/setup` in shells of all kinds, with a package index of the test's own that serves a stand-in for uv."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.settings import package_index

ROOT = Path(__file__).resolve().parents[2]
# What the stand-in for uv is asked and with which environment, for the test to read.
PROGRAM = """
import json, os, sys
def main():
    with open(os.path.join(os.environ["VIRTUAL_ENV"], "uv.json"), "w") as file:
        json.dump({"argv": sys.argv[1:], "env": dict(os.environ)}, file)
"""
WHEEL_NAME = "uv-0.0.1-py3-none-any.whl"


def wheel() -> bytes:
    """A package `uv` whose program only records how it was called."""
    information = "uv-0.0.1.dist-info"
    files = {
        "uv_stand_in.py": PROGRAM,
        f"{information}/METADATA": "Metadata-Version: 2.1\nName: uv\nVersion: 0.0.1\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{information}/entry_points.txt": "[console_scripts]\nuv = uv_stand_in:main\n",
    }
    record = []
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record.append(f"{name},sha256={digest},{len(text)}")
    files[f"{information}/RECORD"] = "\n".join([*record, f"{information}/RECORD,,", ""])
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


@pytest.fixture(scope="module")
def package() -> bytes:
    """The stand-in's wheel, the same bytes for index and lock."""
    return wheel()


@pytest.fixture(scope="module")
def index(package: bytes) -> Iterator[str]:
    """Address of a package index that holds the stand-in alone."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = f'<a href="/files/{WHEEL_NAME}">{WHEEL_NAME}</a>'.encode()
            content = {"/simple/uv/": page, f"/files/{WHEEL_NAME}": package}.get(self.path)
            self.send_response(200 if content else 404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Nothing is printed."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple/"
        server.shutdown()


class Clone:
    """A checkout that holds what the set-up reads, and a home folder beside it."""

    def __init__(self, folder: Path, package: bytes) -> None:
        self.root, self.home = folder / "clone", folder / "home"
        (self.root / "scripts" / "settings").mkdir(parents=True)
        self.home.mkdir()
        for name in ("setup", "settings/package_index.py"):
            shutil.copy(ROOT / "scripts" / name, self.root / "scripts" / name)
        digest = hashlib.sha256(package).hexdigest()
        (self.root / "requirements.lock").write_text(f"uv==0.0.1 \\\n    --hash=sha256:{digest}\n")

    def setup(self, *command: str, umask: int = 0o022, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `scripts/setup` from the checkout's root, as a user types it."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "PIP_CONFIG_FILE": "", **variables}
        return subprocess.run(
            ["scripts/setup", "--yes", "--no-engine", *command], cwd=self.root, env=environment, umask=umask,
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=100,
        )  # fmt: skip

    def uv(self) -> dict[str, dict[str, str]]:
        """How uv was called."""
        answer: dict[str, dict[str, str]] = json.loads((self.root / ".venv" / "uv.json").read_text())
        return answer


@pytest.fixture
def fresh(tmp_path: Path, package: bytes) -> Clone:
    """A checkout that nothing was made in."""
    return Clone(tmp_path, package)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment as `scripts/setup` makes one; it takes long."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-I", "-m", "venv", str(folder)], check=True)
    return folder


@pytest.fixture
def clone(fresh: Clone, environment: Path) -> Clone:
    """A checkout whose virtual environment holds nothing yet."""
    shutil.copytree(environment, fresh.root / ".venv", symlinks=True)
    return fresh


def test_nothing_of_the_callers_shell_reaches_the_installation_but_how_packages_are_reached(
    fresh: Clone, index: str, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    for name in ("scripts", "clone", "target"):
        (elsewhere / name).mkdir(parents=True)
    (elsewhere / "json.py").write_text("raise SystemExit('a module of the caller was imported')\n")
    startup = elsewhere / "startup.sh"
    startup.write_text("cd() { builtin cd /; }\nset -o noglob\nIFS=/\necho noise\n")
    done = fresh.setup(
        "sh", "-c", "umask; printf '%s\\n' \"$LC_ALL\" \"$WEPP_ENV_FILE\" \"${PYTHONHOME-unset}\"",
        umask=0o077,
        CDPATH=f"{elsewhere}:.", PIP_INDEX_URL=index, PIP_USER="1", PIP_TARGET=str(elsewhere / "target"),
        PIP_REQUIRE_VIRTUALENV="1", PIP_PREFIX=str(elsewhere), PIP_NO_BINARY=":all:", PYTHONPATH=str(elsewhere),
        PYTHONHOME="/nowhere", GREP_OPTIONS="--color=always", BASH_ENV=str(startup), IFS="/", LC_ALL="tr_TR.UTF-8",
        HOME="somewhere", UV_TARGET="/nowhere", UV_SYSTEM_PYTHON="1", UV_OFFLINE="1", UV_CONFIG_FILE="/nowhere",
        SHELLOPTS="braceexpand:hashall:noglob", POSIXLY_CORRECT="1", WEPP_ENV_FILE="/tmp/other",
        GLOBIGNORE="*", VIRTUAL_ENV="/nowhere", **{"BASH_FUNC_cd%%": "() { builtin cd /; }"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["0077", "tr_TR.UTF-8", "/tmp/other", "unset"]
    assert not list((elsewhere / "target").iterdir())
    called = fresh.uv()["env"]
    # The machine itself may name an index, a proxy or a CA in /etc/pip.conf.
    of_the_machine = package_index.for_installation({"PATH": "", "HOME": ""}).keys()
    assert called.keys() - of_the_machine <= {"PATH", "VIRTUAL_ENV", "PIP_INDEX_URL", "UV_DEFAULT_INDEX"}
    assert called["UV_DEFAULT_INDEX"] == index
    assert Path(called["HOME"]).is_absolute()
    # Nor its umask: what is made can be read by every user of the machine.
    assert (fresh.root / ".venv" / "bin" / "uv").stat().st_mode & 0o055 == 0o055


def test_a_mirror_in_pips_settings_file_is_used_by_pip_and_by_uv(clone: Clone, index: str) -> None:
    folder = clone.home / ".config" / "pip"
    folder.mkdir(parents=True)
    (folder / "pip.conf").write_text(
        f"[global]\nindex-url = {index}\nuser = true\nrequire-virtualenv = true\n[install]\ntarget = /nowhere\n"
        "trusted-host =\n    127.0.0.1\n    mirror.example\n"
    )
    done = clone.setup()
    assert done.returncode == 0, done.stderr
    assert clone.uv()["env"]["UV_DEFAULT_INDEX"] == index
    assert clone.uv()["env"]["UV_INSECURE_HOST"] == "127.0.0.1 mirror.example"


def test_an_index_that_only_uv_was_told_of_serves_pip_too(clone: Clone, index: str) -> None:
    done = clone.setup(UV_DEFAULT_INDEX=f"mirror={index}")
    assert done.returncode == 0, done.stderr


def test_an_index_that_does_not_answer_is_named_without_its_password(clone: Clone) -> None:
    done = clone.setup(PIP_INDEX_URL="http://me:secret-word@127.0.0.1:9/simple/", PIP_RETRIES="0")
    assert done.returncode == 3
    assert (
        "could not install the packages of requirements.lock from http://127.0.0.1:9/simple/" in done.stderr
    )
    assert "  fix: " in done.stderr
    assert "secret-word" not in done.stderr


def test_a_settings_file_that_cannot_be_read_is_named(clone: Clone) -> None:
    broken = clone.home / "broken.conf"
    broken.write_text("index-url = http://127.0.0.1/\n")
    done = clone.setup(PIP_CONFIG_FILE=str(broken))
    assert done.returncode == 3
    assert str(broken) in done.stderr


def test_a_clone_that_converts_line_ends_holds_none_that_bash_or_a_container_would_stumble_over(
    tmp_path: Path,
) -> None:
    clone = ["git", "clone", "--quiet", "--depth=1", "--config", "core.autocrlf=true"]
    subprocess.run([*clone, ROOT.as_uri(), str(tmp_path / "clone")], check=True)
    listed = subprocess.run(
        ["git", "ls-files", "--eol"], cwd=tmp_path / "clone", check=True, capture_output=True, text=True
    )
    assert [line for line in listed.stdout.splitlines() if "w/crlf" in line or "w/mixed" in line] == []
