"""A landscape that rivers could have made: grown from noise by the balance of uplift and stream incision."""

from __future__ import annotations

import numpy as np

from wepppy.terrain.flow import (
    Floats,
    accumulate,
    fill_depressions,
    flow_direction,
    step_lengths,
    upstream_first,
)

_CONCAVITY = 0.45  # how channel slope falls with contributing area; measured values cluster here
_HILLSLOPE_AREA = 30_000.0  # m2 below which slopes no longer steepen: there soil creeps instead of being cut
_ROUGHNESS = 0.02  # of the relief
_ROUNDS = ((64, 10), (128, 6), (256, 3), (512, 1))  # cells per side and rounds of carving at that size


def grow_landscape(
    rng: np.random.Generator, size: int, extent: float, lowest: float, relief: float
) -> Floats:
    """Return `size` x `size` elevations (m) of a basin `extent` metres wide that drains through its southern edge.

    Every cell's height is its downstream neighbour's plus a step whose slope falls with contributing area
    (steady state of stream-power incision; Whipple & Tucker 1999, Journal of Geophysical Research 104). Flow paths
    and heights are found in turn, on ever finer grids. `relief` is the height of the divide's top above `lowest`.
    """
    rounds = [cells for cells, count in _ROUNDS if cells <= size for _ in range(count)]
    heights = smooth_noise(rng, rounds[0], 4) + np.linspace(2.0, 0.0, rounds[0])[:, None]
    hardness = 1.0 + 0.45 * smooth_noise(rng, size, 5)
    for cells in rounds:
        heights = resize(heights, cells)
        # Eight directions would draw straight valleys on even slopes; roughness makes them wander.
        rough = heights + rng.normal(scale=_ROUGHNESS * float(np.ptp(heights)), size=heights.shape)
        heights = _carve(rough, extent / cells, resize(hardness, cells))
    for _ in range(2):  # creep rounds ridges, floods fill valley floors
        padded = np.pad(heights, 1, mode="edge")
        across = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
        heights = (across[:-2] + 2 * across[1:-1] + across[2:]) / 16
    heights += 0.0006 * smooth_noise(rng, size, 60) * float(np.ptp(heights))
    heights -= heights.min()
    result: Floats = lowest + relief * heights / heights.max()
    return result


def smooth_noise(rng: np.random.Generator, size: int, waves: int) -> Floats:
    """Return a `size` x `size` field of mean 0 and deviation 1, its coarsest features `size / waves` cells wide."""
    field = np.zeros((size, size))
    amplitude = 1.0
    while waves < size:
        field += amplitude * resize(rng.normal(size=(waves + 1, waves + 1)), size)
        waves *= 2
        amplitude *= 0.5
    result: Floats = (field - field.mean()) / field.std()
    return result


def resize(values: Floats, size: int) -> Floats:
    """Return a square field sampled linearly at `size` x `size` points from corner to corner."""
    there = np.arange(len(values))
    wanted = np.linspace(0, len(values) - 1, size)
    rows = np.array([np.interp(wanted, there, row) for row in values])
    return np.array([np.interp(wanted, there, column) for column in rows.T]).T


def _carve(heights: Floats, cell_size: float, hardness: Floats) -> Floats:
    outlets = np.zeros(heights.shape, dtype=bool)
    outlets[-1, heights.shape[1] // 2] = True
    filled = fill_depressions(heights, outlets)
    downstream, _ = flow_direction(filled)
    order = upstream_first(filled)
    area = np.maximum(accumulate(downstream, order) * cell_size**2, _HILLSLOPE_AREA)
    lengths = step_lengths(downstream, heights.shape[1], cell_size)
    climb: list[float] = (lengths * hardness.ravel().clip(0.2) * area**-_CONCAVITY).tolist()
    below: list[int] = downstream.tolist()
    result = [0.0] * heights.size
    for cell in reversed(order):
        result[cell] = (result[below[cell]] if below[cell] >= 0 else 0.0) + climb[cell]
    return np.array(result).reshape(heights.shape)
