"""The sample geodata: what is in it, that it is the same every time, and that no interruption leaves half of it."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import rasterio
from wepppy.sample_data import DEFAULT_SEED, MARKER, is_complete, read_marker
from wepppy.terrain.landcover import COVERS
from wepppy.terrain.surface import close_holes

SAMPLE_TREE = Path(__file__).resolve().parents[2] / "docker" / "sample"
VARIABLES = ("ppt", "tmin", "tmax")


def generate(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *options), capture_output=True, text=True, check=False, env=environment()
    )


def command(folder: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "wepppy.sample_data", "--geodata", str(folder), *options]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SAMPLE_TREE)}


def contents(folder: Path) -> dict[str, str]:
    """Return each file's hash; of NetCDF that of its values, because HDF5 writes the time into files."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".nc":
            with netCDF4.Dataset(path) as dataset:
                values = [np.ma.getdata(dataset[name][...]) for name in sorted(dataset.variables)]
                digest = hashlib.sha256(b"".join(value.tobytes() for value in values))
        elif path.is_file() and path.name != MARKER:
            digest = hashlib.sha256(path.read_bytes())
        else:
            continue
        found[str(path.relative_to(folder))] = digest.hexdigest()
    return found


@pytest.fixture(scope="module")
def geodata(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("geodata")
    result = generate(folder)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) > 3  # progress
    return folder


def test_each_dataset_is_found_by_its_vrt(geodata: Path) -> None:
    for name in json.loads((geodata / "catalog.json").read_text()):
        assert name.endswith("/.vrt")
        with rasterio.open(geodata / name) as dataset:
            assert dataset.crs is not None
            assert dataset.count == (12 if "monthly" in name else 1)
            band = dataset.read(dataset.count, masked=True)
            assert band.count() > 0
            sources = sorted(path for path in (geodata / name).parent.glob("*.tif"))
        with rasterio.open(sources[-1]) as source:
            assert np.array_equal(source.read(source.count, masked=True).filled(0), band.filled(0))


def test_the_elevation_has_a_missing_border_and_holes(geodata: Path) -> None:
    with rasterio.open(geodata / "ned1/2016/.vrt") as dataset:
        assert dataset.crs.to_epsg() == 32611
        assert dataset.res == (30.0, 30.0)
        assert dataset.shape == (512, 512)
        band = dataset.read(1, masked=True)
    missing = np.ma.getmaskarray(band)
    assert missing[0].all()
    assert missing[:, -1].all()
    closed = close_holes(band.astype(np.float64).filled(np.nan))
    assert np.isfinite(closed[missing]).sum() > 100  # the holes; the border stays open
    assert np.isnan(closed[0]).all()
    assert 500 < band.min() < band.max() < 3000


def test_water_leaves_the_landscape_through_one_valley(geodata: Path) -> None:
    from wepppy.terrain.flow import OFF_MAP, accumulate, fill_depressions, flow_direction, upstream_first

    with rasterio.open(geodata / "ned1/2016/.vrt") as dataset:
        elevation = close_holes(dataset.read(1, masked=True).astype(np.float64).filled(np.nan))
    filled = fill_depressions(elevation)
    downstream, _ = flow_direction(filled)
    total = accumulate(downstream, upstream_first(filled))
    assert total[downstream == OFF_MAP].max() > 0.75 * np.isfinite(elevation).sum()
    raised = np.nansum(filled > elevation + 0.01) / np.isfinite(elevation).sum()
    assert raised < 0.03  # the valleys were carved, not filled


def test_land_cover_and_soils_have_parameters_everywhere(geodata: Path) -> None:
    with rasterio.open(geodata / "nlcd/2019/.vrt") as dataset:
        codes = set(np.unique(dataset.read(1, masked=True).compressed()).tolist())
        assert dataset.colormap(1)[42] == (28, 95, 44, 255)
    assert codes == set(COVERS)
    with (geodata / "ssurgo/2016/soils.csv").open(newline="") as file:
        known = {int(row["key"]) for row in csv.DictReader(file)}
    with rasterio.open(geodata / "ssurgo/2016/.vrt") as dataset:
        assert set(np.unique(dataset.read(1, masked=True).compressed()).tolist()) == known


