"""Owns the question whether the backup service's container, as it runs, is the one that the settings describe.

If it is, its program is asked there, which begins within a tenth of a second; a container made for one command takes a
second and more. One that was made from other settings, another image or another password may look at another database.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.clock import moment
from scripts.compose import Compose

SERVICE = "postgres-backup"
BACKUPS = "/backups"


def current(compose: Compose) -> str:
    """Name of the running container of the backup service; empty when there is none that is as the settings say."""
    wanted = compose.model["services"].get(SERVICE)
    if not wanted:
        return ""
    for found in compose.engine.running(compose.project, SERVICE):
        if _alike(compose, wanted, found):
            return str(found["Name"]).lstrip("/")
    return ""


def _alike(compose: Compose, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """True when a new container of the service would be no other than the one found (an answer of `docker inspect`)."""
    has = found["Config"]
    environment = {f"{key}={value}" for key, value in (wanted.get("environment") or {}).items()}
    image = wanted["image"]
    return (
        compose.engine.image_ids([image]).get(image) == found["Image"]
        and environment <= set(has.get("Env") or ())
        and wanted.get("user", "") == has.get("User", "")
        and _mounts(compose, wanted) <= {_mount(each) for each in found.get("Mounts") or ()}
        and _secrets_are_as_at_its_start(compose, wanted, moment(found["State"]["StartedAt"]) or 0.0)
    )


def _mounts(compose: Compose, wanted: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Place in the container and folder or volume of the backups and of the secrets."""
    volumes = compose.model.get("volumes") or {}
    found = {(f"/run/secrets/{name}", str(file)) for name, file in _secret_files(compose, wanted).items()}
    for each in wanted.get("volumes") or ():
        if each["type"] in ("bind", "volume"):
            source = each["source"]
            name = volumes.get(source, {}).get("name", source) if each["type"] == "volume" else source
            found.add((each["target"], name))
    return found


def _mount(answer: Mapping[str, Any]) -> tuple[str, str]:
    return answer["Destination"], answer["Name"] if answer["Type"] == "volume" else answer["Source"]


def _secret_files(compose: Compose, wanted: Mapping[str, Any]) -> dict[str, Path]:
    files = compose.model.get("secrets") or {}
    names = [each["source"] for each in wanted.get("secrets") or ()]
    return {name: Path(files[name]["file"]) for name in names if files.get(name, {}).get("file")}


def _secrets_are_as_at_its_start(compose: Compose, wanted: Mapping[str, Any], started: float) -> bool:
    # A container sees the file as it was when it was started: the tasks replace files, they do not write into them.
    return all(
        file.is_file() and file.stat().st_mtime < started for file in _secret_files(compose, wanted).values()
    )
