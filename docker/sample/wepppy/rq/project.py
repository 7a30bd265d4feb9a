"""Run directories: created whole or not at all, and their description in `ron.nodb`."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from wepppy.config.run_paths import MARKER, PUBLIC_MARKER, get_wd

_RUNID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_CONFIG = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Project:
    """What a run is about."""

    runid: str
    config: str
    name: str
    extent: tuple[float, float, float, float]  # left, bottom, right, top in degrees (WGS 84)
    created: str  # ISO 8601, UTC


def create_run_directory(
    runid: str,
    config: str,
    name: str,
    extent: Sequence[float],
    *,
    public: bool = True,
    created: datetime | None = None,
) -> Path:
    """Create the working directory of a new run and return it; `created` (now) goes into its `ron.nodb`.

    The directory appears with its `ron.nodb` (and `PUBLIC`, if anybody may read it) already inside. Raises ValueError
    for bad input and FileExistsError if there is such a run.
    """
    if not _RUNID.fullmatch(runid):
        raise ValueError("a run id consists of lower-case letters, digits and '-'")
    if not _CONFIG.fullmatch(config):
        raise ValueError("a config name consists of letters, digits, '_' and '-'")
    moment = (created or datetime.now(UTC)).isoformat(timespec="seconds")
    project = Project(runid, config, name, checked_extent(extent), moment)
    folder = get_wd(runid)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Made under a name that no run can have, then renamed: rename refuses to replace a directory that holds files.
    temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        temporary.chmod(0o755)
        (temporary / MARKER).write_text(json.dumps(asdict(project), indent=1), encoding="utf-8")
        if public:
            (temporary / PUBLIC_MARKER).touch()
        try:
            temporary.rename(folder)
        except OSError as error:
            raise FileExistsError(f"there is a run {runid!r} already") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def rename_project(folder: Path, name: str) -> None:
    """Write another name into `ron.nodb` of a run directory. Raises as `read_project`, or OSError."""
    project = replace(read_project(folder), name=name)
    temporary = folder / f".{MARKER}.{os.getpid()}"
    try:
        temporary.write_text(json.dumps(asdict(project), indent=1), encoding="utf-8")
        temporary.replace(folder / MARKER)
    finally:
        temporary.unlink(missing_ok=True)


def read_project(folder: Path) -> Project:
    """Return what `ron.nodb` in a run directory holds; FileNotFoundError without one, ValueError if it is damaged."""
    text = (folder / MARKER).read_text(encoding="utf-8")
    try:
        held = json.loads(text)
        return Project(
            runid=str(held["runid"]),
            config=str(held["config"]),
            name=str(held.get("name", "")),
            extent=checked_extent(held["extent"]),
            created=str(held.get("created", "")),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{MARKER} of {folder.name} is not a run's description") from error


def checked_extent(extent: Sequence[float]) -> tuple[float, float, float, float]:
    """Return the extent as four finite floats; ValueError unless they span an area on the globe."""
    try:
        left, bottom, right, top = (float(value) for value in extent)
    except (TypeError, ValueError) as error:
        raise ValueError("an extent is four numbers: left, bottom, right, top in degrees") from error
    if not all(map(math.isfinite, (left, bottom, right, top))):
        raise ValueError("an extent is four numbers: left, bottom, right, top in degrees")
    if not (-180 <= left < right <= 180 and -90 <= bottom < top <= 90):
        raise ValueError("an extent goes from left to right and from bottom to top, in degrees")
    return left, bottom, right, top
