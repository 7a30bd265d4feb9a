"""Where water goes on a raster: depressions filled, steepest descent, contributing area.

Arrays are two-dimensional, row 0 in the north. Elevations are metres, NaN where there is no data. A flow network is
`downstream`: for each cell the flat index of the cell it drains to, or one of `OFF_MAP`, `NO_DATA`.
"""

from __future__ import annotations

import heapq
import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

OFF_MAP = -1  # the cell is valid and its water leaves the raster or enters a nodata area
NO_DATA = -2  # the cell has no elevation

# Row and column steps, clockwise from east.
STEPS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]


def edge_cells(valid: Mask) -> Mask:
    """Return which valid cells touch the raster's border or a cell without data."""
    padded = np.pad(valid, 1)
    inside = valid.copy()
    rows, columns = valid.shape
    for row, column in STEPS:
        inside &= padded[1 + row : 1 + row + rows, 1 + column : 1 + column + columns]
    return valid & ~inside


def fill_depressions(elevation: Floats, outlets: Mask | None = None) -> Floats:
    """Return the surface raised just enough that every cell has a strictly lower neighbour on its way out.

    Water leaves through `outlets`, by default through every edge cell. Raised cells climb by the smallest step that
    a float can hold, so flats drain too. Valid cells that no outlet can be reached from become NaN.
    Source: Barnes, Lehman & Mulla (2014), Priority-Flood, Computers & Geosciences 62, algorithm 3.
    """
    rows, columns = elevation.shape
    valid = np.isfinite(elevation)
    seeds = edge_cells(valid) if outlets is None else outlets & valid
    # A ring of closed cells saves the bounds check of every neighbour; flat lists are what the interpreter is fast at.
    width = columns + 2
    heights: list[float] = np.pad(elevation, 1, constant_values=np.nan).ravel().tolist()
    closed = bytearray(np.pad(~valid, 1, constant_values=True).ravel().tobytes())
    offsets = [row * width + column for row, column in STEPS]
    heap = [(heights[cell], cell) for cell in np.flatnonzero(np.pad(seeds, 1)).tolist()]
    heapq.heapify(heap)
    for _, cell in heap:
        closed[cell] = 1
    pit: deque[int] = deque()
    push, pop, next_float = heapq.heappush, heapq.heappop, math.nextafter
    while heap or pit:
        lowest_in_heap = not pit or (heap and heap[0][0] < heights[pit[0]])
        cell = pop(heap)[1] if lowest_in_heap else pit.popleft()
        floor = next_float(heights[cell], math.inf)
        for offset in offsets:
            neighbour = cell + offset
            if closed[neighbour]:
                continue
            closed[neighbour] = 1
            height = heights[neighbour]
            if height <= floor:
                heights[neighbour] = floor
                pit.append(neighbour)
            else:
                push(heap, (height, neighbour))
    filled: Floats = np.array(heights).reshape(rows + 2, width)[1:-1, 1:-1].copy()
    reached = np.frombuffer(bytes(closed), dtype=np.uint8).reshape(rows + 2, width)[1:-1, 1:-1] == 1
    filled[~(reached & valid)] = np.nan
    return filled


def flow_direction(filled: Floats) -> tuple[Indices, NDArray[np.uint8]]:
    """Return `(downstream, codes)` of the steepest descent among eight neighbours, on a surface without depressions.

    `codes` are 1, 2, 4 ... 128 clockwise from east, 0 where water leaves the map, 255 without data. Of equally steep
    ways the first clockwise from east is taken. Source: O'Callaghan & Mark (1984), Computer Vision, Graphics and
    Image Processing 28.
    """
    rows, columns = filled.shape
    padded = np.pad(filled, 1, constant_values=np.nan)
    steepest = np.zeros(filled.shape)
    codes = np.zeros(filled.shape, dtype=np.uint8)
    downstream: Indices = np.full(filled.shape, OFF_MAP, dtype=np.int64)
    cells = np.arange(rows * columns, dtype=np.int64).reshape(filled.shape)
    for number, (row, column) in enumerate(STEPS):
        neighbour = padded[1 + row : 1 + row + rows, 1 + column : 1 + column + columns]
        descent = (filled - neighbour) / math.hypot(row, column)
        better = descent > steepest  # False wherever either side is NaN
        steepest[better] = descent[better]
        codes[better] = 1 << number
        downstream[better] = cells[better] + row * columns + column
    missing = np.isnan(filled)
    downstream[missing] = NO_DATA
    codes[missing] = 255
    return downstream.ravel(), codes


def step_lengths(downstream: Indices, columns: int, cell_size: float) -> Floats:
    """Return the way from each cell to the one it drains to, 0 where water leaves the map."""
    (row, column), (below, beside) = (
        np.divmod(each, columns) for each in (np.arange(downstream.size), downstream)
    )
    return np.where(downstream < 0, 0.0, cell_size * np.hypot(below - row, beside - column))


def upstream_first(filled: Floats) -> list[int]:
    """Return the valid cells so ordered that each comes before the cell it drains to."""
    cells: list[int] = np.argsort(-filled.ravel(), kind="stable")[: np.isfinite(filled).sum()].tolist()
    return cells


def accumulate(downstream: Indices, order: list[int]) -> Floats:
    """Return for each cell how many drain through it, itself included; NaN without data."""
    total = [1.0] * downstream.size
    target: list[int] = downstream.tolist()
    for cell in order:
        below = target[cell]
        if below >= 0:
            total[below] += total[cell]
    return np.where(downstream == NO_DATA, np.nan, total)
