"""Terrain analysis against truths found in other ways: planes, cones, brute force, and GDAL's own programs."""

from __future__ import annotations

import itertools
import math
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from wepppy.terrain.channels import delineate
from wepppy.terrain.erosion import length_slope_factor
from wepppy.terrain.flow import (
    NO_DATA,
    OFF_MAP,
    STEPS,
    accumulate,
    edge_cells,
    fill_depressions,
    flow_direction,
    step_lengths,
    upstream_first,
)
from wepppy.terrain.surface import close_holes, slope_and_aspect

# Few distinct heights make flats and ties, None makes nodata: the cases that go wrong.
HEIGHTS = st.one_of(st.integers(0, 4).map(float), st.floats(-100, 100), st.just(math.nan))
SURFACES = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=HEIGHTS)
)


def routed(elevation: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[int]]:
    filled = fill_depressions(elevation)
    downstream, _ = flow_direction(filled)
    return filled, downstream, upstream_first(filled)


def trace(cell: int, downstream: np.ndarray) -> list[int]:
    path = [cell]
    while downstream[path[-1]] >= 0:
        path.append(int(downstream[path[-1]]))
        assert len(path) <= downstream.size, "water runs in a circle"
    return path


def neighbours(row: int, column: int, shape: tuple[int, int]) -> list[tuple[int, int]]:
    near = [(row + down, column + right) for down, right in STEPS]
    return [(r, c) for r, c in near if 0 <= r < shape[0] and 0 <= c < shape[1]]


@given(SURFACES)
def test_filling_raises_each_cell_to_its_lowest_pass_to_the_edge(elevation: np.ndarray) -> None:
    # The pass by relaxation: a cell is as high as its ground or its best neighbour's pass, whichever is higher.
    valid = np.isfinite(elevation)
    level = np.where(edge_cells(valid), elevation, np.inf)
    for _ in range(elevation.size):
        for row, column in np.argwhere(valid).tolist():
            ways = [level[cell] for cell in neighbours(row, column, elevation.shape) if valid[cell]]
            level[row, column] = min(
                level[row, column], max(elevation[row, column], min(ways, default=np.inf))
            )
    filled = fill_depressions(elevation)
    assert np.array_equal(np.isfinite(filled), valid)
    assert np.allclose(filled[valid], level[valid], rtol=0, atol=1e-9)
    assert (filled[valid] >= elevation[valid]).all()


@given(SURFACES)
def test_water_from_every_cell_leaves_the_map(elevation: np.ndarray) -> None:
    _, downstream, _ = routed(elevation)
    edges = edge_cells(np.isfinite(elevation)).ravel()
    for cell in np.flatnonzero(downstream != NO_DATA).tolist():
        last = trace(cell, downstream)[-1]
        assert downstream[last] == OFF_MAP
        assert edges[last]


@given(SURFACES)
def test_each_cell_drains_to_its_steepest_lower_neighbour(elevation: np.ndarray) -> None:
    filled, downstream, _ = routed(elevation)
    columns = elevation.shape[1]
    for row, column in np.argwhere(np.isfinite(filled)).tolist():
        descents = {
            r * columns + c: (filled[row, column] - filled[r, c]) / math.hypot(r - row, c - column)
            for r, c in neighbours(row, column, elevation.shape)
            if filled[r, c] < filled[row, column]
        }
        target = int(downstream[row * columns + column])
        if descents:
            assert descents[target] == max(descents.values())
        else:
            assert target == OFF_MAP


@given(SURFACES)
def test_contributing_area_counts_the_cells_whose_path_passes(elevation: np.ndarray) -> None:
    _, downstream, order = routed(elevation)
    passed = np.zeros(downstream.size)
    for cell in np.flatnonzero(downstream != NO_DATA).tolist():
        for on_path in trace(cell, downstream):
            passed[on_path] += 1
    total = accumulate(downstream, order)
    valid = downstream != NO_DATA
    assert np.array_equal(total[valid], passed[valid])
    assert np.isnan(total[~valid]).all()
    assert total[downstream == OFF_MAP].sum() == valid.sum()  # nothing is lost, nothing is made


