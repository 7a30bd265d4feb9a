"""The report of a finished run, `report.json`: what its page shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wepppy.rq.steps.outputs import significant, write_json
from wepppy.rq.steps.state import RunState

NOTE = "A sample, not the WEPP model: simple published equations on synthetic data, made to try the site out."
METHODS = (
    "Depressions: Barnes, Lehman & Mulla (2014), Priority-Flood",
    "Flow direction: O'Callaghan & Mark (1984), steepest of eight neighbours",
    "Slope, aspect: Horn (1981)",
    "Stream order: Strahler (1957)",
    "Snow: degree-day melt, USDA NRCS, National Engineering Handbook (NEH) 630 chapter 11 (2004)",
    "Evapotranspiration: Hargreaves & Samani (1985); radiation and water stress, Allen et al. (1998), FAO 56",
    "Direct runoff: curve numbers, NEH 630 chapters 9 and 10 (2004), changing with soil water, "
    "Neitsch et al. (2011), SWAT 2009; soils, Rawls, Brakensiek & Saxton (1982)",
    "Baseflow: percolation, Neitsch et al. (2011), through a linear reservoir, Nathan & McMahon (1990)",
    "Peak discharge: triangular unit hydrograph, NEH 630 chapters 15 (2010) and 16 (2007); "
    "a day's rain falls within six hours",
    "Soil loss: MUSLE, Williams (1975); slope length, Desmet & Govers (1996); "
    "slope, cover and erodibility, Renard et al. (1997), Agriculture Handbook 703",
)


def finished_report(folder: Path, job_id: str) -> dict[str, Any] | None:
    """Return the report that this very job has already written, if it has."""
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) and report.get("job") == job_id else None


def write_report(state: RunState, job_id: str) -> dict[str, Any]:
    """Write the report, with seven significant digits, and return it. Where it is, all else is."""
    report: dict[str, Any] = {
        "runid": state.project.runid,
        "name": state.project.name,
        "config": state.project.config,
        "extent": list(state.project.extent),
        "job": job_id,
        "results": significant(state.summary, 7),
        "note": NOTE,
        "methods": list(METHODS),
    }
    write_json(state.folder / "report.json", report)
    return report
