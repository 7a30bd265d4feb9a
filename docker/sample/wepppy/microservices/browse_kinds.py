"""What kind of file a name stands for: how it can be shown."""

from __future__ import annotations

from typing import Literal

Kind = Literal["raster", "parquet", "table", "picture", "page", "text", "other"]

# No .vrt: such a file names others by path, and GDAL would open them wherever they are. It is shown as text.
RASTERS = frozenset({".tif", ".tiff", ".asc"})
TABLES = {".csv": ",", ".tsv": "\t"}
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp"})
PAGES = frozenset({".html", ".htm"})
TEXTS = frozenset(
    {
        ".txt", ".log", ".json", ".geojson", ".nodb", ".md", ".yml", ".yaml", ".toml", ".ini", ".cfg", ".xml",
        ".dump", ".prj", ".wkt", ".cli", ".sol", ".man", ".slp", ".run", ".err", ".out", ".dat", ".vrt",
    }
)  # fmt: skip
TEXT_NAMES = frozenset({"README", "PUBLIC", "READONLY", "TTL", "LICENSE"})
MEDIA_TYPES = {
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".vrt": "application/xml",
    ".parquet": "application/vnd.apache.parquet",
    ".geojson": "application/geo+json",
    ".nodb": "application/json",
    ".nc": "application/x-netcdf",
    ".log": "text/plain",
    ".md": "text/markdown",
    ".webp": "image/webp",
}


def suffix(name: str) -> str:
    """Return the last suffix of a file name in lower case with its dot, or `""`."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def kind(name: str) -> Kind:
    """Return how a file of this name is shown; `other` can only be downloaded."""
    ending = suffix(name)
    if ending in RASTERS:
        return "raster"
    if ending == ".parquet":
        return "parquet"
    if ending in TABLES:
        return "table"
    if ending in PICTURES:
        return "picture"
    if ending in PAGES:
        return "page"
    if ending in TEXTS or name in TEXT_NAMES:
        return "text"
    return "other"
