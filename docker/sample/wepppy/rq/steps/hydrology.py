"""Runoff and soil loss of every subcatchment, and what reaches the outlet."""

from __future__ import annotations

import numpy as np

from wepppy.rq.steps.outputs import write_raster, write_table
from wepppy.rq.steps.state import RunState
from wepppy.rq.steps.watershed import NODATA
from wepppy.terrain.erosion import length_slope_factor, rainfall_erosivity, soil_loss
from wepppy.terrain.landcover import COVERS, curve_number
from wepppy.terrain.runoff import daily_runoff


def run_wepp_hillslopes(state: RunState) -> None:
    """Compute each day's runoff of each subcatchment: of every soil under every cover, weighted by area."""
    numbers = _curve_numbers(state)
    shares = {
        number: state.mean_by_subcatchment((numbers == number).astype(np.float64), where=numbers > 0)
        for number in np.unique(numbers[numbers > 0]).tolist()
    }
    state.runoff = np.zeros(state.daily_rain.shape)
    for number, share in shares.items():
        state.runoff += share[:, None] * daily_runoff(state.daily_rain, number)
    mean_number = sum(number * share for number, share in shares.items())
    write_table(
        state.folder / "wepp/output/hillslopes",
        {
            "subcatchment": [link.number for link in state.links],
            "area_ha": state.areas / 1e4,
            "curve_number": mean_number,
            "precipitation_mm": state.daily_rain.sum(axis=1),
            "runoff_mm": state.runoff.sum(axis=1),
            "largest_daily_runoff_mm": state.runoff.max(axis=1),
        },
    )
    state.say(f"run_wepp_hillslopes: {len(state.links)} hillslopes, {len(state.dates)} days")


def run_wepp_watershed(state: RunState) -> None:
    """Add the runoff up along the channels, from the links at the top to the outlet."""
    volumes = state.runoff.sum(axis=1) / 1000 * state.areas
    through = volumes.copy()
    # A link's number is larger than that of the link below it, so this order never adds to a finished sum.
    for link in sorted(state.links, key=lambda link: link.number, reverse=True):
        if link.downstream:
            through[link.downstream - 1] += through[link.number - 1]
    write_table(
        state.folder / "wepp/output/channels",
        {
            "link": [link.number for link in state.links],
            "downstream": [link.downstream for link in state.links],
            "runoff_m3": volumes,
            "discharge_m3": through,
        },
    )
    daily = (state.runoff * state.areas[:, None]).sum(axis=0) / 1000
    write_table(state.folder / "wepp/output/outlet", {"date": state.dates, "discharge_m3": daily})
    area = float(state.areas.sum())
    rain = float((state.daily_rain.sum(axis=1) * state.areas).sum()) / area
    runoff = float(volumes.sum()) / area * 1000
    state.summary["runoff"] = {
        "runoff_mm": round(runoff, 2),
        "runoff_coefficient": round(runoff / rain, 4) if rain else 0.0,
        "discharge_m3": round(float(through[0]), 1),
        "largest_day": state.dates[int(daily.argmax())],
        "largest_daily_discharge_m3": round(float(daily.max()), 1),
    }
    state.say(f"run_wepp_watershed: {runoff:.1f} mm of {rain:.0f} mm reach the outlet")


def build_rusle(state: RunState) -> None:
    """Compute the yearly soil loss of every hillslope cell and its mean over each subcatchment."""
    erosivity = np.array([rainfall_erosivity(months) for months in state.monthly_rain])
    erosivity_of_cell = np.concatenate([[np.nan], erosivity])[state.subcatchments]
    erodibility = _looked_up(state.soil_keys, {key: soil.erodibility for key, soil in state.soils.items()})
    cover = _looked_up(state.cover, {code: entry.cover_factor for code, entry in COVERS.items()})
    inflow = (state.contributing - 1) * state.grid.cell_area
    length_slope = length_slope_factor(state.slope, state.aspect, inflow, state.grid.cell_size)
    loss = soil_loss(1.0, erodibility, length_slope, cover) * erosivity_of_cell
    hillslope = (state.subcatchments > 0) & ~state.channel  # the equation does not hold in channels
    loss[~hillslope] = np.nan
    write_raster(state.folder / "wepp/output/soil_loss.tif", loss, state.grid, NODATA, "soil loss, t/(ha yr)")
    mean_loss = state.mean_by_subcatchment(loss)
    # A link of a few cells between two confluences may have no hillslope of its own, and then nothing to lose.
    mean_loss = np.nan_to_num(mean_loss)
    write_table(
        state.folder / "wepp/output/soil_loss",
        {
            "subcatchment": [link.number for link in state.links],
            "area_ha": state.areas / 1e4,
            "erosivity": erosivity,
            "erodibility": np.nan_to_num(state.mean_by_subcatchment(erodibility, where=hillslope)),
            "length_slope": np.nan_to_num(state.mean_by_subcatchment(length_slope, where=hillslope)),
            "cover": np.nan_to_num(state.mean_by_subcatchment(cover, where=hillslope)),
            "soil_loss_t_ha": mean_loss,
            "runoff_mm": state.runoff.sum(axis=1),
        },
    )
    overall = float(np.nanmean(loss[hillslope])) if np.isfinite(loss[hillslope]).any() else 0.0
    state.summary["soil_loss"] = {
        "mean_t_ha_yr": round(overall, 3),
        "erosivity_mj_mm_ha_h_yr": round(float((erosivity * state.areas).sum() / state.areas.sum()), 1),
        "worst": [
            {"subcatchment": int(index) + 1, "t_ha_yr": round(float(mean_loss[index]), 3)}
            for index in np.argsort(-mean_loss, kind="stable")[:10]
        ],
    }
    state.say(f"build_rusle: {overall:.2f} t/(ha yr) on average")


def _curve_numbers(state: RunState) -> np.ndarray:
    numbers = np.zeros(state.cover.size, dtype=np.int64)
    inside = state.subcatchments > 0
    pairs = np.unique(np.stack([state.cover[inside], state.soil_keys[inside]], axis=1), axis=0)
    for code, key in pairs.tolist():
        here = inside & (state.cover == code) & (state.soil_keys == key)
        numbers[here] = curve_number(COVERS[code], state.soils[key])
    return numbers


def _looked_up(values: np.ndarray, table: dict[int, float]) -> np.ndarray:
    result = np.full(values.size, np.nan)
    for key, value in table.items():
        result[values == key] = value
    return result
