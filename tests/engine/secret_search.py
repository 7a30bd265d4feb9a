"""Search what the engine shows of a stack for texts that nobody may see: containers, images, model, processes, logs."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.engine.stack import Stack

CHUNK = 1 << 20
SHORTEST = 8


def secrets_of(stack: Stack) -> dict[str, str]:
    """The stack's secrets by id; empty and very short ones are left out."""
    values = {path.name: path.read_text().strip() for path in stack.secret_file("x").parent.iterdir()}
    return {name: value for name, value in values.items() if len(value) >= SHORTEST}


def places(stack: Stack, words: Mapping[str, str], *, layers: bool = False) -> dict[str, set[str]]:
    """Where each text is seen, by its name; only those that are seen somewhere.

    layers: also look through all layers of all images, which takes seconds for each GB.
    """
    needles = {name: word.encode() for name, word in words.items()}
    found: dict[str, set[str]] = {}
    for place, content in _shown(stack):
        for name, word in needles.items():
            if word in content:
                found.setdefault(name, set()).add(place)
    for name in found_in_layers(images(stack), needles) if layers else ():
        found.setdefault(name, set()).add("layers")
    return found


def images(stack: Stack) -> list[str]:
    """The images that the stack's containers were made from."""
    listed = _docker("inspect", "--format", "{{.Config.Image}}", *_containers(stack))
    return sorted(set(listed.decode().split()))


def found_in_layers(names: Iterable[str], needles: Mapping[str, bytes]) -> set[str]:
    """Names of the texts that are in any layer or in the configuration of the images; shared layers are read once."""
    longest = max(map(len, needles.values()))
    found: set[str] = set()
    rest = b""
    with subprocess.Popen(["docker", "image", "save", *names], stdout=subprocess.PIPE) as saving:
        assert saving.stdout
        while chunk := saving.stdout.read(CHUNK):
            text = rest + chunk
            found.update(name for name, needle in needles.items() if needle in text)
            rest = text[-longest:]
    assert saving.returncode == 0
    return found


def _shown(stack: Stack) -> Iterator[tuple[str, bytes]]:
    containers = _containers(stack)
    yield "docker inspect", _docker("inspect", *containers)
    for image in images(stack):
        yield f"docker history {image}", _docker("history", "--no-trunc", image)
        yield f"docker image inspect {image}", _docker("image", "inspect", image)
    yield "docker compose config", stack.compose("--profile", "*", "config").stdout.encode()
    yield "invoke compose-config", stack.invoke("compose-config").stdout.encode()
    for container in containers:
        logs = subprocess.run(["docker", "logs", container], capture_output=True, check=True)
        yield f"docker logs {container[:12]}", logs.stdout + logs.stderr
    for process in _processes(containers):
        for name in ("cmdline", "environ"):
            # One that has ended meanwhile, or that this user may not look into.
            with contextlib.suppress(OSError):
                yield f"{name} of {(process / 'comm').read_text().strip()}", (process / name).read_bytes()


def _processes(containers: Sequence[str]) -> Iterator[Path]:
    """The processes in the containers, as this machine sees them."""
    for container in containers:
        listed = subprocess.run(
            ["docker", "top", container, "-o", "pid"], capture_output=True, text=True, check=False
        )
        for line in listed.stdout.splitlines()[1:]:
            yield Path("/proc") / line.strip()


def _containers(stack: Stack) -> list[str]:
    return stack.compose("--profile", "*", "ps", "--all", "--quiet").stdout.split()


def _docker(*arguments: str) -> bytes:
    return subprocess.run(["docker", *arguments], capture_output=True, check=True).stdout
