"""The proxies and what stands behind them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import containers
from tests.proxy.proxy import Proxy, network, proxy, services

NETWORK = f"{containers.PROJECT}-proxy-{os.getpid()}"


@pytest.fixture(scope="session")
def bases() -> dict[str, str]:
    """The base images of the stack."""
    return containers.base_images()


@pytest.fixture(scope="session")
def proxy_image(bases: dict[str, str]) -> str:
    """The stack's proxy image."""
    return containers.proxy_image(bases)


@pytest.fixture(scope="session")
def backends(bases: dict[str, str]) -> Iterator[str]:
    """A network on which every service answers; gives its name."""
    with network(NETWORK) as name, services(bases["PYTHON_IMAGE"], name):
        yield name


@pytest.fixture(scope="session")
def site(proxy_image: str, backends: str) -> Iterator[Proxy]:
    """The proxy with every service on and no folder of static files, as with the sample."""
    with proxy(proxy_image, backends) as running:
        yield running


@pytest.fixture(scope="session")
def alone(proxy_image: str) -> Iterator[Proxy]:
    """The proxy with no service on, which waits for none."""
    now = ("--env", "CADDY_RESTART_WINDOW=0")
    with network(f"{NETWORK}-alone") as name, proxy(proxy_image, name, *now) as running:
        yield running


@pytest.fixture(scope="session")
def tree_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Static files: `assets` built, `static` and `usersum` checked in."""
    folder = tmp_path_factory.mktemp("static")
    for name, text in {
        "assets/js/built.js": "built",
        "assets/js/both.js": "built wins",
        "static/js/both.js": "checked in",
        "static/js/site.js": "site " * 500,
        "static/favicon.ico": "icon",
        "static/.env": "SECRET=1",
        "static/.git/config": "url",
        "usersum/usersum.css": "css",
        "outside.txt": "not yours",
    }.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def tree(proxy_image: str, backends: str, tree_files: Path) -> Iterator[Proxy]:
    """The proxy as with a real tree: folders of static files mounted."""
    mounts = {"assets": "/srv/assets", "static": "/srv/tree/static", "usersum": "/srv/tree/usersum-static"}
    volumes = [
        word for name, path in mounts.items() for word in ("--volume", f"{tree_files / name}:{path}:ro")
    ]
    # Uploads of a real tree are larger than the sample's forms.
    uploads = [
        "--env",
        "CADDY_UPLOAD_LIMIT=5MB",
        "--env",
        "CADDY_REQUEST_TIMEOUT=30m",
        "--env",
        "STATIC_MAX_AGE=300",
    ]
    with proxy(proxy_image, backends, *volumes, *uploads) as running:
        yield running
