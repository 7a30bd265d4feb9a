"""What is inside of files: rasters, tables, text. Checked against GDAL's own command and pyarrow."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
from conftest import find_program
from file_service import RUNID, SECRET, URL, call, make_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

ROWS, COLUMNS = 90, 120


@pytest.fixture
def run(data_env: Path) -> Path:
    run = make_run(data_env)
    row, column = np.mgrid[0:ROWS, 0:COLUMNS]
    elevation = (1200 + 80 * np.sin(column / 15) + 60 * np.cos(row / 11)).astype("float32")
    elevation[:10] = -9999
    (run / "dem").mkdir()
    write(run / "dem" / "dem.tif", elevation, nodata=-9999, crs="EPSG:32611")
    write(run / "dem" / "soils.tif", (column // 20).astype("uint8"), nodata=0, crs="EPSG:32611")
    write(
        run / "dem" / "nan.tif", np.where(elevation < 0, np.nan, elevation), nodata=np.nan, crs="EPSG:32611"
    )
    write(run / "dem" / "nothing.tif", np.full((5, 7), -1, "int16"), nodata=-1, crs=None)
    write(
        run / "dem" / "colour.tif",
        np.stack([elevation % 256, row, column]).astype("uint8"),
        nodata=None,
        crs=None,
    )
    return run


def write(path: Path, values: np.ndarray, *, nodata: float | None, crs: str | None) -> None:
    bands = values if values.ndim == 3 else values[None]
    profile = {"driver": "GTiff", "height": bands.shape[1], "width": bands.shape[2], "count": bands.shape[0]}
    transform = from_origin(500_000, 5_200_000, 30, 30)
    with rasterio.open(
        path, "w", **profile, dtype=bands.dtype, nodata=nodata, crs=crs, transform=transform
    ) as raster:
        raster.write(bands)


def test_gdalinfo_tells_what_the_gdal_command_tells(run: Path) -> None:
    for name in ("dem.tif", "soils.tif", "nothing.tif", "colour.tif"):
        command = [find_program("gdalinfo"), "-json", str(run / "dem" / name)]
        reported = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        answer = call(f"{URL}/gdalinfo/dem/{name}")
        assert answer.status == 200
        ours = answer.json
        for key in ("driverShortName", "size", "geoTransform"):
            assert ours[key] == reported.get(key), (name, key)
        for corner, place in ours["cornerCoordinates"].items():
            assert place == pytest.approx(reported["cornerCoordinates"][corner])
        for mine, theirs in zip(ours["bands"], reported["bands"], strict=True):
            for key in ("band", "block", "type", "colorInterpretation", "noDataValue"):
                assert mine.get(key) == theirs.get(key), (name, key)
        assert ours["description"] == name
        assert str(run) not in answer.text


def test_numbers_that_json_does_not_have_are_words(run: Path) -> None:
    assert call(f"{URL}/gdalinfo/dem/nan.tif").json["bands"][0]["noDataValue"] == "NaN"


def test_a_file_that_only_points_elsewhere_is_not_followed(run: Path, data_env: Path) -> None:
    write(data_env / "outside.tif", np.full((4, 4), 77, "uint8"), nodata=None, crs=None)
    points = (
        '<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f'<SourceFilename relativeToVRT="0">{data_env / "outside.tif"}</SourceFilename></SimpleSource>'
        "</VRTRasterBand></VRTDataset>"
    )
    for name in ("points.vrt", "points.tif"):
        (run / "dem" / name).write_text(points)
        assert call(f"{URL}/gdalinfo/dem/{name}").status == 400


def test_the_page_of_a_raster_shows_its_facts_and_that_of_a_picture_the_picture(run: Path) -> None:
    assert "&#34;driverShortName&#34;: &#34;GTiff&#34;" in call(f"{URL}/browse/dem/dem.tif").text
    (run / "map.png").write_bytes(b"")
    assert f'<img src="{URL}/download/map.png"' in call(f"{URL}/browse/map.png").text


def test_a_page_that_a_job_wrote_is_shown_as_its_text_and_runs_no_script(run: Path) -> None:
    (run / "report.html").write_text("<h1>Report</h1><script>alert(1)</script>")
    page = call(f"{URL}/browse/report.html")
    assert "<pre>&lt;h1&gt;Report" in page.text
    assert "<script" not in page.text
    download = call(f"{URL}/download/report.html")
    assert download.headers["content-security-policy"] == "sandbox"
    assert download.headers["content-disposition"].startswith("attachment;")


def test_parquet_becomes_csv_with_the_same_values(run: Path) -> None:
    table = pa.table(
        {
            "topaz": pa.array(range(25_000), pa.int64()),
            "loss": pa.array([None if i % 7 == 0 else i / 3 for i in range(25_000)]),
            "soil": pa.array([f'a "quoted", {i}' for i in range(25_000)]).dictionary_encode(),
            "layers": pa.array([[i, i + 1] for i in range(25_000)]),
            "raw": pa.array([b"\x00\xff"] * 25_000),
        }
    )
    pq.write_table(table, run / "loss.parquet")
    answer = call(f"{URL}/download/loss.parquet?as_csv=1")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"].endswith("filename*=UTF-8''loss.csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 25_000
    for at in (0, 1, 9_999, 10_000, 24_999):
        row = rows[at]
        assert int(row["topaz"]) == at
        assert row["loss"] == "" if at % 7 == 0 else float(row["loss"]) == at / 3
        assert row["soil"] == f'a "quoted", {at}'
        assert json.loads(row["layers"]) == [at, at + 1]
        assert row["raw"] == "00ff"
    assert call(f"{URL}/download/loss.parquet").body == (run / "loss.parquet").read_bytes()


def test_the_schema_of_parquet_is_told(run: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([1, 2], pa.int32()), "b": ["x", None]}), run / "t.parquet")
    reported = call(f"{URL}/schema/t.parquet").json
    assert (reported["num_rows"], reported["num_columns"]) == (2, 2)
    assert reported["columns"][0] == {"name": "a", "type": "int32", "nullable": True}
    page = call(f"{URL}/browse/t.parquet").text
    assert "<td>x</td>" in page
    assert f'href="{URL}/download/t.parquet?as_csv=1"' in page


def test_too_many_rows_for_csv_are_refused_before_anything_is_sent(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pa.table({"a": list(range(11))}), run / "t.parquet")
    monkeypatch.setenv("BROWSE_PARQUET_EXPORT_MAX_ROWS", "10")
    assert call(f"{URL}/download/t.parquet?as_csv=1").status == 413
    monkeypatch.setenv("BROWSE_PARQUET_EXPORT_MAX_ROWS", "11")
    assert call(f"{URL}/download/t.parquet?as_csv=1").status == 200


@pytest.mark.parametrize("path", ["schema/notes.txt", "download/notes.txt?as_csv=1", "schema/broken.parquet",
                                  "download/broken.parquet?as_csv=1", "gdalinfo/notes.txt",
                                  "gdalinfo/wepp"])  # fmt: skip
def test_the_wrong_kind_of_file_is_a_bad_request(run: Path, path: str) -> None:
    (run / "broken.parquet").write_bytes(b"PAR1 not really PAR1")
    answer = call(f"{URL}/{path}")
    assert answer.status == 400
    assert str(run) not in answer.text


SUFFIXES = [
    ".tif",
    ".asc",
    ".parquet",
    ".csv",
    ".tsv",
    ".json",
    ".nodb",
    ".txt",
    ".html",
    ".png",
    ".vrt",
    ".bin",
]
HEAD_OF_GRID = b"ncols 3\nnrows 2\nxllcorner 0\nyllcorner 0\ncellsize 1\n"
STARTS = [
    b"", b"II*\0", b"MM\0*", b"II+\0", b"PAR1", HEAD_OF_GRID, b"\x89PNG\r\n", b"\xff\xd8\xff", b"{", b"a,b\n", b'"',
    b"\xef\xbb\xbf",
]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.sampled_from(SUFFIXES), st.sampled_from(STARTS), st.binary(max_size=200))
def test_any_contents_under_any_suffix_get_a_proper_answer(
    run: Path, suffix: str, start: bytes, rest: bytes
) -> None:
    (run / f"any{suffix}").write_bytes(start + rest)
    for path in ("browse/any{}", "schema/any{}", "gdalinfo/any{}", "download/any{}?as_csv=1"):
        answer = call(f"{URL}/{path.format(suffix)}")
        assert answer.status in {200, 400}
        assert str(run) not in answer.body.decode("utf-8", "replace")
    assert call(f"{URL}/download/any{suffix}").body == start + rest


def test_a_table_page_shows_the_first_rows_and_says_so(run: Path) -> None:
    (run / "long.csv").write_text("a,b\n" + "".join(f"{i},x{i}\n" for i in range(1000)))
    page = call(f"{URL}/browse/long.csv").text
    assert "The first 200 rows" in page
    assert "<td>x199</td>" in page
    assert "x200" not in page


def test_json_is_shown_readably_and_secrets_of_links_are_not(run: Path) -> None:
    assert "&#34;runid&#34;: &#34;" + RUNID in call(f"{URL}/browse/ron.nodb").text
    assert SECRET not in call(f"{URL}/browse/outside_absolute").text
