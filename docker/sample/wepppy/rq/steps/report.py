"""The report of a finished run: `report.json` for programs, `report.html` for people."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wepppy.rq.steps.outputs import whole_file, write_json
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
_TITLES = {
    "elevation": "Elevation",
    "outlet": "Outlet",
    "watershed": "Watershed",
    "landuse": "Land cover (share of area)",
    "soils": "Soils (share of area)",
    "climate": "Climate",
    "water_balance": "Water balance of the year",
    "runoff": "Runoff and discharge",
    "soil_loss": "Soil loss",
}


def finished_report(folder: Path, job_id: str) -> dict[str, Any] | None:
    """Return the report that this very job has already written, if it has."""
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) and report.get("job") == job_id else None


def write_report(state: RunState, job_id: str, seconds: dict[str, float]) -> dict[str, Any]:
    """Write both reports and return what the JSON holds. The JSON comes last: where it is, all else is."""
    report: dict[str, Any] = {
        "runid": state.project.runid,
        "name": state.project.name,
        "config": state.project.config,
        "extent": list(state.project.extent),
        "job": job_id,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "results": state.summary,
        "note": NOTE,
        "methods": list(METHODS),
    }
    with whole_file(state.folder / "report.html") as temporary:
        temporary.write_text(_page(report), encoding="utf-8")
    write_json(state.folder / "report.json", report)
    return report


def _page(report: dict[str, Any]) -> str:
    title = html.escape(report["name"] or report["runid"])
    sections = "\n".join(
        f"<section><h2>{html.escape(_TITLES.get(key, key))}</h2>{_table(values)}</section>"
        for key, values in report["results"].items()
    )
    methods = "".join(f"<li>{html.escape(method)}</li>" for method in report["methods"])
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
td, th {{ border-bottom: 1px solid #ccc; padding: .2rem .5rem; text-align: left; font-weight: normal; }}
td {{ text-align: right; font-variant-numeric: tabular-nums; }}
</style></head><body>
<h1>{title}</h1>
<p>Run {html.escape(report["runid"])}, configuration {html.escape(report["config"])}.</p>
<p><strong>{html.escape(report["note"])}</strong></p>
{sections}
<section><h2>Methods</h2><ul>{methods}</ul></section>
</body></html>
"""


def _table(values: dict[str, Any]) -> str:
    return "<table>" + "".join(_rows(values.items())) + "</table>"


def _rows(items: Iterable[tuple[str, Any]]) -> Iterable[str]:
    for name, value in items:
        label = html.escape(name.replace("_", " "))
        if isinstance(value, list):
            for entry in value:
                first, second = (html.escape(str(part)) for part in entry.values())
                yield f"<tr><th>{label}: subcatchment {first}</th><td>{second}</td></tr>"
        else:
            yield f"<tr><th>{label}</th><td>{html.escape(str(value))}</td></tr>"
