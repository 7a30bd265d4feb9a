"""The backup service's container: whether the one that runs is the one that the settings describe.

If it is, its program is asked there, which begins within a tenth of a second; a container made for one command takes a
second and more. One that was made from other settings, another image or another password may look at another database.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.base.clock import moment
from scripts.engine.compose import Compose

SERVICE = "postgres-backup"
# Where it sees the backups, and folders of this machine that are shown to it for one command, under their own paths.
BACKUPS, HOST_FOLDERS = "/backups", "/host-folders"


def backups_folder(compose: Compose) -> Path:
    """Return the folder of the backups on this machine, where they are on it (see `backups_are_here`)."""
    return compose.data_dir / "postgres-backups"


def backups_are_here(compose: Compose) -> bool:
    """Return False where the backups lie in a volume of the engine, as in production."""
    sidecar = compose.model["services"].get(SERVICE) or {}
    return not any(
        mount["target"] == BACKUPS and mount["type"] == "volume" for mount in sidecar.get("volumes") or ()
    )


def is_current(compose: Compose, found: Mapping[str, Any]) -> bool:
    """Return True when a new container of the service would be no other than this answer of `docker inspect`."""
    wanted = compose.model["services"].get(SERVICE)
    if not wanted:
        return False
    environment = {f"{key}={value}" for key, value in (wanted.get("environment") or {}).items()}
    files, volumes = compose.model.get("secrets") or {}, compose.model.get("volumes") or {}
    names = [each["source"] for each in wanted.get("secrets") or ()]
    secrets = {f"/run/secrets/{name}": files[name]["file"] for name in names if "file" in files.get(name, {})}
    mounts = {
        each["target"]: volumes.get(each["source"], {}).get("name", each["source"])
        for each in wanted.get("volumes") or ()
        if each.get("source")
    }
    has = {each["Destination"]: each.get("Name") or each["Source"] for each in found.get("Mounts") or ()}
    # A container sees the file as it was when it was started: the tasks replace files, they do not write into them.
    started = moment(found["State"]["StartedAt"]) or 0.0
    return (
        compose.engine.image_ids([wanted["image"]]).get(wanted["image"]) == found["Image"]
        and environment <= set(found["Config"].get("Env") or ())
        and wanted.get("user", "") == found["Config"].get("User", "")
        and (mounts | secrets).items() <= has.items()
        and all(Path(file).is_file() and Path(file).stat().st_mtime < started for file in secrets.values())
    )
