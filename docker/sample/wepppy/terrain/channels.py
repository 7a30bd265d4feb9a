"""The channel network of a watershed: its outlet, its links, and the land that drains to each link."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wepppy.terrain.flow import OFF_MAP, STEP_CODES, STEPS, Floats, Indices, Mask, inherit_labels

_STEP_LENGTHS = {code: math.hypot(row, column) for (row, column), code in zip(STEPS, STEP_CODES, strict=True)}


@dataclass(frozen=True)
class Link:
    """A stretch of channel without a confluence in it."""

    number: int  # 1 is the link that holds the outlet
    downstream: int  # the link below, 0 at the outlet
    order: int  # Strahler's
    cells: tuple[int, ...]  # flat indices from the top to the bottom
    length: float  # m, along the cells and on to the first cell of the link below
    top: float  # m above sea level
    bottom: float
    area: float  # m2 that drain through its lowest cell


def find_outlet(contributing: Floats, downstream: Indices) -> int:
    """Return the flat index of the cell through which most water leaves the map.

    Raises ValueError for a raster without a single valid cell.
    """
    leaving = np.flatnonzero(downstream == OFF_MAP)
    if not leaving.size:
        raise ValueError("the elevation raster holds no data")
    return int(leaving[np.argmax(contributing[leaving])])


def watershed_of(outlet: int, downstream: Indices, order: list[int]) -> Mask:
    """Return which cells drain through the outlet cell, itself included (flat)."""
    labels = np.zeros(downstream.size, dtype=np.int32)
    labels[outlet] = 1
    inside: Mask = inherit_labels(labels, downstream, order) == 1
    return inside


def channel_links(
    channel: Mask,
    outlet: int,
    filled: Floats,
    codes: NDArray[np.uint8],
    contributing: Floats,
    downstream: Indices,
    order: list[int],
    cell_size: float,
) -> list[Link]:
    """Return the links of the flat `channel` mask, numbered from the outlet upwards.

    `contributing` counts cells. Every channel cell must drain to `outlet` through channel cells, as cells chosen
    by a threshold of contributing area within one watershed do. Order by Strahler (1957), Transactions of the
    American Geophysical Union 38.
    """
    cells_down = [cell for cell in order if channel[cell]]
    inflows: dict[int, list[int]] = {cell: [] for cell in cells_down}
    for cell in cells_down:
        if cell != outlet:
            inflows[int(downstream[cell])].append(cell)
    chains: list[list[int]] = []
    chain_of: dict[int, int] = {}
    chain_order: list[int] = []
    for cell in cells_down:
        above = [chain_of[upper] for upper in inflows[cell]]
        if len(above) == 1:
            chain_of[cell] = above[0]
            chains[above[0]].append(cell)
            continue
        chain_of[cell] = len(chains)
        chains.append([cell])
        chain_order.append(_strahler([chain_order[chain] for chain in above]))
    numbers = {chain: number for number, chain in enumerate(_outlet_first(chains, filled), start=1)}
    heights = filled.ravel()
    flat_codes = codes.ravel()
    links = []
    for chain, number in sorted(numbers.items(), key=lambda item: item[1]):
        cells = chains[chain]
        last = cells[-1]
        steps = sum(_STEP_LENGTHS.get(int(flat_codes[cell]), 0.0) for cell in cells)
        links.append(
            Link(
                number=number,
                downstream=0 if last == outlet else numbers[chain_of[int(downstream[last])]],
                order=chain_order[chain],
                cells=tuple(cells),
                length=steps * cell_size,
                top=float(heights[cells[0]]),
                bottom=float(heights[last]),
                area=float(contributing[last]) * cell_size**2,
            )
        )
    return links


def label_links(links: list[Link], size: int) -> NDArray[np.int32]:
    """Return a flat raster of `size` cells that holds each link's number on its cells, 0 elsewhere."""
    labels = np.zeros(size, dtype=np.int32)
    for link in links:
        labels[list(link.cells)] = link.number
    return labels


def _strahler(orders: list[int]) -> int:
    if not orders:
        return 1
    highest = max(orders)
    return highest + 1 if orders.count(highest) > 1 else highest


def _outlet_first(chains: list[list[int]], filled: Floats) -> list[int]:
    # A chain ends strictly lower than every chain above it, so sorting by that height is an order from the outlet.
    heights = filled.ravel()
    return sorted(range(len(chains)), key=lambda chain: (heights[chains[chain][-1]], chains[chain][-1]))
