"""What the raster service makes of a crop: relief, pictures, text and plain bytes, against GDAL's own."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from asgi import Reply
from raster_service import PALETTE, get, make_geodata, meta_of, pixels
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile
from rasters import NODATA, run

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")  # pictures lie nowhere


@pytest.fixture(scope="module", autouse=True)
def geodata(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The volume that the service reads."""
    with pytest.MonkeyPatch.context() as patch:
        folder = make_geodata(tmp_path_factory.mktemp("geodata"))
        patch.setenv("GEODATA_DIR", str(folder))
        yield folder


@pytest.mark.parametrize("mode", ["hillshade", "slope", "aspect", "TRI", "TPI", "roughness"])
def test_relief_equals_gdaldem(tmp_path: Path, mode: str) -> None:
    # Fine cells for many rows; but the finer, the flatter some are, and what is flat faces nowhere.
    cellsize = 30 if mode == "aspect" else 8
    plain, relief = get(cellsize=cellsize), get(cellsize=cellsize, gdaldem=mode.lower())
    (tmp_path / "dem.tif").write_bytes(plain.content)
    # The outermost cells have their relief, too. Before GDAL 3.12 their shade was another.
    edges = [] if mode == "hillshade" else ["-compute_edges"]
    run("gdaldem", mode, "-q", *edges, str(tmp_path / "dem.tif"), str(tmp_path / "relief.tif"))
    with rasterio.open(tmp_path / "relief.tif") as dataset:
        theirs, nodata = dataset.read(1).astype(float), dataset.nodata
    ours, profile = pixels(relief.content)
    mine = ours[0].astype(float)
    if mode == "hillshade":
        apart = np.abs(mine - theirs)[theirs != nodata]
        assert apart.max() <= 1
        assert (apart != 0).mean() < 0.01
    else:
        np.testing.assert_array_equal(mine == profile["nodata"], theirs == nodata)
        apart = np.abs(mine - theirs)[theirs != nodata]
        assert (np.minimum(apart, 360 - apart) if mode == "aspect" else apart).max() < 0.05
    assert (ours[0, -1] != profile["nodata"]).mean() > 0.8


def picture(reply: Reply) -> np.ndarray:
    """Return [red, green, blue, alpha] of a PNG, transparent by band, by palette or by value."""
    with MemoryFile(reply.content) as memory, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open() as dataset:
            assert dataset.driver == "PNG"
            values, alpha = dataset.read(), dataset.dataset_mask()
            if dataset.colorinterp[0].name == "palette":
                table = np.array(
                    [dataset.colormap(1)[code] for code in range(len(dataset.colormap(1)))], np.uint8
                )
                return np.moveaxis(table[values[0]], -1, 0)
    return values if len(values) == 4 else np.stack([*values, *values, *values, alpha])


def test_pictures_are_what_browsers_show() -> None:
    shade = get(gdaldem="hillshade", format="PNG")
    assert shade.headers["content-type"] == "image/png"
    whole, profile = pixels(get(gdaldem="hillshade").content)
    grey = picture(shade)
    np.testing.assert_array_equal(grey[0], whole[0])
    np.testing.assert_array_equal(grey[3] == 0, whole[0] == profile["nodata"])
    cover, codes = picture(get("nlcd/2019", format="PNG")), pixels(get("nlcd/2019").content)[0][0]
    for code, colour in PALETTE.items():
        assert (np.array(colour) == cover[:, codes == code].T).all()
    np.testing.assert_array_equal(cover[3] == 0, codes == 0)
    height = get(format="PNG")
    scale, z = meta_of(height.headers)["scale"], pixels(get().content)[0][0]
    known, span = z != NODATA, scale["maximum"] - scale["minimum"]
    back = scale["minimum"] + (picture(height)[0] - 1.0) / 254 * span
    assert np.abs(back - z)[known].max() <= span / 254
    np.testing.assert_array_equal(picture(height)[3] == 255, known)


def test_text_and_plain_bytes_hold_the_same_cells_as_the_geotiff(tmp_path: Path) -> None:
    tiff, profile = pixels(get().content)
    text = get(format="AAIGrid")
    assert text.headers["content-type"].startswith("text/plain")
    header = dict(line.split() for line in text.text.splitlines()[:6])
    assert (int(header["ncols"]), int(header["nrows"])) == (profile["width"], profile["height"])
    assert float(header["xllcorner"]) == pytest.approx(profile["transform"].c)
    np.testing.assert_array_equal(np.loadtxt(io.StringIO(text.text), skiprows=6).astype(np.float32), tiff[0])
    read, grid = pixels(text.content)
    np.testing.assert_array_equal(read, tiff)
    assert (grid["driver"], grid["nodata"]) == ("AAIGrid", NODATA)
    assert grid["transform"].almost_equals(profile["transform"])
    envi = get(format="ENVI")
    assert envi.headers["content-type"] == "application/octet-stream"
    (tmp_path / "crop.raw").write_bytes(envi.content)
    (tmp_path / "crop.hdr").write_text(meta_of(envi.headers)["hdr"])
    with rasterio.open(tmp_path / "crop.raw") as dataset:
        assert dataset.driver == "ENVI"
        np.testing.assert_array_equal(dataset.read(), tiff)
        assert dataset.transform.almost_equals(profile["transform"])
        assert (dataset.nodata, dataset.crs.to_epsg()) == (NODATA, 32611)
