"""Water and soil against the published examples of each equation, and a whole run against published ranges."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from wepppy.rq.project import Project
from wepppy.rq.steps import STEPS
from wepppy.rq.steps.map_layers import write_map_layers
from wepppy.rq.steps.state import RunState
from wepppy.terrain.erosion import event_soil_loss
from wepppy.terrain.runoff import direct_runoff, peak_discharge, retention, time_of_concentration
from wepppy.terrain.water_balance import (
    Balance,
    Ground,
    MoistureRetention,
    extraterrestrial_radiation,
    potential_evapotranspiration,
    water_balance,
)

pytest_plugins = ["worker_stack"]

SILT_LOAM = Ground(*(np.array([value]) for value in (70.0, 197.0, 171.0, 6.8)))


def test_runoff_equals_the_handbook() -> None:
    # National Engineering Handbook 630 chapter 10: curve number 80, 4 inches of rain, 2.04 inches of runoff.
    held = retention(np.array([80.0]))
    assert direct_runoff(np.array([101.6]), held)[0] / 25.4 == pytest.approx(2.04, abs=0.005)
    assert direct_runoff(np.array([0.0, 12.0]), held).tolist() == [0.0, 0.0]  # abstracted: 12.7 mm


@given(st.floats(0, 500), st.floats(1, 100), st.floats(0, 50))
def test_runoff_is_part_of_the_rain_and_grows_with_it(rain: float, number: float, more: float) -> None:
    less, greater = direct_runoff(np.array([rain, rain + more]), retention(np.array([number])))
    assert 0 <= less <= rain + 1e-9
    assert greater >= less - 1e-9


def test_the_time_of_concentration_is_that_of_the_lag_equation_in_feet_and_acres() -> None:
    # 100 acres: 3312 feet of flow; curve number 80: 2.5 inches; 5 percent: a lag of 0.371 hours.
    hours = time_of_concentration(np.array([404_686.0]), np.array([0.05]), np.array([80.0]))
    assert hours[0] == pytest.approx(0.371 / 0.6, rel=0.01)


def test_the_triangular_hydrograph_holds_the_water_that_ran_off() -> None:
    hours = np.array([1.5])
    peak = peak_discharge(np.array([10.0]), np.array([2e6]), hours)
    base_seconds = 2.67 * (3.0 + 0.6 * 1.5) * 3600  # NEH 630 chapter 16: Tb = 2.67 Tp
    assert peak[0] * base_seconds / 2 == pytest.approx(10.0 / 1000 * 2e6, rel=0.002)


def test_soil_loss_equals_williams_equation_in_its_own_units() -> None:
    # Short tons for acre-feet and cubic feet per second, K in US units: 95 (Q q)^0.56 K LS C P.
    short_tons = 95 * (5.0 * 40.0) ** 0.56 * 0.32
    volume, peak = 5.0 * 1233.48, 40.0 * 0.0283168
    area = np.array([1e6])
    loss = event_soil_loss(volume / area * 1000, area, np.array([peak]), np.array([0.32 * 0.1317]))
    assert loss[0] == pytest.approx(short_tons * 0.907185, rel=0.005)
    assert event_soil_loss(np.zeros(1), area, np.zeros(1), np.ones(1)) == 0  # no runoff, no loss


def test_radiation_and_evapotranspiration_equal_the_examples_of_fao_56() -> None:
    assert extraterrestrial_radiation(-20.0, 246) == pytest.approx(32.2, abs=0.1)  # example 8
    # Example 20, Lyon in July.
    lyon = potential_evapotranspiration(np.array([14.8]), np.array([26.6]), np.array([40.55]))
    assert lyon[0] == pytest.approx(5.0, abs=0.05)


def test_retention_follows_the_soil_from_dry_over_wet_to_saturated() -> None:
    changing = MoistureRetention(SILT_LOAM)
    dry = 70 - 20 * 30 / (30 + math.exp(2.533 - 0.0636 * 30))
    assert changing(np.array([0.0]))[0] == pytest.approx(25400 / dry - 254)
    wet = 70 * math.exp(0.00673 * 30)
    assert changing(np.array([197.0]))[0] == pytest.approx(25400 / wet - 254)
    assert changing(np.array([368.0]))[0] == pytest.approx(2.54)


def test_open_water_gives_back_all_that_falls_on_it() -> None:
    water = Ground(np.array([100.0]), SILT_LOAM.available, SILT_LOAM.drainable, SILT_LOAM.conductivity)
    rain = np.full((1, 5), 10.0)
    found = water_balance(water, rain, np.full((1, 5), 9.0), np.full((1, 5), 2.0))
    assert found.direct == pytest.approx(rain)


def test_snow_waits_for_warm_days_and_melts_at_the_published_rate() -> None:
    rain = np.array([[100.0, 0.0, 0.0, 0.0]])
    sealed = Ground(np.array([100.0]), *(getattr(SILT_LOAM, name) for name in GROUND_NAMES))
    mean = np.array([[-5.0, 0.0, 10.0, 40.0]])
    found = water_balance(sealed, rain, mean, np.zeros((1, 4)))
    assert found.direct[0] == pytest.approx([0, 0, 27.4, 72.6])


GROUND_NAMES = ("available", "drainable", "conductivity")
DAYS = 40


@given(
    arrays(np.float64, (3, DAYS), elements=st.floats(0, 120)),
    arrays(np.float64, (3, DAYS), elements=st.floats(-20, 30)),
    arrays(np.float64, (3, DAYS), elements=st.floats(0, 12)),
    arrays(np.float64, 3, elements=st.floats(30, 100)),
)
def test_no_water_is_made_or_lost(
    rain: np.ndarray, mean: np.ndarray, potential: np.ndarray, numbers: np.ndarray
) -> None:
    ground = Ground(numbers, *(np.repeat(getattr(SILT_LOAM, name), 3) for name in GROUND_NAMES))
    found = water_balance(ground, rain, mean, potential)
    assert leaving(found) == pytest.approx(rain.sum(axis=1), abs=1e-6)
    for part in (found.direct, found.baseflow, found.evapotranspiration):
        assert part.min() >= 0
    assert (found.evapotranspiration <= potential + 1e-9).all()


def leaving(balance: Balance) -> np.ndarray:
    flows = balance.direct + balance.baseflow + balance.evapotranspiration
    return flows.sum(axis=1) + balance.storage_change


@pytest.fixture(scope="module")
def computed(geodata: Path, tmp_path_factory: pytest.TempPathFactory) -> RunState:
    """Every step of a run on the sample landscape."""
    extent = json.loads((geodata / "sample-data.json").read_text())["run_extent"]
    project = Project("rain", "sample", "Rain", tuple(extent), "")
    state = RunState(tmp_path_factory.mktemp("run"), geodata, project, lambda _: None)
    for step in STEPS.values():
        step(state)
    return state


def test_the_runs_water_balance_closes_in_every_subcatchment_and_at_the_outlet(computed: RunState) -> None:
    rain = computed.precipitation.sum(axis=1)
    assert leaving(computed.balance) == pytest.approx(rain, abs=1e-6)
    table = pyarrow.parquet.read_table(computed.folder / "wepp/output/hillslopes.parquet").to_pydict()
    parts = ("evapotranspiration_mm", "direct_runoff_mm", "baseflow_mm", "storage_change_mm")
    assert sum(np.array(table[name]) for name in parts) == pytest.approx(np.array(table["precipitation_mm"]))
    reported = computed.summary["water_balance"]
    assert sum(reported[name] for name in parts) == pytest.approx(reported["precipitation_mm"], abs=0.3)
    outlet = pyarrow.parquet.read_table(computed.folder / "wepp/output/outlet.parquet").to_pydict()
    depth = sum(outlet["direct_runoff_mm"]) + sum(outlet["baseflow_mm"])
    assert sum(outlet["discharge_m3"]) == pytest.approx(depth / 1000 * computed.areas.sum())


def test_the_runs_evapotranspiration_and_runoff_lie_near_budykos_curve(computed: RunState) -> None:
    days = np.arange(1, 366)
    radiation = extraterrestrial_radiation(computed.latitudes[:, None], days[None, :])
    potential = potential_evapotranspiration(computed.lowest, computed.highest, radiation).sum(axis=1)
    rain = computed.precipitation.sum(axis=1)
    dryness = potential / rain
    # Budyko (1974), Climate and Life: the share of the precipitation that catchments of the world evaporate.
    share = np.sqrt(dryness * np.tanh(1 / dryness) * (1 - np.exp(-dryness)))
    found = computed.balance.evapotranspiration.sum(axis=1) / rain
    weights = computed.areas / computed.areas.sum()
    assert abs(weights @ (found - share)) < 0.15
    assert computed.summary["runoff"]["runoff_coefficient"] == pytest.approx(1 - weights @ found, abs=0.01)
    assert 0.2 < computed.summary["runoff"]["runoff_coefficient"] < 0.5


def test_the_runs_soil_loss_is_the_runoffs_and_lies_within_published_rates(computed: RunState) -> None:
    with rasterio.open(computed.folder / "wepp/output/soil_loss.tif") as dataset:
        loss = dataset.read(1, masked=True).filled(np.nan).ravel()
    tonnes = np.nansum(loss) * computed.grid.cell_area / 1e4
    assert tonnes == pytest.approx(computed.summary["soil_loss"]["total_t"], rel=1e-3)
    table = pyarrow.parquet.read_table(computed.folder / "wepp/output/soil_loss.parquet").to_pydict()
    assert sum(table["soil_loss_t"]) == pytest.approx(tonnes, rel=1e-4)
    # Montgomery (2007), PNAS 104: medians of some 20 t/(ha yr) under the plough and 0.2 under native vegetation.
    assert 2 < np.nanmean(loss[computed.cover == 82]) < 40
    assert 0.01 < np.nanmean(loss[computed.cover == 42]) < 1
    # Streams carry milligrams to some ten grams in a litre.
    assert 0.1 < computed.summary["soil_loss"]["sediment_in_direct_runoff_kg_m3"] < 50


def test_the_map_layers_lie_where_the_run_lies_and_hold_its_results(computed: RunState) -> None:
    write_map_layers(computed)
    folder = computed.folder / "map"
    left, bottom, right, top = computed.project.extent
    edge = 0.005  # degrees by which a box of the elevation's own system leaves the box in degrees
    features = json.loads((folder / "subcatchments.geojson").read_text())["features"]
    assert [each["properties"]["subcatchment"] for each in features] == [
        link.number for link in computed.links
    ]
    for each in features:
        for ring in (ring for part in each["geometry"]["coordinates"] for ring in part):
            assert all(left - edge <= x <= right + edge for x, _ in ring)
            assert all(bottom - edge <= y <= top + edge for _, y in ring)
    reported = [each["properties"]["soil_loss_t_ha"] for each in features]
    assert reported == pytest.approx(computed.results["soil_loss_t_ha"].tolist(), rel=1e-4)
    assert features[0]["properties"]["discharge_m3_s"] == pytest.approx(
        computed.summary["runoff"]["mean_discharge_m3_s"], rel=1e-3
    )
    parts = json.loads((folder / "watershed.geojson").read_text())["features"]
    assert [each["properties"]["part"] for each in parts] == ["boundary", "outlet"]
    layers = json.loads((folder / "layers.json").read_text())
    names = {each["name"] for each in layers["landcover"]["classes"]}
    assert {"evergreen forest", "cultivated crops"} <= names
    for name in ("landcover", "elevation"):
        (south, west), (north, east) = layers[name]["bounds"]
        assert (south, west, north, east) == pytest.approx((bottom, left, top, right), abs=0.01)
        with rasterio.open(folder / f"{name}.png") as picture:
            assert picture.read(1).any()
            assert picture.colormap(1)[0] == (0, 0, 0, 0)
    with rasterio.open(folder / "landcover.png") as picture:
        assert picture.colormap(1)[42][:3] == (28, 95, 44)  # the palette of the survey itself
    assert not list(folder.glob("*.xml"))