@given(SURFACES, st.integers(1, 5))
def test_links_cut_the_channels_without_rest_and_subcatchments_follow_the_water(
    elevation: np.ndarray, threshold: int
) -> None:
    if not np.isfinite(elevation).any():
        return
    _, downstream, order = routed(elevation)
    total = accumulate(downstream, order)
    outlet = int(np.nanargmax(total))
    assert downstream[outlet] == OFF_MAP
    least = min(threshold, total[outlet])
    links, subcatchments = delineate(total, downstream, order, outlet, least)
    inside = [
        downstream[cell] != NO_DATA and trace(cell, downstream)[-1] == outlet
        for cell in range(downstream.size)
    ]
    channel = inside & (total >= least)
    cells = [cell for link in links for cell in link.cells.tolist()]
    assert sorted(cells) == np.flatnonzero(channel).tolist()
    by_number = {link.number: link for link in links}
    assert list(by_number) == list(range(1, len(links) + 1))
    assert links[0].downstream == 0
    assert outlet == links[0].cells[-1]
    labels = np.zeros(downstream.size, dtype=int)
    for link in links:
        labels[link.cells] = link.number
        for upper, lower in itertools.pairwise(link.cells):
            assert downstream[upper] == lower
        if link.number != 1:
            assert link.downstream < link.number
            assert downstream[link.cells[-1]] == by_number[link.downstream].cells[0]
        above = [other.order for other in links if other.downstream == link.number]
        assert len(above) != 1, "a link ends only at a confluence"
        expected = 1 if not above else max(above) + (above.count(max(above)) > 1)
        assert link.order == expected
    for cell in range(downstream.size):
        first = next((c for c in trace(cell, downstream) if labels[c]), None) if inside[cell] else None
        assert subcatchments[cell] == (0 if first is None else labels[first])


@given(SURFACES)
def test_the_way_to_the_next_cell_is_that_between_their_centres(elevation: np.ndarray) -> None:
    _, downstream, _ = routed(elevation)
    columns = elevation.shape[1]
    lengths = step_lengths(downstream, columns, 30.0)
    for cell, below in enumerate(downstream.tolist()):
        here, there = divmod(cell, columns), divmod(below, columns)
        assert lengths[cell] == pytest.approx(30.0 * math.dist(here, there) if below >= 0 else 0.0)


def test_on_a_plane_that_falls_eastwards_each_row_gathers_its_own_water() -> None:
    plane = np.tile(100.0 - 2.0 * np.arange(6), (4, 1))
    filled, downstream, order = routed(plane)
    _, codes = flow_direction(filled)
    assert np.array_equal(filled, plane)
    assert (codes[:, :-1] == 1).all()
    assert (codes[:, -1] == 0).all()
    assert np.array_equal(accumulate(downstream, order).reshape(4, 6), np.tile(np.arange(1.0, 7.0), (4, 1)))


def test_a_bowl_is_filled_to_the_lowest_point_of_its_rim() -> None:
    rows, columns = np.mgrid[-10:11, -10:11]
    bowl = np.hypot(rows, columns)
    bowl[10, 20] = 4.5  # a notch in the eastern rim; the ground just inside lies higher
    filled = fill_depressions(bowl)
    assert filled[10, 10] == pytest.approx(9.0, abs=1e-9)
    downstream, _ = flow_direction(filled)
    notch = 10 * 21 + 20
    assert all(trace(cell, downstream)[-1] == notch for cell in np.flatnonzero(bowl.ravel() < 8.9).tolist())


def test_a_cone_sheds_water_outwards_and_is_equally_steep_all_round() -> None:
    rows, columns = np.mgrid[-20:21, -20:21]
    distance = np.hypot(rows, columns)
    cone = 1000.0 - 0.5 * distance * 30.0
    _, downstream, _ = routed(cone)
    flat = distance.ravel()
    inner = np.flatnonzero(downstream >= 0)
    assert (flat[downstream[inner]] > flat[inner]).all()
    ring = (distance > 5) & (distance < 19)
    slope, aspect = slope_and_aspect(cone, 30.0)
    assert np.allclose(slope[ring], 0.5, atol=0.005)
    facing = aspect[ring]
    outwards = np.degrees(np.arctan2(columns, -rows))[ring] % 360
    assert np.abs((facing - outwards + 180) % 360 - 180).max() < 1.0


