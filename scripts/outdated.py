"""Owns which containers still see an earlier secret: each sees the file as it was when the container was started."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from scripts.catalogue import Service
from scripts.clock import moment
from scripts.compose import Compose

# The role at the server has a password of its own: `db-rotate-password` changes all places and starts who reads them.
DATABASE_SECRET = "postgres_password"  # noqa: S105 - the secret's name


def outdated(compose: Compose, services: Iterable[Service]) -> list[str]:
    """Names of the running services that hold a secret whose file is younger than they are.

    Asked of the files and the engine, so that a run that died in between is made up for by the next one.
    """
    started = {
        each.service: moment(each.started_at)
        for each in compose.engine.containers(compose.project)
        if each.state == "running" and not each.oneoff
    }
    written = {name: _written(Path(each["file"])) for name, each in _files(compose).items()}
    return [
        service.name
        for service in services
        if (since := started.get(service.name)) is not None
        and any(written.get(name, 0.0) > since for name in service.secrets if name != DATABASE_SECRET)
    ]


def _files(compose: Compose) -> dict[str, dict[str, str]]:
    secrets: dict[str, dict[str, str]] = compose.model.get("secrets") or {}
    return {name: each for name, each in secrets.items() if each.get("file")}


def _written(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0
