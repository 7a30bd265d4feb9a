"""Rasters that stay open between requests, for as long as their files stay the same."""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

# How far (in cells) rounding in a projection may push a point over the left or upper edge.
_SLACK = 1e-6
# A mosaic can have thousands of tiles; looking at each of them for every request would cost more than the
# answer.
_WATCHED_FILES = 64
# Rasters up to this size are held in memory once a cell was read: 8 or 16 MB each.
_HELD_CELLS = 2 * 2**20

Signature = tuple[tuple[int, int, int], ...]


class RasterError(Exception):
    """A raster that can't be opened or read."""


class RasterSource:
    """One open raster: its cells by position, its values by cell."""

    def __init__(self, path: Path) -> None:
        """Open the raster. Raises RasterError if that is not possible."""
        try:
            self._dataset = rasterio.open(path)
            self.crs = self._dataset.crs.to_wkt() if self._dataset.crs else None
            inverse = ~self._dataset.transform
        except (RasterioError, OSError, ZeroDivisionError, ValueError) as error:
            raise RasterError(f"can't open {path.name}") from error
        self._inverse = tuple(inverse)[:6]
        self._cells: NDArray[np.floating[Any]] | None = None
        plain = self._dataset.scales[0] == 1.0 and self._dataset.offsets[0] == 0.0
        self._fits_single = plain and np.can_cast(self._dataset.dtypes[0], np.float32)
        self.width: int = self._dataset.width
        self.height: int = self._dataset.height
        self.bands: int = self._dataset.count
        self._watched = [name for name in self._dataset.files if name.startswith("/")][:_WATCHED_FILES]
        self._signature = _signature(self._watched)

    @property
    def is_current(self) -> bool:
        """Whether the files are still the ones that were opened."""
        return bool(self._signature) and _signature(self._watched) == self._signature

    def position(self, x: float, y: float) -> tuple[float, float]:
        """Return the fractional (column, row) of a point; cell (0, 0) spans 0 to 1 in both."""
        a, b, c, d, e, f = self._inverse
        return a * x + b * y + c, d * x + e * y + f

    def cell(self, x: float, y: float) -> tuple[int, int] | None:
        """Return the (column, row) of the cell that holds a point, None outside the raster.

        A cell owns its left and upper edge, so the raster's right and lower edge lie outside.
        """
        column, row = self.position(x, y)
        if not (-_SLACK <= column < self.width and -_SLACK <= row < self.height):
            return None
        return max(0, math.floor(column)), max(0, math.floor(row))

    def value(self, column: int, row: int) -> float | None:
        """Return the first band's value of one cell inside the raster, None without data. Raises RasterError."""
        if self._cells is None:
            if self.width * self.height > _HELD_CELLS:
                number = float(self.window(column, row, band=1).filled(np.nan)[0, 0, 0])
                return None if math.isnan(number) else number
            cells = self.window(0, 0, self.width, self.height, band=1).filled(np.nan)[0]
            self._cells = cells.astype(np.float32) if self._fits_single else cells
        held: float = self._cells.item(row, column)
        return None if math.isnan(held) else held

    def window(
        self, column: int, row: int, width: int = 1, height: int = 1, *, band: int | None = None
    ) -> np.ma.MaskedArray:
        """Return values (bands x height x width, float64) of a block inside the raster, of all bands or one.

        Cells without data, by nodata value, mask or not being a number, are masked; scale and offset are
        applied. Raises RasterError if the file can't be read.
        """
        bands = list(range(1, self.bands + 1)) if band is None else [band]
        try:
            block = self._dataset.read(bands, window=Window(column, row, width, height), masked=True)
        except (RasterioError, OSError, ValueError) as error:
            raise RasterError("can't read") from error
        values = block.data.astype(np.float64)
        for number, index in enumerate(bands):
            scale, offset = self._dataset.scales[index - 1], self._dataset.offsets[index - 1]
            if (scale, offset) != (1.0, 0.0):
                values[number] = values[number] * scale + offset
        return np.ma.MaskedArray(values, np.ma.getmaskarray(block) | ~np.isfinite(values))

    def close(self) -> None:
        """Close the files."""
        self._dataset.close()


class RasterCache:
    """The rasters used last, at most `capacity` of them, each reopened as soon as one of its files changes.

    Not for use by several threads at once: GDAL's datasets are not.
    """

    def __init__(self, capacity: int = 8, allow: Callable[[Path], bool] = lambda _: True) -> None:
        """`allow` decides, with links resolved, whether a file may be opened."""
        self._capacity = capacity
        self._allow = allow
        self._sources: OrderedDict[str, RasterSource] = OrderedDict()

    def open(self, path: Path) -> RasterSource:
        """Return the open raster of a file. Raises RasterError."""
        key = os.fspath(path)
        source = self._sources.get(key)
        if source is not None:
            if source.is_current:
                self._sources.move_to_end(key)
                return source
            del self._sources[key]
            source.close()
        if not self._allow(path.resolve()):
            raise RasterError(f"{path.name} is not open to callers")
        source = RasterSource(path)
        self._sources[key] = source
        if len(self._sources) > self._capacity:
            self._sources.popitem(last=False)[1].close()
        return source


def _signature(files: list[str]) -> Signature:
    # The inode is part of it: a file replaced by renaming may keep both size and time.
    try:
        return tuple((s.st_mtime_ns, s.st_size, s.st_ino) for s in map(os.stat, files))
    except OSError:
        return ()
