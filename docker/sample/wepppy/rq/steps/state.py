"""What the steps of one run hand on to each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wepppy.rq.project import Project
from wepppy.rq.steps.outputs import Grid
from wepppy.terrain.channels import Link
from wepppy.terrain.flow import Floats, Indices, Mask
from wepppy.terrain.landcover import Soil
from wepppy.terrain.water_balance import Balance


class RunError(Exception):
    """The run can't be computed for a reason that its owner can understand and fix."""


@dataclass
class RunState:
    """Filled step by step; a field is set by the step named in its group's comment."""

    folder: Path
    geodata: Path
    project: Project
    progress: Callable[[str], None]
    summary: dict[str, Any] = field(default_factory=dict)

    # fetch_dem
    grid: Grid = field(init=False)
    elevation: Floats = field(init=False)
    # build_channels
    filled: Floats = field(init=False)
    downstream: Indices = field(init=False)
    codes: NDArray[np.uint8] = field(init=False)
    order: list[int] = field(init=False)
    contributing: Floats = field(init=False)
    slope: Floats = field(init=False)
    aspect: Floats = field(init=False)
    # set_outlet
    outlet: int = field(init=False)
    watershed: Mask = field(init=False)
    # build_subcatchments
    links: list[Link] = field(init=False)
    channel: Mask = field(init=False)
    subcatchments: NDArray[np.int32] = field(init=False)
    # abstract_watershed
    longitudes: Floats = field(init=False)
    latitudes: Floats = field(init=False)
    areas: Floats = field(init=False)
    outlines: list[dict[str, Any]] = field(init=False)  # GeoJSON in WGS 84
    # build_landuse, build_soils
    cover: NDArray[np.int64] = field(init=False)
    cover_colours: dict[int, tuple[int, int, int]] = field(init=False)
    soil_keys: NDArray[np.int64] = field(init=False)
    soils: dict[int, Soil] = field(init=False)
    # build_climate: [subcatchment, day], mm and degrees C
    precipitation: Floats = field(init=False)
    lowest: Floats = field(init=False)
    highest: Floats = field(init=False)
    dates: list[str] = field(init=False)
    # run_wepp_hillslopes: [subcatchment, day] in mm, [subcatchment, day] in m3/s
    balance: Balance = field(init=False)
    peaks: Floats = field(init=False)
    curve_numbers: Floats = field(init=False)  # [subcatchment]
    # run_wepp_watershed: [subcatchment], mean m3/s through the lower end of its link
    discharge: Floats = field(init=False)
    # build_rusle: [subcatchment], t/(ha yr)
    soil_loss: Floats = field(init=False)

    def mean_by_subcatchment(self, values: Floats, where: Mask | None = None) -> Floats:
        """Return the mean of a flat raster over each subcatchment (1 to n), NaN values left out.

        With `where`, over those cells alone; a subcatchment without any gets NaN.
        """
        use = (self.subcatchments > 0) & np.isfinite(values)
        if where is not None:
            use &= where
        labels = self.subcatchments[use]
        count = np.bincount(labels, minlength=len(self.links) + 1)[1:]
        total = np.bincount(labels, weights=values[use], minlength=len(self.links) + 1)[1:]
        means: Floats = np.divide(total, count, out=np.full(count.size, np.nan), where=count > 0)
        return means