def test_the_daily_year_and_the_monthly_means_tell_one_story(geodata: Path) -> None:
    monthly, daily = {}, {}
    for name in VARIABLES:
        with rasterio.open(geodata / f"daymet/monthly/{name}/.vrt") as raster:
            monthly[name] = raster.read()
            x, y = raster.xy(0, 0)
        with netCDF4.Dataset(geodata / f"daymet/daily/2019/{name}.nc") as dataset:
            assert dataset[name].dimensions == ("time", "lat", "lon")
            assert len(dataset["time"]) == 365
            assert (dataset["lon"][0], dataset["lat"][0]) == (pytest.approx(x), pytest.approx(y))
            first, last = netCDF4.num2date(dataset["time"][[0, -1]], dataset["time"].units)
            assert (first.isoformat(), last.isoformat()) == ("2019-01-01T00:00:00", "2019-12-31T00:00:00")
            daily[name] = dataset[name][:].data
    january = daily["ppt"][:31].sum(axis=0)
    assert 0.7 <= (january / monthly["ppt"][0]).min() <= (january / monthly["ppt"][0]).max() <= 1.3
    assert (daily["tmax"] > daily["tmin"]).all()
    assert (daily["ppt"] >= 0).all()
    assert 0.1 < (daily["ppt"][:, 0, 0] > 0).mean() < 0.6


def test_the_climate_covers_the_run_extent_and_the_elevation_covers_it_too(geodata: Path) -> None:
    from rasterio.warp import transform_bounds

    marker = read_marker(geodata)
    assert marker is not None
    left, bottom, right, top = marker["run_extent"]
    for name in ("ned1/2016/.vrt", "daymet/monthly/ppt/.vrt"):
        with rasterio.open(geodata / name) as dataset:
            outer = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
        assert outer[0] < left < right < outer[2]
        assert outer[1] < bottom < top < outer[3]


def test_the_same_seed_gives_the_same_data_and_another_seed_other_data(geodata: Path, tmp_path: Path) -> None:
    assert generate(tmp_path / "same").returncode == 0
    assert contents(tmp_path / "same") == contents(geodata)
    assert generate(tmp_path / "other", "--seed", "5").returncode == 0
    other = contents(tmp_path / "other")
    assert other.keys() == contents(geodata).keys()
    assert other["ned1/2016/dem.tif"] != contents(geodata)["ned1/2016/dem.tif"]


def test_a_second_call_imports_nothing_heavy_and_touches_nothing(geodata: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in geodata.rglob("*")}
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *command(geodata)[1:]],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    assert "complete" in result.stdout
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "wepppy.sample_data" in imported
    assert not imported & {"numpy", "rasterio", "netCDF4", "redis", "rq", "ssl", "asyncio"}
    assert {path: path.stat().st_mtime_ns for path in geodata.rglob("*")} == before


def test_a_missing_file_is_noticed_and_made_again(tmp_path: Path) -> None:
    assert generate(tmp_path).returncode == 0
    whole = contents(tmp_path)
    (tmp_path / "nlcd/2019/.vrt").unlink()
    assert not is_complete(tmp_path, DEFAULT_SEED)
    assert generate(tmp_path).returncode == 0
    assert contents(tmp_path) == whole


