"""A real API server: built from its published modules by the Go that the stack's images have, with etcd beside it.

What is built is kept in `.docker-data/kubernetes`. Nothing else of a cluster runs: what the server takes is stored and
nobody acts upon it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import secrets
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ROOT = Path(__file__).resolve().parents[2]
# 1.x of Kubernetes has its parts as modules 0.x, and says which etcd it works with.
KUBERNETES, KEDA = "1.37.2", "2.21.0"
PROGRAMS = {"kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver", "etcd": "go.etcd.io/etcd/server/v3"}
KEPT = ROOT / ".docker-data" / "kubernetes"
START_SECONDS = 120.0


# ---- programs and modules ----


def go(*arguments: str, folder: Path = KEPT) -> str:
    """Run the Go of docker/base/go; what it prints."""
    environment = KEPT / "go"
    pins = ROOT / "docker" / "base" / "go" / "requirements.txt"
    if not environment.exists():
        _run("uv", "venv", "--quiet", str(environment))
    _run("uv", "pip", "install", "--quiet", "--python", str(environment), "--require-hashes", "-r", str(pins))
    return _run(str(environment / "bin" / "go"), *arguments, folder=folder, GOTOOLCHAIN="local", GOWORK="off")


def module(path: str, version: str) -> Path:
    """The folder of a module's source."""
    KEPT.mkdir(parents=True, exist_ok=True)
    return Path(json.loads(go("mod", "download", "-json", f"{path}@v{version}"))["Dir"])


def programs() -> dict[str, Path]:
    """The server and etcd, built if they are not there."""
    folder = KEPT / KUBERNETES
    built = {name: folder / name for name in PROGRAMS}
    if not all(path.exists() for path in built.values()):
        # Its own go.mod replaces its parts by folders that its module does not hold: here by their modules.
        parts = re.findall(
            r"(\S+) => \./staging", (module("k8s.io/kubernetes", KUBERNETES) / "go.mod").read_text()
        )
        versions = [f"replace {part} => {part} v0.{KUBERNETES.partition('.')[2]}" for part in parts]
        folder.mkdir(parents=True, exist_ok=True)
        lines = ["module server", "go 1.26", f"require k8s.io/kubernetes v{KUBERNETES}", *versions]
        (folder / "go.mod").write_text("\n".join(lines))
        for name, package in PROGRAMS.items():
            go("build", "-mod=mod", "-trimpath", "-ldflags=-s -w", "-o", name, package, folder=folder)
    return built


def _run(*command: str, folder: Path = ROOT, **variables: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert not done.returncode, f"{command} ended with {done.returncode}\n{done.stderr}"
    return done.stdout


# ---- the server ----


@dataclass
class Reply:
    """An answer: its status, what it says, and warnings that `kubectl` would print."""

    status: int
    content: dict[str, Any]
    warnings: list[str]


@dataclass
class Server:
    """A server that runs, asked as `kubectl` asks."""

    port: int
    token: str
    certificate: Path

    def ask(self, method: str, path: str, body: Any = None) -> Reply:
        """Return the answer to one request."""
        context = ssl.create_default_context(cafile=self.certificate)
        with contextlib.closing(
            http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)
        ) as asked:
            headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
            asked.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = asked.getresponse()
            text = answer.read().decode()
            content = json.loads(text) if text.startswith("{") else {"text": text}
            return Reply(answer.status, content, answer.headers.get_all("Warning") or [])

    def create(self, manifest: dict[str, Any], *, dry: bool = False) -> Reply:
        """Create an object with strict validation, as `kubectl create` does; dry: go all the way but store nothing."""
        dry_run = "&dryRun=All" if dry else ""
        return self.ask("POST", f"{self._place(manifest)}?fieldValidation=Strict{dry_run}", manifest)

    def find(self, manifest: dict[str, Any]) -> Reply:
        """Return an object as it is stored."""
        return self.ask("GET", f"{self._place(manifest)}/{manifest['metadata']['name']}")

    def _place(self, manifest: dict[str, Any]) -> str:
        version = manifest["apiVersion"]
        group = f"/apis/{version}" if "/" in version else f"/api/{version}"
        kinds = {
            each["kind"]: each
            for each in self.ask("GET", group).content["resources"]
            if "/" not in each["name"]
        }
        kind = kinds[manifest["kind"]]
        namespace = f"/namespaces/{manifest['metadata']['namespace']}" if kind["namespaced"] else ""
        return f"{group}{namespace}/{kind['name']}"


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Server]:
    """A server with an empty etcd and a token and a certificate of its own, ended with the block."""
    built = programs()
    store, peer, port = free_ports(3)
    token = secrets.token_urlsafe()
    (folder / "tokens").write_text(f'{token},tests,tests,"system:masters"\n')
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    signing = folder / "accounts.key"
    signing.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    clients, peers = f"http://127.0.0.1:{store}", f"http://127.0.0.1:{peer}"
    etcd = [
        f"--data-dir={folder / 'etcd'}", f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=default={peers}",
        "--unsafe-no-fsync",
    ]  # fmt: skip
    server = [
        f"--etcd-servers={clients}", "--bind-address=127.0.0.1", f"--secure-port={port}",
        f"--cert-dir={folder / 'certificates'}", f"--token-auth-file={folder / 'tokens'}", "--anonymous-auth=false",
        "--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/24", "--endpoint-reconciler-type=none",
        "--service-account-issuer=https://127.0.0.1", f"--service-account-key-file={signing}",
        f"--service-account-signing-key-file={signing}",
    ]  # fmt: skip
    with contextlib.ExitStack() as ended:
        log = ended.enter_context((folder / "log").open("wb"))
        for name, flags in (("etcd", etcd), ("kube-apiserver", server)):
            process = ended.enter_context(
                subprocess.Popen([str(built[name]), *flags], stdout=log, stderr=subprocess.STDOUT)
            )
            ended.callback(process.terminate)
        made = Server(port, token, folder / "certificates" / "apiserver.crt")
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(made):
            assert process.poll() is None, (folder / "log").read_text()[-4000:]
            assert time.monotonic() < deadline, (folder / "log").read_text()[-4000:]
            time.sleep(0.2)
        yield made


def _is_ready(server: Server) -> bool:
    with contextlib.suppress(OSError):
        return server.ask("GET", "/readyz").status == 200
    return False


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens at."""
    with contextlib.ExitStack() as held:
        found = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in found]
