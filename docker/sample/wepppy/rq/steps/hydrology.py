"""The water balance of every subcatchment, its soil loss, and what reaches the outlet."""

from __future__ import annotations

from datetime import date

import numpy as np
from numpy.typing import NDArray

from wepppy.rq.steps.outputs import write_raster, write_table
from wepppy.rq.steps.state import RunState
from wepppy.rq.steps.watershed import NODATA
from wepppy.terrain.erosion import event_soil_loss, length_slope_factor
from wepppy.terrain.flow import Floats
from wepppy.terrain.landcover import COVERS, HYDROLOGIC_GROUPS, SOIL_WATER, curve_number
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
    owner, share, ground = _response_units(state)
    units = water_balance(ground, state.precipitation[owner], mean[owner], potential[owner])
    weights = np.zeros((len(state.links), owner.size))
    weights[owner, np.arange(owner.size)] = share
    balance = state.balance = Balance(
        weights @ units.direct,
        weights @ units.baseflow,
        weights @ units.evapotranspiration,
        weights @ units.storage_change,
    )
    numbers = state.curve_numbers = weights @ ground.curve_number
    slopes = np.nan_to_num(state.mean_by_subcatchment(state.slope))
    hours = time_of_concentration(state.areas, slopes, numbers)
    state.peaks = peak_discharge(balance.direct, state.areas[:, None], hours[:, None])
    runoff = balance.direct + balance.baseflow
    write_table(
        state.folder / "wepp/output/hillslopes",
        {
            "subcatchment": [link.number for link in state.links],
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
        },
    )
    state.progress(f"run_wepp_hillslopes: {len(state.links)} hillslopes, {len(state.dates)} days")


def run_wepp_watershed(state: RunState) -> None:
    """Add the water up along the channels, from the links at the top to the outlet."""
    balance, total = state.balance, float(state.areas.sum())
    volumes = (balance.direct + balance.baseflow).sum(axis=1) / 1000 * state.areas
    through = volumes.copy()
    # A link's number is larger than that of the link below it, so this order never adds to a finished sum.
    for link in sorted(state.links, key=lambda link: link.number, reverse=True):
        if link.downstream:
            through[link.downstream - 1] += through[link.number - 1]
    state.discharge = through / (len(state.dates) * SECONDS_PER_DAY)
    write_table(
        state.folder / "wepp/output/channels",
        {
            "link": [link.number for link in state.links],
            "downstream": [link.downstream for link in state.links],
            "runoff_m3": volumes,
            "discharge_m3": through,
            "mean_discharge_m3_s": state.discharge,
        },
    )
    shares = state.areas / total
    depth = {
        "precipitation": shares @ state.precipitation,
        "evapotranspiration": shares @ balance.evapotranspiration,
        "direct_runoff": shares @ balance.direct,
        "baseflow": shares @ balance.baseflow,
    }
    runoff = depth["direct_runoff"] + depth["baseflow"]
    daily = runoff / 1000 * total
    write_table(
        state.folder / "wepp/output/outlet",
        {
            "date": state.dates,
            "discharge_m3": daily,
            "mean_discharge_m3_s": daily / SECONDS_PER_DAY,
            **{f"{name}_mm": values for name, values in depth.items()},
        },
    )
    sums = {name: float(values.sum()) for name, values in depth.items()}
    peaks = _outlet_peaks(state, depth["direct_runoff"], depth["baseflow"])
    rain, largest = sums["precipitation"], int(daily.argmax())
    state.summary["water_balance"] = {
        **{f"{name}_mm": round(value, 1) for name, value in sums.items()},
        "storage_change_mm": round(float(shares @ balance.storage_change), 1),
    }
    state.summary["runoff"] = {
        "runoff_mm": round(float(runoff.sum()), 2),
        "runoff_coefficient": round(float(runoff.sum()) / rain, 4) if rain else 0.0,
        "baseflow_index": round(sums["baseflow"] / float(runoff.sum()), 4) if runoff.any() else 0.0,
        "discharge_m3": round(float(through[0]), 1),
        "mean_discharge_m3_s": round(float(daily.mean()) / SECONDS_PER_DAY, 4),
        "largest_day": state.dates[largest],
        "largest_daily_discharge_m3": round(float(daily[largest]), 1),
        "peak_discharge_m3_s": round(float(peaks.max()), 3),
        "peak_day": state.dates[int(peaks.argmax())],
    }
    state.progress(f"run_wepp_watershed: {runoff.sum():.0f} mm of {rain:.0f} mm reach the outlet")


