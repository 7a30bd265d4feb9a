"""Files that appear whole or not at all: every writer fills a temporary name and renames it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

_PREFIX = ".part-"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it replaces `path` if the block succeeds and vanishes if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_PREFIX}{os.getpid()}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_partial_files(folder: Path) -> None:
    """Delete what killed processes left half-written below `folder`."""
    for path in folder.rglob(f"{_PREFIX}*"):
        path.unlink(missing_ok=True)


def write_table(stem: Path, columns: Mapping[str, Any]) -> None:
    """Write `<stem>.parquet` and `<stem>.csv` of equally long columns."""
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    table = pyarrow.table({name: np.asarray(values) for name, values in columns.items()})
    with whole_file(stem.with_suffix(".parquet")) as temporary:
        pyarrow.parquet.write_table(table, temporary, compression="zstd")
    with whole_file(stem.with_suffix(".csv")) as temporary:
        pyarrow.csv.write_csv(table, temporary)


def write_json(path: Path, content: Any, indent: int | None = 1) -> None:
    """Write strict JSON (ValueError for NaN or infinity)."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=indent, allow_nan=False), encoding="utf-8")


def write_features(path: Path, features: list[tuple[dict[str, Any], Any]]) -> None:
    """Write GeoJSON of properties and their geometries."""
    listed = [
        {"type": "Feature", "properties": properties, "geometry": geometry}
        for properties, geometry in features
    ]
    write_json(path, {"type": "FeatureCollection", "features": listed}, indent=None)


def significant(value: Any, digits: int) -> Any:
    """Return JSON content with so many significant digits."""
    if isinstance(value, dict):
        return {key: significant(each, digits) for key, each in value.items()}
    if isinstance(value, list):
        return [significant(each, digits) for each in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value
