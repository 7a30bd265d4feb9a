"""The geodata of the sample tree: a synthetic mountain watershed, made from a seed and from nothing else.

This module holds what others may ask cheaply: where the landscape lies and whether it is there. Making it is the
business of the modules beside it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MARKER = "sample-data.json"
FORMAT = 2  # raised whenever the generator's output changes
DEFAULT_SEED = 20190401

YEAR = 2019
EPSG = 32611
CELL_SIZE = 30.0  # m
SIZE = 512  # cells per side
LEFT, TOP = 508_000.0, 5_191_000.0  # m, outer corner of the first cell


def read_marker(geodata: Path) -> dict[str, Any] | None:
    """Return the content of the marker of complete geodata, or None if there is no usable one.

    Keys: `format`, `seed`, `files` (relative path to size in bytes), `run_extent` (left, bottom, right, top in degrees:
    the part of the landscape that a new run covers).
    """
    try:
        marker = json.loads((geodata / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return marker if isinstance(marker, dict) and marker.get("format") == FORMAT else None


def is_complete(geodata: Path, seed: int) -> bool:
    """Return whether the geodata of this seed is there: marker present, each file of the size it was written with."""
    marker = read_marker(geodata)
    if marker is None or marker.get("seed") != seed or not isinstance(marker.get("files"), dict):
        return False
    try:
        return all((geodata / name).stat().st_size == size for name, size in marker["files"].items())
    except OSError:
        return False
