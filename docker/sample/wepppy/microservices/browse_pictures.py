"""A raster as a small PNG picture: shaded relief for elevations, a ramp for quantities, hues for classes."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from wepppy.microservices.browse_rasters import open_raster
from wepppy.microservices.browse_tree import Node
from wepppy.microservices.service_errors import ServiceError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rasterio.io import DatasetReader

MAX_SIDE = 1024
DEFAULT_SIDE = 768
MAX_PIXELS = 400_000_000
CACHE_BYTES = 32 << 20
VERSION = 3  # part of the ETag: another drawing is another picture
MAX_CLASSES = 40
METRES_PER_DEGREE = 111_320.0
Style = Literal["relief", "ramp", "logarithmic", "classes", "grey", "colour"]
_ELEVATION = re.compile(r"(^|[^a-z])(dem|relief|elevation|filled|elev)([^a-z]|$)")
_CLASSES = re.compile(
    r"landuse|landcover|nlcd|soil|ssurgo|catchment|subwta|bound|mask|basin|class|netful|channel"
)
_RAMP = [
    (0.0, (36, 24, 84)),
    (0.3, (38, 92, 140)),
    (0.6, (58, 160, 120)),
    (0.85, (182, 210, 70)),
    (1.0, (250, 236, 120)),
]


@dataclass(frozen=True)
class Picture:
    """A PNG file, and what its colours mean: `low` and `high` are the values at the ends of the ramp."""

    png: bytes
    width: int
    height: int
    style: Style
    low: float
    high: float


_cache: OrderedDict[tuple[str, int], Picture] = OrderedDict()
_lock = threading.Lock()


def picture_etag(node: Node, side: int) -> str:
    """Return the validator of the picture: it changes with the file, the size and the way of drawing."""
    return f'"{node.etag[1:-1]}-picture{VERSION}-{side}"'


def picture(node: Node, side: int = DEFAULT_SIDE) -> Picture:
    """Return the first band (or red, green, blue) of a raster drawn with at most `side` pixels each way.

    Recently drawn pictures come from memory. Raises ServiceError: 400 if the file is no raster, 413 if it is
    too large to be drawn within a request.
    """
    key = (node.etag, side)
    with _lock:
        found = _cache.get(key)
        if found:
            _cache.move_to_end(key)
            return found
    drawn = _draw(node, side)
    with _lock:
        _cache[key] = drawn
        while sum(len(kept.png) for kept in _cache.values()) > CACHE_BYTES and len(_cache) > 1:
            _cache.popitem(last=False)
    return drawn


def _draw(node: Node, side: int) -> Picture:
    import numpy as np
    from rasterio.enums import Resampling

    from wepppy.raster_bytes import encode_picture

    with open_raster(node) as raster:
        if raster.width * raster.height > MAX_PIXELS:
            raise ServiceError(413, "validation_error", "The raster is too large for a picture; download it.")
        scale = max(raster.width, raster.height, side) / side
        height, width = max(1, round(raster.height / scale)), max(1, round(raster.width / scale))
        colours = raster.count >= 3 and set(raster.dtypes[:3]) == {"uint8"}
        whole = all(np.issubdtype(np.dtype(kind), np.integer) for kind in raster.dtypes[:1])
        smooth = not whole and raster.width * raster.height <= 16_000_000
        bands = raster.read(
            [1, 2, 3] if colours else [1],
            out_shape=(3 if colours else 1, height, width),
            resampling=Resampling.average if smooth else Resampling.nearest,
            masked=True,
        )
        step = _cell_size(raster, scale)
    if np.iscomplexobj(bands):
        bands = np.ma.abs(bands)
    values = bands.astype("float64").filled(np.nan)
    values[~np.isfinite(values)] = np.nan
    seen = ~np.isnan(values[0])
    style: Style = "colour" if colours else _style(node.name.lower(), values[0][seen], whole)
    low, high = (float(values[0][seen].min()), float(values[0][seen].max())) if seen.any() else (0.0, 0.0)
    if colours:
        rgb = np.nan_to_num(np.moveaxis(values, 0, 2))
    else:
        rgb, low, high = _paint(values[0], seen, style, low, high, step)
    pixels = np.zeros((height, width, 4), "uint8")
    pixels[..., :3] = np.clip(rgb, 0, 255)
    pixels[..., 3] = np.where(seen, 255, 0)
    pixels[~seen] = 0
    return Picture(encode_picture(pixels), width, height, style, low, high)


def _style(name: str, values: NDArray[np.float64], whole: bool) -> Style:
    import numpy as np

    if "hillshade" in name:
        return "grey"
    if _ELEVATION.search(name):
        return "relief"
    if whole and values.size and (_CLASSES.search(name) or np.unique(values).size <= MAX_CLASSES):
        return "classes"
    if (
        values.size
        and values.min() >= 0
        and np.percentile(values, 99) > 50 * max(float(np.median(values)), 1e-12)
    ):
        return "logarithmic"
    return "ramp"


def _paint(
    values: NDArray[np.float64],
    seen: NDArray[np.bool_],
    style: Style,
    low: float,
    high: float,
    step: tuple[float, float],
) -> tuple[NDArray[np.float64], float, float]:
    """Return colours (rows, columns, 3) from 0 to 255 and the values at the ends of the ramp."""
    import numpy as np

    from wepppy.terrain.surface import ground_colours

    filled = np.where(seen, values, low)
    if style == "classes":
        return _hues(filled), low, high
    if style in ("ramp", "grey") and seen.any():  # single extremes would swallow all contrast
        low, high = (float(value) for value in np.percentile(values[seen], [2, 98]))
    span = high - low or 1.0
    share = np.clip((filled - low) / span, 0, 1)
    if style == "logarithmic":
        share = np.log1p(np.maximum(filled, 0)) / (np.log1p(max(high, 0)) or 1.0)
    if style == "grey":
        return np.repeat(share[..., None] * 255, 3, axis=2), low, high
    if style == "relief":
        mean = float(values[seen].mean()) if seen.any() else 0.0
        shade = 0.35 + 0.65 * _relief(np.where(seen, values, mean), step)
        return ground_colours(share) * shade[..., None] * 1.15, low, high
    at = [position for position, _ in _RAMP]
    bands = zip(*(colour for _, colour in _RAMP), strict=True)
    return np.stack([np.interp(share, at, band) for band in bands], axis=2), low, high


def _relief(elevation: NDArray[np.float64], step: tuple[float, float]) -> NDArray[np.float64]:
    """Return the light (0 to 1) on elevations in metres, `step` being a cell's width and height in metres."""
    import numpy as np

    from wepppy.terrain.surface import horn, light

    return light(*horn(np.pad(elevation, 1, mode="edge"), *step))


def _hues(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give every class a hue of its own; neighbouring numbers lie far apart (golden ratio)."""
    import numpy as np

    hue = (np.floor(values) * 0.618033988749895) % 1.0
    shade = 0.62 + 0.3 * ((np.floor(values) * 0.414213562373095) % 1.0)
    wheel = np.stack([np.abs(((hue + offset) % 1.0) * 6 - 3) - 1 for offset in (0.0, 2 / 3, 1 / 3)], axis=2)
    rgb: NDArray[np.float64] = (1 - (1 - np.clip(wheel, 0, 1)) * 0.45) * shade[..., None] * 255
    return rgb


def _cell_size(raster: DatasetReader, scale: float) -> tuple[float, float]:
    width, height = (abs(size) * scale or scale for size in raster.res)
    if raster.crs and raster.crs.is_geographic:
        return width * METRES_PER_DEGREE, height * METRES_PER_DEGREE
    return width, height
