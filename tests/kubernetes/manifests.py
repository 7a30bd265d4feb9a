"""The manifests that `k8s-render` writes, in every way that its flags and the two trees allow.

    python -m tests.kubernetes.manifests FOLDER

writes those of Kubernetes' own kinds there, a file for each way, for `kubernetes-validate` in `nox -s lint`.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from scripts.stack.kubernetes import Options, secret, workers
from tests.model.conftest import ROOT, render
from tests.model.test_worker_host_files import HOST, SETS

Manifest = dict[str, Any]
QUEUES = ("default", "batch", "fork-archive")
PLAIN = Options("", ("default", "batch"), Path("kubernetes"))
FLAGS: dict[str, dict[str, Any]] = {
    "default": {},
    "all-queues": {"queues": QUEUES, "image": "registry.example.org/python:1", "storage_class": "nfs"},
    "keda": {"queues": QUEUES, "keda": True},
}
TREES = {name.replace(" ", "-"): files for name, files in SETS.items()}
# Each in a namespace of its own.
WAYS = [f"{tree}-{flags}" for tree in TREES for flags in FLAGS]
SCRIPTS = {path.name: path.read_text() for path in (ROOT / "docker" / "python" / "stack").glob("*.py")}
HELD = dict.fromkeys(("redis_password", "redis_user", "worker_key"), "a secret")


def manifests() -> dict[str, list[Manifest]]:
    """All manifests of each way, its secret first."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / ".env"
        settings.write_text((ROOT / ".env.example").read_text() + "UID=1000\nGID=1000\n")
        for tree, files in TREES.items():
            model = render(files, settings, **HOST, RQ_EXACTLY_ONE="fork-archive")
            for way, flags in FLAGS.items():
                options = replace(PLAIN, namespace=f"{tree}-{way}", **flags)
                found[options.namespace] = [
                    secret(HELD, options.namespace),
                    *workers(model, options, SCRIPTS),
                ]
    return found


def write(folder: Path) -> None:
    """Write those whose schema is Kubernetes' own."""
    for way, made in manifests().items():
        own = [each for each in made if "keda.sh" not in each["apiVersion"]]
        (folder / f"{way}.yaml").write_text(yaml.safe_dump_all(own))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
