"""Which files of the checkout are made readable for containers, and which are left alone."""

from __future__ import annotations

import json
from pathlib import Path

from scripts.prepare import public_files
from tests.unit.fakes import Checkout, model


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def checkout_of_strict_umask(root: Path, runs: str) -> Checkout:
    """A checkout whose files only their owner can read, and a model that mounts some of them."""
    checkout = Checkout(root)
    checkout.with_env(WC1_DIR=runs)
    mounted = model(root)
    sources = ["docker/caddy/Caddyfile", "docker/sample", "docker/runs", "users-tree", ".env"]
    mounted["services"]["caddy"]["volumes"] = [
        {"type": "bind", "source": str(root / name), "target": f"/{name}"} for name in sources
    ] + [{"type": "volume", "source": "wc1", "target": "/wc1"}]
    mounted["services"]["status"]["build"] = {
        "context": str(root / "docker/go"),
        "additional_contexts": {"image": "docker-image://debian"},
    }
    checkout.runner.on("config", "json", stdout=json.dumps(mounted))
    for name in (
        "docker/caddy/Caddyfile",
        "docker/go/test.sh",
        "docker/runs/result",
        "users-tree/app.py",
        "docker/sample/run.sh",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "docker/sample/secret").symlink_to(root / ".env")
    (root / "docker/sample/run.sh").chmod(0o700)
    for path in (*root.glob("docker/**/*"), *root.glob("users-tree/**/*")):
        if path.name != "run.sh" and not path.is_symlink():
            path.chmod(0o700 if path.is_dir() else 0o600)
    return checkout


def test_what_containers_get_of_the_kits_own_files_can_be_read_by_every_user(tmp_path: Path) -> None:
    checkout = checkout_of_strict_umask(tmp_path, str(tmp_path / "docker" / "runs"))
    public_files.make_readable(checkout.compose())
    assert mode(tmp_path / "docker/caddy/Caddyfile") == 0o644
    assert mode(tmp_path / "docker/sample/wepppy/weppcloud") == 0o755
    assert mode(tmp_path / "docker/sample/wepppy/weppcloud/app.py") == 0o644
    assert mode(tmp_path / "docker/sample/run.sh") == 0o755
    assert mode(tmp_path / "docker/go/test.sh") == 0o644


def test_what_is_the_users_or_not_mounted_keeps_its_mode(tmp_path: Path) -> None:
    checkout = checkout_of_strict_umask(tmp_path, "./runs")
    public_files.make_readable(checkout.compose())
    closed = [
        "docker/runs",
        "docker/runs/result",
        "users-tree/app.py",
        ".env",
        "docker/docker-compose.dev.yml",
    ]
    assert {name: oct(mode(tmp_path / name) & 0o077) for name in closed} == dict.fromkeys(closed, "0o0")
