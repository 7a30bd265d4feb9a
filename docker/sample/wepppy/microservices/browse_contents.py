"""What is in the files of a run: the facts of a raster, tables out of Parquet and CSV, text.

Files are opened through their descriptor, and rasters only by drivers that read nothing but the file itself: neither a
side-car nor a file that names other files (VRT, for one) can lead out of the run. The libraries take long to import, so
the first file of a kind pays for its own.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import math
import mimetypes
import os
from collections.abc import Iterator
from typing import Any

from wepppy.config.environment import setting
from wepppy.microservices.browse_tree import Node
from wepppy.microservices.service_errors import ServiceError, invalid

TEXT_BYTES = 64 * 1024
CSV_ROWS = 200
BATCH_ROWS = 10_000
KINDS = {".tif": "raster", ".tiff": "raster", ".asc": "raster", ".parquet": "parquet", ".csv": "table"}
for _type, _suffix in (
    ("application/json", ".nodb"),
    ("application/geo+json", ".geojson"),
    ("application/vnd.apache.parquet", ".parquet"),
    ("text/plain", ".log"),
):
    mimetypes.add_type(_type, _suffix)


def content_type(name: str) -> str:
    """Return the media type that a file name suggests."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def kind(name: str) -> str:
    """Return how a file of this name is shown; what nobody knows may be text."""
    if found := KINDS.get(os.path.splitext(name)[1].lower()):  # noqa: PTH122 - a name, not a path
        return found
    guessed = mimetypes.guess_type(name)[0] or "text/plain"
    if guessed.startswith("image/"):
        return "picture"
    return "text" if guessed.startswith("text/") or guessed.endswith(("json", "xml")) else "other"


def preview(node: Node) -> dict[str, Any]:
    """Return what a file's page shows of its contents: `text`, `image`, a `table`, and a `note`."""
    shown = kind(node.name)
    try:
        if shown == "raster":
            return {"text": json.dumps(raster_facts(node), indent=2)}
        if shown == "parquet":
            return _parquet_table(node)
        if shown == "picture":
            return {"image": True}
        data = os.pread(node.fd, TEXT_BYTES, 0)
        text = data.decode("utf-8-sig", "replace")
        if shown == "other" or "\0" in text:
            return {"note": "There is no preview for this kind of file."}
        whole = len(data) == node.status.st_size
        note = "" if whole else f"The first {TEXT_BYTES // 1024} KiB"
        if shown == "table":
            return _csv_table(text, note)
        if whole and content_type(node.name).endswith("json"):
            with contextlib.suppress(ValueError, RecursionError):  # then it is shown as it stands
                text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        return {"text": text, "note": note}
    except ServiceError as error:
        return {"note": error.detail}


def _csv_table(text: str, note: str) -> dict[str, Any]:
    rows = csv.reader(io.StringIO(text, newline=""))
    with contextlib.suppress(csv.Error):
        found = list(itertools.islice(rows, CSV_ROWS + 2))
        if len(found) > CSV_ROWS + 1:
            note = f"The first {CSV_ROWS} rows"
        return {"columns": found[0] if found else [], "rows": found[1 : CSV_ROWS + 1], "note": note}
    return {"text": text, "note": note}


@contextlib.contextmanager
def _readable(what: str) -> Iterator[None]:
    from pyarrow import ArrowException
    from rasterio.errors import RasterioError

    try:
        yield
    except (ArrowException, RasterioError, OSError, ValueError, OverflowError, MemoryError) as error:
        raise invalid(f"This is not a {what} that can be read here.") from error


# ---- rasters ----