def test_a_given_outlet_drains_the_whole_surface() -> None:
    rng = np.random.default_rng(7)
    outlets = np.zeros((12, 12), dtype=bool)
    outlets[11, 5] = True
    downstream, _ = flow_direction(fill_depressions(rng.random((12, 12)), outlets))
    assert {trace(cell, downstream)[-1] for cell in range(144)} == {11 * 12 + 5}


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(1, 90))
def test_slope_and_aspect_of_a_plane_are_those_of_the_plane(
    east: float, north: float, cell_size: float
) -> None:
    rows, columns = np.mgrid[:5, :5]
    plane = cell_size * (east * columns - north * rows)
    slope, aspect = slope_and_aspect(plane, cell_size)
    assert slope[1:-1, 1:-1] == pytest.approx(math.hypot(east, north), abs=1e-9)
    if math.hypot(east, north) > 1e-6:
        facing = aspect[2, 2]
        expected = math.degrees(math.atan2(-east, -north)) % 360
        assert abs((facing - expected + 180) % 360 - 180) < 1e-6


@pytest.fixture(scope="module")
def mountain(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, Path]:
    from wepppy.sample_data.landscape import grow_landscape

    elevation = grow_landscape(np.random.default_rng(3), 128, 3840.0, 500.0, 700.0).astype(np.float32)
    elevation[40:44, 60:66] = np.nan
    path = tmp_path_factory.mktemp("mountain") / "dem.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=128,
        height=128,
        count=1,
        dtype="float32",
        crs="EPSG:32611",
        nodata=-9999,
        transform=Affine(30, 0, 500_000, 0, -30, 5_000_000),
    ) as dataset:
        dataset.write(np.where(np.isnan(elevation), -9999, elevation), 1)
    return elevation.astype(np.float64), path


def gdaldem(mode: str, source: Path, *options: str) -> Any:
    target = source.with_name(f"{mode}.tif")
    subprocess.run(["gdaldem", mode, str(source), str(target), *options], check=True, capture_output=True)
    with rasterio.open(target) as dataset:
        return dataset.read(1, masked=True)


def test_slope_agrees_with_gdaldem(mountain: tuple[np.ndarray, Path]) -> None:
    elevation, path = mountain
    theirs = gdaldem("slope", path)
    ours = np.degrees(np.arctan(slope_and_aspect(elevation, 30.0)[0]))
    assert np.array_equal(np.isnan(ours), np.ma.getmaskarray(theirs))
    assert np.nanmax(np.abs(ours - theirs.filled(np.nan))) < 0.001


def test_aspect_agrees_with_gdaldem(mountain: tuple[np.ndarray, Path]) -> None:
    elevation, path = mountain
    theirs = gdaldem("aspect", path).filled(np.nan)
    difference = np.abs((slope_and_aspect(elevation, 30.0)[1] - theirs + 180) % 360 - 180)
    assert np.isfinite(difference).sum() > 15_000
    assert np.nanmax(difference) < 0.05  # GDAL computes in single precision


def test_only_holes_that_do_not_reach_the_border_are_closed() -> None:
    rows, columns = np.mgrid[:20, :20]
    plane = 3.0 * rows + 2.0 * columns
    torn = plane.copy()
    torn[8:11, 8:11] = np.nan
    torn[:3, 15:] = np.nan
    closed = close_holes(torn)
    assert np.isnan(closed[:3, 15:]).all()
    assert np.abs(closed[8:11, 8:11] - plane[8:11, 8:11]).max() < 5.0
    kept = np.isfinite(torn)
    assert np.array_equal(closed[kept], torn[kept])


def test_the_unit_plot_has_a_length_slope_factor_of_one() -> None:
    factor = length_slope_factor(np.array([0.09 - 1e-9]), np.array([90.0]), np.array([0.0]), 22.13)
    assert factor[0] == pytest.approx(1.0, abs=0.01)


@given(st.floats(0.01, 1.0), st.integers(1, 9))
def test_cells_of_an_even_slope_average_to_the_factor_of_the_whole_slope(
    steepness: float, cells: int
) -> None:
    size = 25.0
    inflow = np.arange(cells) * size**2
    level = np.full(cells, steepness)
    factor = length_slope_factor(level, np.full(cells, 180.0), inflow, size, longest_slope=300.0)
    sine = steepness / math.hypot(1, steepness)
    ratio = (sine / 0.0896) / (3 * sine**0.8 + 0.56)
    exponent = ratio / (1 + ratio)
    steep = 10.8 * sine + 0.03 if steepness < 0.09 else 16.8 * sine - 0.5
    assert factor.mean() == pytest.approx((cells * size / 22.13) ** exponent * steep)
