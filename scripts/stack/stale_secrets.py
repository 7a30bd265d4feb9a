"""Find containers that still see an earlier secret: each sees the file as it was when the container was started."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from scripts.base.clock import moment
from scripts.engine.catalogue import Service
from scripts.engine.compose import Compose
from scripts.engine.container import Container
from scripts.settings.secret_ids import DATABASE


def stale_secrets(
    compose: Compose, services: Iterable[Service], containers: Iterable[Container]
) -> list[str]:
    """Names of the running services that hold a secret whose file is younger than they are. containers: the project's.

    Asked of the files and the engine, so that a run that died in between is made up for by the next one.
    """
    started = {
        each.service: moment(each.started_at)
        for each in containers
        if each.state == "running" and not each.oneoff
    }
    written = {name: _written(Path(each["file"])) for name, each in _files(compose).items()}
    # The role at the server has a password of its own: `db-rotate-password` changes both and restarts who reads it.
    return [
        service.name
        for service in services
        if (since := started.get(service.name)) is not None
        and any(written.get(name, 0.0) > since for name in service.secrets if name != DATABASE)
    ]


def _files(compose: Compose) -> dict[str, dict[str, str]]:
    secrets: dict[str, dict[str, str]] = compose.model.get("secrets") or {}
    return {name: each for name, each in secrets.items() if each.get("file")}


def _written(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0
