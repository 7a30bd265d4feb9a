"""Files that appear whole or not at all: every writer fills a temporary name and renames it."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from wepppy.geotiff import write_geotiff

_PREFIX = ".part-"


@dataclass(frozen=True)
class Grid:
    """Where the cells of a run's rasters lie."""

    transform: Affine
    crs: CRS
    shape: tuple[int, int]

    @property
    def cell_size(self) -> float:
        """Metres per side of a cell."""
        return float(self.transform.a)

    @property
    def cell_area(self) -> float:
        """Square metres per cell."""
        return self.cell_size**2


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


def remove_partial_files(folder: Path) -> int:
    """Delete what killed processes left half-written below `folder` and return how many files that were."""
    left = [path for path in folder.rglob(f"{_PREFIX}*") if path.is_file()]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


def write_raster(
    path: Path,
    values: NDArray[Any],
    grid: Grid,
    nodata: float,
    description: str = "",
    colours: dict[int, tuple[int, int, int]] | None = None,
) -> None:
    """Write a one-band GeoTIFF on the grid, of the array's own type; NaN becomes `nodata`."""
    band = values.reshape(grid.shape)
    if np.issubdtype(values.dtype, np.floating):
        band = np.where(np.isnan(band), nodata, band).astype(np.float32)
    with whole_file(path) as temporary:
        write_geotiff(temporary, band, grid.transform, grid.crs, nodata, colours, description)


def write_table(stem: Path, columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> None:
    """Write `<stem>.parquet` and `<stem>.csv` of equally long columns; the CSV shows floats with six digits."""
    import pyarrow
    import pyarrow.parquet

    lists = {name: np.asarray(values).tolist() for name, values in columns.items()}
    with whole_file(stem.with_suffix(".parquet")) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(lists), temporary, compression="zstd")
    with (
        whole_file(stem.with_suffix(".csv")) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.writer(file, lineterminator="\n")
        table.writerow(lists)
        for row in zip(*lists.values(), strict=True):
            table.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in row])


def write_json(path: Path, content: Any, indent: int | None = 1) -> None:
    """Write strict JSON (ValueError for NaN or infinity)."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=indent, allow_nan=False), encoding="utf-8")
