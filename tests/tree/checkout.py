"""A checkout of the skeleton as a user has it on the disk: a git repository, secrets, leftovers."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SKELETON = HERE / "skeleton"
SIBLINGS = HERE / "siblings"
# Secrets that a checkout brings in `docker/secrets`; the rest is made by env-init.
PLANTED = ("flask_secret_key", "flask_security_password_salt", "wepp_auth_jwt_secrets", "cap_secret")
LEFT_BEHIND = shutil.ignore_patterns("__pycache__", "node_modules", ".pytest_cache")


@dataclass(frozen=True)
class Checkout:
    """The tree's root, the folders of its siblings and constraints, and what must be found in no container."""

    root: Path
    siblings: Path
    constraints: Path
    planted: dict[str, str]
    markers: tuple[str, ...]


def copy_checkout(folder: Path) -> Checkout:
    """Copy skeleton and siblings into `folder`, commit them there, and plant secrets, settings and node_modules.

    The marker of `docker/.env`, of the repository and of `node_modules` each stand for what must not be copied.
    """
    root, siblings = folder / "wepppy", folder / "siblings"
    shutil.copytree(SKELETON, root, ignore=LEFT_BEHIND)
    shutil.copytree(SIBLINGS, siblings, ignore=LEFT_BEHIND)
    for repository in (root, *siblings.iterdir()):
        commit(repository)
    planted = {name: secrets.token_hex(24) for name in PLANTED}
    secret_folder = root / "docker" / "secrets"
    secret_folder.mkdir(exist_ok=True)
    for name, value in planted.items():
        (secret_folder / name).write_text(f"{value}\n")
    markers = tuple(secrets.token_hex(24) for _ in range(3))
    (root / "docker" / ".env").write_text(f"LOCAL_MARKER={markers[0]}\n")
    (root / ".git" / "description").write_text(markers[1])
    module = root / "wepppy" / "weppcloud" / "static-src" / "node_modules" / "left-behind"
    module.mkdir(parents=True)
    (module / "index.js").write_text(f"// {markers[2]}\n")
    constraints = folder / "constraints"
    constraints.mkdir()
    (constraints / "constraints.txt").write_text("fastapi<0.155\n")
    return Checkout(root, siblings, constraints, planted, markers)


def commit(repository: Path) -> None:
    """Make a folder a git repository with one commit of all that is not ignored."""
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", "-C", str(repository)]
    for arguments in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "As it is"]):
        subprocess.run([*git, *arguments], check=True)


def image_arguments(settings: Mapping[str, str], python: str, node: str, siblings: Path) -> list[str]:
    """Return what `docker build` of the tree's own Dockerfile is told where no registry answers.

    settings: of a `.env`. python, node: base images. siblings: the folder with the other repositories, which the public
    project's Dockerfile clones.
    """
    named = {"ca_bundle": "BUILD_CA_BUNDLE", "build_environment": "BUILD_ENVIRONMENT_FILE"}
    files = [f"id={name},src={settings.get(key) or os.devnull}" for name, key in named.items()]
    return [
        "--build-arg", f"PYTHON_IMAGE={python}", "--build-arg", f"NODE_IMAGE={node}",
        "--build-context", f"siblings={siblings}", *(part for file in files for part in ("--secret", file)),
    ]  # fmt: skip
