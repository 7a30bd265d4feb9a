"""The steps of a run's computation: each reads what earlier steps found and writes its files into the run directory."""

from __future__ import annotations

from collections.abc import Callable

from wepppy.rq.steps import ground, hydrology, watershed, weather
from wepppy.rq.steps.state import RunState

STEPS: dict[str, Callable[[RunState], None]] = {
    step.__name__: step
    for step in (
        watershed.fetch_dem,
        watershed.build_channels,
        watershed.set_outlet,
        watershed.build_subcatchments,
        watershed.abstract_watershed,
        ground.build_landuse,
        ground.build_soils,
        weather.build_climate,
        hydrology.run_wepp_hillslopes,
        hydrology.run_wepp_watershed,
        hydrology.build_rusle,
    )
}
