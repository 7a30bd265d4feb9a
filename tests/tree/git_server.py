"""A git server for builds: one bare repository, read over HTTP, at an address that containers reach.

    python -m tests.tree.git_server FOLDER    # serves until it is interrupted

It prints the variables that make git go there; `export` them and a build resolves the skeleton's git requirement.
"""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# The address in the skeleton's requirements; nobody answers there.
REMOTE = "https://git.example/"
REPOSITORY = "rogerlew/usgs-pfdf.git"
CONTENTS = Path(__file__).resolve().parent / "git_requirement"


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing: what git asks for is no news."""


def bridge_address() -> str:
    """Return this machine's address on the engine's default network, where builds run."""
    template = "{{(index .IPAM.Config 0).Gateway}}"
    command = ["docker", "network", "inspect", "bridge", "--format", template]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def make_repository(folder: Path) -> Path:
    """Make the bare repository of the skeleton's git requirement below `folder`; return its path."""
    work, bare = folder / "work", folder / "served" / REPOSITORY
    shutil.copytree(CONTENTS, work, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for arguments in (
        ["init", "--quiet", "--initial-branch", "main", str(work)],
        ["-C", str(work), "add", "--all"],
        ["-C", str(work), *identity, "commit", "--quiet", "--message", "As it is"],
        ["clone", "--quiet", "--bare", str(work), str(bare)],
        # What a client needs to read a repository as plain files.
        ["-C", str(bare), "update-server-info"],
    ):
        subprocess.run(["git", *arguments], check=True)
    return bare


@contextmanager
def serve(folder: Path, address: str | None = None) -> Iterator[dict[str, str]]:
    """Serve the repository while the context lasts; yield the variables that send git there, after the caller's own."""
    make_repository(folder)
    number = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    handler = functools.partial(_Handler, directory=str(folder / "served"))
    with ThreadingHTTPServer((address or bridge_address(), 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            host, port = server.server_address[:2]
            yield {
                "GIT_CONFIG_COUNT": str(number + 1),
                f"GIT_CONFIG_KEY_{number}": f"url.http://{host!s}:{port}/.insteadOf",
                f"GIT_CONFIG_VALUE_{number}": REMOTE,
            }
        finally:
            server.shutdown()


if __name__ == "__main__":
    with serve(Path(sys.argv[1])) as variables:
        for name, value in variables.items():
            print(f"export {name}={shlex.quote(value)}", flush=True)
        threading.Event().wait()