def raster_facts(node: Node) -> dict[str, Any]:
    """Return the facts of a raster under the names of `gdalinfo -json`; coordinates in its own units.

    Raises ServiceError (400) if the file is no raster.
    """
    import rasterio

    driver = "AAIGrid" if node.name.lower().endswith(".asc") else "GTiff"
    with (
        _readable("raster"),
        # EMPTY_DIR: don't look for side-cars beside the descriptor.
        rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_PAM_ENABLED="NO"),
        rasterio.open(node.local_path, driver=driver) as raster,
    ):
        width, height = raster.width, raster.height
        corners = {"upperLeft": (0, 0), "lowerLeft": (0, height), "lowerRight": (width, height),
                   "upperRight": (width, 0), "center": (width / 2, height / 2)}  # fmt: skip
        facts: dict[str, Any] = {
            "description": node.name,
            "driverShortName": raster.driver,
            "size": [width, height],
            "geoTransform": [_number(value) for value in raster.transform.to_gdal()],
            "cornerCoordinates": {
                name: [_number(value) for value in raster.transform @ place]
                for name, place in corners.items()
            },
            "bands": [
                {
                    "band": at + 1,
                    "block": list(reversed(raster.block_shapes[at])),
                    "type": _gdal_type(raster.dtypes[at]),
                    "colorInterpretation": raster.colorinterp[at].name.capitalize(),
                    **(
                        {}
                        if raster.nodatavals[at] is None
                        else {"noDataValue": _number(raster.nodatavals[at])}
                    ),
                }
                for at in range(raster.count)
            ],
        }
        if raster.crs:
            facts["coordinateSystem"] = {"wkt": raster.crs.to_wkt(), "epsg": raster.crs.to_epsg()}
        return facts


def _gdal_type(name: str) -> str:
    return "Byte" if name == "uint8" else name.capitalize().replace("Uint", "UInt")


def _number(value: float) -> float | str:
    """Return a number as JSON can hold it: NaN and infinity as the words that gdalinfo writes."""
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


# ---- Parquet ----


def _open(node: Node) -> Any:
    from pyarrow.parquet import ParquetFile

    with _readable("Parquet file"):
        return ParquetFile(node.local_path)


def _rows(batch: Any) -> Iterator[tuple[str, ...]]:
    return zip(*([_text(value) for value in column.to_pylist()] for column in batch.columns), strict=True)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return "" if value is None else str(value)


def _parquet_table(node: Node) -> dict[str, Any]:
    limit = int(setting("BROWSE_PARQUET_PREVIEW_LIMIT", "500"))
    with _open(node) as parquet, _readable("Parquet file"):
        batch = next(parquet.iter_batches(batch_size=limit), None)
        rows = [] if batch is None else list(_rows(batch))
        total = parquet.metadata.num_rows
        note = f"{total} rows" if len(rows) == total else f"The first {len(rows)} rows of {total}"
        return {"columns": parquet.schema_arrow.names, "rows": rows, "note": note, "parquet": True}


def schema(node: Node) -> dict[str, Any]:
    """Return the columns, row count and layout of a Parquet file. Raises ServiceError (400) if it is none."""
    with _open(node) as parquet:
        columns = [
            {"name": field.name, "type": str(field.type), "nullable": field.nullable}
            for field in parquet.schema_arrow
        ]
        return {
            "name": node.name,
            "path": node.path,
            "size_bytes": node.status.st_size,
            "num_rows": parquet.metadata.num_rows,
            "num_columns": len(columns),
            "columns": columns,
        }


def csv_of_parquet(node: Node) -> Iterator[str]:
    """Yield a Parquet file as CSV with a header line, some thousand rows at a time; nested values as JSON.

    Raises ServiceError before the first piece: 400 `validation_error` if it is no Parquet file,
    413 `parquet_filter_row_limit_exceeded` if it has too many rows. The node may be closed then.
    """
    parquet = _open(node)
    rows, limit = parquet.metadata.num_rows, int(setting("BROWSE_PARQUET_EXPORT_MAX_ROWS", "2000000"))
    if rows > limit:
        parquet.close()
        raise ServiceError(
            413,
            "parquet_filter_row_limit_exceeded",
            f"The table has {rows} rows; at most {limit} are given as CSV. Download the Parquet file.",
        )

    def pieces() -> Iterator[str]:
        with parquet:
            yield _csv([parquet.schema_arrow.names])
            for batch in parquet.iter_batches(batch_size=BATCH_ROWS):
                yield _csv(_rows(batch))

    return pieces()


def _csv(rows: Any) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
