"""The shared rasters by name: `<dataset>/<year>` is the folder whose file `.vrt` opens them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from wepppy.config.environment import setting
from wepppy.config.run_paths import geodata_root, volume_problem
from wepppy.webservices.refusals import Refusal

VRT = ".vrt"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}\Z")
_DEEPEST = 7


def find_dataset(name: str) -> Path:
    """Return the `.vrt` of a dataset. Raises Refusal 400 for a name that can't be one's, 404 for one that none has."""
    parts = [part for part in name.split("/") if part]
    if not 1 <= len(parts) <= _DEEPEST or not all(map(_NAME.match, parts)):
        raise Refusal("Invalid dataset path.")
    root = geodata_root()
    path = root.joinpath(*parts, VRT)
    if not path.is_file() or not path.resolve().is_relative_to(root.resolve()):
        raise Refusal(f"Cannot find dataset: {'/'.join(parts)}", 404)
    return path


def list_datasets() -> list[str]:
    """Return the `.vrt` of each dataset there is, relative to the geodata, in order.

    `CATALOG_PATH` (`catalog.json` in the geodata, a list of such paths) spares a walk through folders of many
    tiles.
    """
    root = geodata_root()
    catalog = setting("CATALOG_PATH") or root / "catalog.json"
    try:
        entries = json.loads(Path(catalog).read_text(encoding="utf-8"))
        listed = [entry for entry in entries if isinstance(entry, str)]
    except (OSError, ValueError, TypeError):
        listed = [str(path.relative_to(root)) for path in root.rglob(VRT)]
    return sorted({path for path in listed if path.endswith(f"/{VRT}") and _exists(path)})


def geodata_problem() -> str | None:
    """Return why the geodata can't be used, None if all is well."""
    return volume_problem(geodata_root(), "geodata")


def _exists(path: str) -> bool:
    try:
        find_dataset(path.removesuffix(f"/{VRT}"))
    except Refusal:
        return False
    return True