def test_another_seed_replaces_the_landscape_only_when_told(geodata: Path, tmp_path: Path) -> None:
    assert generate(tmp_path, "--seed", "5").returncode == 0
    marker = (tmp_path / MARKER).read_bytes()
    refused = generate(tmp_path, "--seed", str(DEFAULT_SEED))
    assert refused.returncode == 4
    assert "seed 5" in refused.stderr
    assert "--replace" in refused.stderr
    # Without a number the one that is there stays, also when a file of it is missing.
    (tmp_path / "nlcd/2019/.vrt").unlink()
    assert generate(tmp_path).returncode == 0
    assert (tmp_path / MARKER).read_bytes() == marker
    would = generate(tmp_path, "--seed", str(DEFAULT_SEED), "--replace", "--dry-run", "--json-lines")
    assert json.loads(would.stdout) == {"answer": {"seed": DEFAULT_SEED, "replaces": 5}}
    assert (tmp_path / MARKER).read_bytes() == marker
    done = generate(tmp_path, "--seed", str(DEFAULT_SEED), "--replace", "--json-lines")
    *progress, last = map(json.loads, done.stdout.splitlines())
    assert {line["step"] for line in progress} == {"geodata"}
    assert last["answer"] == {"seed": DEFAULT_SEED, "files": 17, "made": 17}
    assert contents(tmp_path) == contents(geodata)


def test_the_geodata_is_all_that_is_promised(geodata: Path) -> None:
    names = {str(path.relative_to(geodata)) for path in geodata.rglob("*")}
    assert {
        "ned1/2016/.vrt",
        "ned1/2016/dem.tif",
        "nlcd/2019/landcover.tif",
        "ssurgo/2016/soils.tif",
    } <= names
    for variable in VARIABLES:
        with rasterio.open(geodata / f"daymet/monthly/{variable}/.vrt") as monthly:
            assert monthly.count == 12
        with netCDF4.Dataset(geodata / f"daymet/daily/2019/{variable}.nc") as dataset:
            assert dataset[variable].shape[0] == 365
    with rasterio.open(geodata / "ned1/2016/.vrt") as elevation:
        assert (elevation.res, elevation.crs.to_epsg(), elevation.nodata) == ((30.0, 30.0), 32611, -9999.0)


def test_data_of_another_origin_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "ned1/2016/.vrt"
    other.parent.mkdir(parents=True)
    other.write_text("the only copy")
    result = generate(tmp_path)
    assert result.returncode == 4
    assert "GEODATA_DIR" in result.stderr
    assert other.read_text() == "the only copy"
    assert not (tmp_path / "nlcd").exists()


# The generator, which kills itself at the line of progress with the number of the first argument.
KILLED = """
import os, signal, sys
from wepppy.sample_data import __main__ as program

lines, printed = iter(range(int(sys.argv[1]) - 1)), program.Output.progress

def progress(output, text):
    printed(output, text)
    if next(lines, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)

program.Output.progress = progress
program.main(sys.argv[2:])
"""


@pytest.mark.parametrize("line", [1, 3, 4])
def test_a_killed_generator_leaves_nothing_that_looks_complete_and_the_next_one_heals(
    geodata: Path, tmp_path: Path, line: int
) -> None:
    # From outside it might be killed too late: on a busy machine the last step is done before the signal is sent.
    killed = [sys.executable, "-c", KILLED, str(line), "--geodata", str(tmp_path)]
    assert subprocess.run(killed, check=False, env=environment()).returncode == -signal.SIGKILL
    assert not is_complete(tmp_path, DEFAULT_SEED)
    assert not [path for path in tmp_path.rglob("*.vrt") if ".sample-data.partial" not in path.parts]
    assert generate(tmp_path).returncode == 0
    assert contents(tmp_path) == contents(geodata)
    assert not (tmp_path / ".sample-data.partial").exists()


def test_bad_options_are_usage_errors(tmp_path: Path) -> None:
    assert generate(tmp_path, "--seed", "-1").returncode == 2
    assert generate(tmp_path, "--seed", "x").returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    result = generate(blocked)
    assert result.returncode == 3
    assert str(blocked) in result.stderr
    assert "Traceback" not in result.stderr
