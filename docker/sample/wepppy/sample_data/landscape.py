"""A landscape that rivers could have made: grown from noise by the balance of uplift and stream incision."""

from __future__ import annotations

import numpy as np

from wepppy.terrain.flow import (
    STEP_CODES,
    STEPS,
    Floats,
    Mask,
    accumulate,
    fill_depressions,
    flow_direction,
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
    rounds = [(cells, count) for cells, count in _ROUNDS if cells <= size]
    if not rounds or rounds[-1][0] != size:
        rounds.append((size, 1))
    heights = smooth_noise(rng, rounds[0][0], 4)
    heights += np.linspace(2.0, 0.0, rounds[0][0])[:, None]
    hardness = 1.0 + 0.45 * smooth_noise(rng, size, 5)
    for cells, count in rounds:
        if heights.shape[0] != cells:
            heights = resize(heights, cells)
        for _ in range(count):
            # Eight directions would draw straight valleys on even slopes; roughness makes them wander.
            rough = heights + rng.normal(scale=_ROUGHNESS * float(np.ptp(heights)), size=heights.shape)
            heights = _carve(rough, extent / cells, resize(hardness, cells))
    # Creep rounds ridges, floods fill valley floors.
    heights = blur(heights, 2)
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
    field -= field.mean()
    result: Floats = field / field.std()
    return result


def resize(values: Floats, size: int) -> Floats:
    """Return a square field sampled linearly at `size` x `size` points from corner to corner."""
    positions = np.linspace(0, values.shape[0] - 1, size)
    lower = (
        np.minimum(positions.astype(np.int64), values.shape[0] - 2)
        if values.shape[0] > 1
        else np.zeros(size, int)
    )
    part = positions - lower
    rows = values[lower] * (1 - part)[:, None] + values[lower + 1] * part[:, None]
    result: Floats = rows[:, lower] * (1 - part) + rows[:, lower + 1] * part
    return result


def blur(values: Floats, times: int) -> Floats:
    """Return the values averaged `times` times with weights 1 2 1 in both directions."""
    for _ in range(times):
        padded = np.pad(values, 1, mode="edge")
        across = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
        values = (across[:-2] + 2 * across[1:-1] + across[2:]) / 16
    return values


def _carve(heights: Floats, cell_size: float, hardness: Floats) -> Floats:
    outlets: Mask = np.zeros(heights.shape, dtype=bool)
    outlets[-1, heights.shape[1] // 2] = True
    filled = fill_depressions(heights, outlets)
    downstream, codes = flow_direction(filled)
    order = upstream_first(filled, downstream)
    area = accumulate(downstream, order) * cell_size**2
    lengths = np.zeros(256)
    for (row, column), code in zip(STEPS, STEP_CODES, strict=True):
        lengths[code] = cell_size * np.hypot(row, column)
    steps = (
        lengths[codes.ravel()] * hardness.ravel().clip(0.2) * np.maximum(area, _HILLSLOPE_AREA) ** -_CONCAVITY
    )
    climb: list[float] = steps.tolist()
    below: list[int] = downstream.tolist()
    result = [0.0] * heights.size
    for cell in reversed(order):
        result[cell] = (result[below[cell]] if below[cell] >= 0 else 0.0) + climb[cell]
    return np.array(result).reshape(heights.shape)
