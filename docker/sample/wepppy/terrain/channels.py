"""The channel network of a watershed: its links, and the land that drains to each of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wepppy.terrain.flow import Floats, Indices


@dataclass(frozen=True)
class Link:
    """A stretch of channel without a confluence in it."""

    number: int  # 1 is the link that holds the outlet, each other's is larger than that of the link below it
    downstream: int  # the link below, 0 at the outlet
    order: int  # Strahler's
    cells: Indices  # flat indices from the top to the bottom


def delineate(
    contributing: Floats, downstream: Indices, order: list[int], outlet: int, threshold: float
) -> tuple[list[Link], NDArray[np.int32]]:
    """Return the links above `outlet`, by number, and for each cell the link that it drains to (flat, 0 outside).

    Channels are the cells of the outlet's watershed whose `contributing` area, the outlet's among them, reaches
    `threshold`.
    """
    channel = contributing >= threshold
    inflows = np.bincount(downstream[channel & (downstream >= 0)], minlength=downstream.size).tolist()
    is_channel, target = channel.tolist(), downstream.tolist()
    labels = [0] * downstream.size
    below: list[int] = []  # of link 1, 2, ...
    for cell in reversed(order):
        beneath = target[cell]
        if cell == outlet or (beneath >= 0 and labels[beneath] and is_channel[cell] and inflows[beneath] > 1):
            below.append(0 if cell == outlet else labels[beneath])
            labels[cell] = len(below)
        elif beneath >= 0:
            labels[cell] = labels[beneath]
    subcatchments = np.array(labels, dtype=np.int32)
    cells = np.array(order, dtype=np.int64)
    cells = cells[channel[cells] & (subcatchments[cells] > 0)]
    cells = cells[np.argsort(subcatchments[cells], kind="stable")]
    parts = np.split(cells, np.cumsum(np.bincount(subcatchments[cells])[1:])[:-1])
    numbers = range(1, len(below) + 1)
    return [Link(*each) for each in zip(numbers, below, _strahler(below), parts, strict=True)], subcatchments


def _strahler(below: list[int]) -> list[int]:
    """Return the order of each link. Source: Strahler (1957), Transactions of the American Geophysical Union 38."""
    above: list[list[int]] = [[] for _ in range(len(below) + 1)]
    orders = [1] * len(below)
    for number in range(len(below), 0, -1):
        if above[number]:
            highest = max(above[number])
            orders[number - 1] = highest + (above[number].count(highest) > 1)
        above[below[number - 1]].append(orders[number - 1])
    return orders
