"""The README's section for a checkout, typed line by line in a fresh clone, as a developer of WEPPcloud follows it."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from dotenv import dotenv_values

from tests.engine.stack import ROOT
from tests.tree.checkout import copy_checkout, image_arguments

SECTION = re.compile(r"^## Using your own wepppy checkout\n(.*?)^## ", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
OWNER = (1002, 130)
TREE, IMAGE = "/home/you/wepppy", "wepppy:latest"


def lines() -> list[str]:
    """Return the commands of the section in their order, comments taken off."""
    section = SECTION.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert section
    blocks = BLOCK.findall(section[1])
    return [
        line.partition(" #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()
    ]


@pytest.fixture
def clone(tmp_path: Path, git_requirement: None) -> Iterator[tuple[Path, dict[str, str], Path]]:
    """Yield a fresh clone of this repository, an environment of its own project, and a checkout with its siblings."""
    folder, project = tmp_path / "wepp-stack", f"readme-{os.getpid()}"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    checkout = copy_checkout(tmp_path / "src")
    for sibling in checkout.siblings.iterdir():
        shutil.move(sibling, checkout.root.parent / sibling.name)
    with (checkout.root / "docker" / ".env").open("a") as file:
        for key in ("WC1_DIR", "GEODATA_DIR"):
            file.write(f"{key}={data_folder(tmp_path / key.lower())}\n")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("COMPOSE_", "WEPP"))}
    environment = {**kept, "COMPOSE_PROJECT_NAME": project, **free_ports(folder / ".env.example")}
    try:
        yield folder, environment, checkout.root
    finally:
        for command in (
            [".venv/bin/invoke", "compose-down", "--volumes", f"--yes={project}", "--timeout=2"],
            ["docker", "compose", "--profile", "*", "down", "--rmi", "local"],
        ):
            subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True)


def data_folder(path: Path) -> Path:
    """Make a folder for data as a share brings it: of another owner than the caller, where the caller may say so."""
    path.mkdir()
    if os.getuid() == 0:
        os.chown(path, *OWNER)
    return path


def free_ports(example: Path) -> dict[str, str]:
    """Return a free port for each PORT_ setting: the machine may run another stack."""
    names = re.findall(r"^(PORT_\w+)=", example.read_text(encoding="utf-8"), re.MULTILINE)
    with ExitStack() as held:
        numbers = []
        for _ in names:
            listener = held.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            numbers.append(str(listener.getsockname()[1]))
    return dict(zip(names, numbers, strict=True))


@pytest.mark.full
def test_every_line_of_the_section_works_as_it_is_printed(
    clone: tuple[Path, dict[str, str], Path],
) -> None:
    folder, environment, tree = clone
    image = f"readme-{secrets.token_hex(4)}:latest"
    commands = lines()
    assert any("--image=" in command for command in commands)
    try:
        for command in commands:
            typed = command.replace(TREE, str(tree)).replace(IMAGE, image)
            if typed.startswith("docker build "):
                # No registry answers here: the bases are the kit's own, and siblings are not cloned.
                settings = {key: value or "" for key, value in dotenv_values(folder / ".env").items()}
                bases = settings["PYTHON_IMAGE"], settings["NODE_IMAGE"]
                words = image_arguments(settings, *bases, tree.parent)
                typed = typed.replace("docker build", f"docker build {shlex.join(words)}")
            done = subprocess.run(
                ["bash", "-c", typed], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, check=False, timeout=1500,
            )  # fmt: skip
            assert done.returncode == 0, f"{typed}\n{done.stdout}\n{done.stderr}"
    finally:
        subprocess.run(["docker", "image", "rm", "--force", image], check=False, capture_output=True)