def build_rusle(state: RunState) -> None:
    """Compute the soil that each day's runoff carries off every subcatchment, and where in it that comes from.

    The modified universal equation gives the tonnes of a subcatchment; its cells share them by their factors K LS C.
    """
    erodibility = _looked_up(state.soil_keys, {key: soil.erodibility for key, soil in state.soils.items()})
    cover = _looked_up(state.cover, {code: entry.cover_factor for code, entry in COVERS.items()})
    inflow = (state.contributing - 1) * state.grid.cell_area
    length_slope = length_slope_factor(state.slope, state.aspect, inflow, state.grid.cell_size)
    hillslope = (state.subcatchments > 0) & ~state.channel  # the equation does not hold in channels
    factors = np.where(hillslope, erodibility * length_slope * cover, np.nan)
    # A link of a few cells between two confluences may have no hillslope of its own, and then nothing to lose.
    mean = {
        name: np.nan_to_num(state.mean_by_subcatchment(values, where=hillslope))
        for name, values in (
            ("erodibility", erodibility), ("length_slope", length_slope), ("cover", cover), ("factors", factors)
        )
    }  # fmt: skip
    daily = event_soil_loss(state.balance.direct, state.areas[:, None], state.peaks, mean["factors"][:, None])
    tonnes = daily.sum(axis=1)
    hectares = np.bincount(state.subcatchments[hillslope], minlength=len(state.links) + 1)[1:] * (
        state.grid.cell_area / 1e4
    )
    rate = np.divide(tonnes, hectares, out=np.zeros_like(tonnes), where=hectares > 0)
    by_label = np.concatenate(
        [[np.nan], np.divide(rate, mean["factors"], out=np.zeros_like(rate), where=mean["factors"] > 0)]
    )
    loss = factors * by_label[state.subcatchments]
    # Cells at the edge of the data have no slope: they get the subcatchment's mean, so that no tonne gets lost.
    unknown = hillslope & np.isnan(loss)
    loss[unknown] = np.concatenate([[np.nan], rate])[state.subcatchments[unknown]]
    write_raster(state.folder / "wepp/output/soil_loss.tif", loss, state.grid, NODATA, "soil loss, t/(ha yr)")
    state.soil_loss = rate
    write_table(
        state.folder / "wepp/output/soil_loss",
        {
            "subcatchment": [link.number for link in state.links],
            "area_ha": state.areas / 1e4,
            "erodibility": mean["erodibility"],
            "length_slope": mean["length_slope"],
            "cover": mean["cover"],
            "soil_loss_t": tonnes,
            "soil_loss_t_ha": rate,
            "direct_runoff_mm": state.balance.direct.sum(axis=1),
        },
    )
    overall = float(tonnes.sum() / hectares.sum()) if hectares.any() else 0.0
    water = float((state.balance.direct.sum(axis=1) / 1000 * state.areas).sum())
    state.summary["soil_loss"] = {
        "mean_t_ha_yr": round(overall, 3),
        "total_t": round(float(tonnes.sum()), 1),
        "sediment_in_direct_runoff_kg_m3": round(float(tonnes.sum()) * 1000 / water, 3) if water else 0.0,
        "worst": [
            {"subcatchment": int(index) + 1, "t_ha_yr": round(float(rate[index]), 3)}
            for index in np.argsort(-rate, kind="stable")[:10]
        ],
    }
    state.progress(f"build_rusle: {overall:.2f} t/(ha yr) on average")


def _response_units(state: RunState) -> tuple[NDArray[np.int64], Floats, Ground]:
    """Return each combination of subcatchment, curve number and soil group: its subcatchment, share of it, ground."""
    inside = state.subcatchments > 0
    codes, cover = np.unique(state.cover[inside], return_inverse=True)
    keys, soil = np.unique(state.soil_keys[inside], return_inverse=True)
    groups = len(HYDROLOGIC_GROUPS)
    kinds = np.array(
        [
            [
                curve_number(COVERS[code], state.soils[key]) * groups
                + HYDROLOGIC_GROUPS.index(state.soils[key].hydrologic_group)
                for key in keys.tolist()
            ]
            for code in codes.tolist()
        ]
    )
    most = 101 * groups
    found, counts = np.unique(
        (state.subcatchments[inside].astype(np.int64) - 1) * most + kinds[cover, soil], return_counts=True
    )
    owner, kind = np.divmod(found, most)
    numbers, group = np.divmod(kind, groups)
    water = [SOIL_WATER[HYDROLOGIC_GROUPS[index]] for index in group.tolist()]
    ground = Ground(
        numbers.astype(np.float64),
        np.array([entry.available for entry in water]),
        np.array([entry.drainable for entry in water]),
        np.array([entry.conductivity for entry in water]),
    )
    return owner, counts * state.grid.cell_area / state.areas[owner], ground


def _outlet_peaks(state: RunState, direct: Floats, baseflow: Floats) -> Floats:
    """Return m3/s at the outlet, each day's peak: the unit hydrograph of the whole area on top of the baseflow."""
    area = np.array([state.areas.sum()])
    shares = state.areas / area
    slope = np.array([float(np.nanmean(state.slope[state.subcatchments > 0]))])
    hours = time_of_concentration(area, slope, shares @ state.curve_numbers[:, None])
    peaks: Floats = peak_discharge(direct, area, hours) + baseflow / 1000 * area / SECONDS_PER_DAY
    return peaks


def _looked_up(values: np.ndarray, table: dict[int, float]) -> np.ndarray:
    result = np.full(values.size, np.nan)
    for key, value in table.items():
        result[values == key] = value
    return result
