"""The water balance of every subcatchment, its soil loss, and what reaches the outlet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple
from datetime import date

import numpy as np
from numpy.typing import NDArray

from wepppy.rq.steps.outputs import write_table
from wepppy.rq.steps.state import RunState
from wepppy.rq.steps.watershed import NODATA
from wepppy.terrain.erosion import event_soil_loss, length_slope_factor
from wepppy.terrain.flow import Floats
from wepppy.terrain.landcover import COVERS, SOIL_WATER, curve_number
from wepppy.terrain.runoff import peak_discharge, time_of_concentration
from wepppy.terrain.water_balance import (
    Balance,
    Ground,
    extraterrestrial_radiation,
    potential_evapotranspiration,
    water_balance,
)

SECONDS_PER_DAY = 86_400.0


def run_wepp_hillslopes(state: RunState) -> None:
    """Follow the water of each subcatchment through the year: of every soil under every cover, weighted by area."""
    days = np.array([date.fromisoformat(day).timetuple().tm_yday for day in state.dates])
    radiation = extraterrestrial_radiation(state.latitudes[:, None], days[None, :])
    potential = potential_evapotranspiration(state.lowest, state.highest, radiation)
    mean = (state.lowest + state.highest) / 2
    owner, weights, ground = _response_units(state)
    units = water_balance(ground, state.precipitation[owner], mean[owner], potential[owner])
    balance = state.balance = Balance(
        weights @ units.direct,
        weights @ units.baseflow,
        weights @ units.evapotranspiration,
        weights @ units.storage_change,
    )
    numbers = weights @ ground.curve_number
    hours = time_of_concentration(state.areas, np.nan_to_num(state.means(state.slope)), numbers)
    state.peaks = peak_discharge(balance.direct, state.areas[:, None], hours[:, None])
    runoff = balance.direct + balance.baseflow
    state.results = {
        "subcatchment": np.array(state.numbers),
        "area_ha": state.areas / 1e4,
        "curve_number": numbers,
        "precipitation_mm": state.precipitation.sum(axis=1),
        "evapotranspiration_mm": balance.evapotranspiration.sum(axis=1),
        "direct_runoff_mm": balance.direct.sum(axis=1),
        "baseflow_mm": balance.baseflow.sum(axis=1),
        "storage_change_mm": balance.storage_change,
        "runoff_mm": runoff.sum(axis=1),
        "largest_daily_runoff_mm": runoff.max(axis=1),
        "time_of_concentration_h": hours,
        "peak_m3_s": state.peaks.max(axis=1),
    }
    write_table(state.folder / "wepp/output/hillslopes", state.results)
    state.progress(f"run_wepp_hillslopes: {len(state.links)} hillslopes, {len(state.dates)} days")


def run_wepp_watershed(state: RunState) -> None:
    """Add the water up along the channels, from the links at the top to the outlet."""
    balance, area = state.balance, float(state.areas.sum())
    volumes = (balance.direct + balance.baseflow).sum(axis=1) / 1000 * state.areas
    through = volumes.copy()
    # A link's number is larger than that of the link below it, so this order never adds to a finished sum.
    for link in reversed(state.links):
        if link.downstream:
            through[link.downstream - 1] += through[link.number - 1]
    state.results["discharge_m3_s"] = through / (len(state.dates) * SECONDS_PER_DAY)
    write_table(
        state.folder / "wepp/output/channels",
        {
            "link": state.numbers,
            "downstream": [link.downstream for link in state.links],
            "runoff_m3": volumes,
            "discharge_m3": through,
            "mean_discharge_m3_s": state.results["discharge_m3_s"],
        },
    )
    shares = state.areas / area
    depth = {
        "precipitation_mm": shares @ state.precipitation,
        "evapotranspiration_mm": shares @ balance.evapotranspiration,
        "direct_runoff_mm": shares @ balance.direct,
        "baseflow_mm": shares @ balance.baseflow,
    }
    sums = {name: float(values.sum()) for name, values in depth.items()}
    runoff = depth["direct_runoff_mm"] + depth["baseflow_mm"]
    daily, total, rain = runoff / 1000 * area, float(runoff.sum()), sums["precipitation_mm"]
    columns = {"date": state.dates, "discharge_m3": daily, "mean_discharge_m3_s": daily / SECONDS_PER_DAY}
    write_table(state.folder / "wepp/output/outlet", {**columns, **depth})
    # The unit hydrograph of the whole area on top of the day's baseflow.
    slope = float(np.nanmean(state.slope[state.subcatchments > 0]))
    hours = time_of_concentration(area, slope, shares @ state.results["curve_number"])
    peaks = peak_discharge(depth["direct_runoff_mm"], area, hours)
    peaks = peaks + depth["baseflow_mm"] / 1000 * area / SECONDS_PER_DAY
    state.summary["water_balance"] = {**sums, "storage_change_mm": float(shares @ balance.storage_change)}
    state.summary["runoff"] = {
        "runoff_mm": total,
        "runoff_coefficient": total / rain if rain else 0.0,
        "discharge_m3": float(through[0]),
        "mean_discharge_m3_s": float(daily.mean()) / SECONDS_PER_DAY,
        "peak_discharge_m3_s": float(peaks.max()),
        "peak_day": state.dates[int(peaks.argmax())],
    }
    state.progress(f"run_wepp_watershed: {total:.0f} mm of {rain:.0f} mm reach the outlet")


def build_rusle(state: RunState) -> None:
    """Compute the soil that each day's runoff carries off every subcatchment, and where in it that comes from.

    The modified universal equation gives the tonnes of a subcatchment; its cells share them by their factors K LS C.
    """
    grid, direct = state.grid, state.balance.direct
    erodibility = _looked_up(state.soil_keys, {key: soil.erodibility for key, soil in state.soils.items()})
    cover = _looked_up(state.cover, {code: entry.cover_factor for code, entry in COVERS.items()})
    inflow = state.contributing - grid.cell_area
    length_slope = length_slope_factor(state.slope, state.aspect, inflow, grid.cell_size)
    hillslope = (state.subcatchments > 0) & ~state.channel  # the equation does not hold in channels
    factors = np.where(hillslope, erodibility * length_slope * cover, np.nan)
    # A link of a few cells between two confluences may have no hillslope of its own, and then nothing to lose.
    mean = np.nan_to_num(state.means(factors))
    tonnes = event_soil_loss(direct, state.areas[:, None], state.peaks, mean[:, None]).sum(axis=1)
    hectares = np.bincount(state.subcatchments[hillslope], minlength=len(state.links) + 1)[1:] * (
        grid.cell_area / 1e4
    )
    rate = np.divide(tonnes, hectares, out=np.zeros_like(tonnes), where=hectares > 0)
    here = state.subcatchments[hillslope] - 1
    share = np.divide(factors[hillslope], mean[here], out=np.zeros(here.size), where=mean[here] > 0)
    # Cells at the edge of the data have no slope: they get the subcatchment's mean, so that no tonne gets lost.
    loss = np.full(factors.size, np.nan)
    loss[hillslope] = rate[here] * np.where(np.isnan(share), 1.0, share)
    grid.write(state.folder / "wepp/output/soil_loss.tif", loss, NODATA, "soil loss, t/(ha yr)")
    state.results |= {
        "erodibility": np.nan_to_num(state.means(erodibility, hillslope)),
        "length_slope": np.nan_to_num(state.means(length_slope, hillslope)),
        "cover": np.nan_to_num(state.means(cover, hillslope)),
        "soil_loss_t": tonnes,
        "soil_loss_t_ha": rate,
    }
    write_table(state.folder / "wepp/output/soil_loss", state.results)
    overall = float(tonnes.sum() / hectares.sum()) if hectares.any() else 0.0
    water = float((direct.sum(axis=1) / 1000 * state.areas).sum())
    state.summary["soil_loss"] = {
        "mean_t_ha_yr": overall,
        "total_t": float(tonnes.sum()),
        "sediment_in_direct_runoff_kg_m3": float(tonnes.sum()) * 1000 / water if water else 0.0,
    }
    state.progress(f"build_rusle: {overall:.2f} t/(ha yr) on average")


def _response_units(state: RunState) -> tuple[NDArray[np.int64], Floats, Ground]:
    """Return, for each soil under each cover of each subcatchment, which of them it is in, its weights and its ground.

    The weights, [subcatchment, unit], are shares of the area.
    """
    cells = np.column_stack([state.subcatchments, state.cover, state.soil_keys])[state.subcatchments > 0]
    units, counts = np.unique(cells, axis=0, return_counts=True)
    owner = units[:, 0] - 1
    covers, soils = (
        [table[key] for key in units[:, column].tolist()] for column, table in ((1, COVERS), (2, state.soils))
    )
    numbers = np.array(
        [curve_number(cover, soil) for cover, soil in zip(covers, soils, strict=True)], dtype=np.float64
    )
    water = np.array([astuple(SOIL_WATER[soil.hydrologic_group]) for soil in soils])
    weights = np.zeros((len(state.links), owner.size))
    weights[owner, np.arange(owner.size)] = counts * state.grid.cell_area / state.areas[owner]
    return owner, weights, Ground(numbers, *water.T)


def _looked_up(values: NDArray[np.int64], table: Mapping[int, float]) -> Floats:
    result = np.full(values.size, np.nan)
    for key, value in table.items():
        result[values == key] = value
    return result
