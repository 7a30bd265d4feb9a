"""What the queue `default` computes: soil loss of every hillslope of a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import wepp_runner
from rosetta import saturated_conductivity
from whitebox_tools import WhiteboxTools

from wepppy.nodb.redis_prep import RedisPrep
from wepppy.nodb.status_messenger import StatusMessenger
from wepppy.nodb.terrain import read_dem
from wepppy.weppcloud.utils.helpers import get_wd

SCRATCH = Path("/workdir/scratch")
BEFORE = (
    "build_channels", "set_outlet", "abstract_watershed", "build_landuse", "build_soils", "build_climate",
)  # fmt: skip


def run_wepp_rq(runid: str, rain_mm: float = 60.0) -> dict[str, float]:
    """Compute a run and tick its checklist; return the totals, which are also in `wepp/output/totals.json`."""
    folder = Path(get_wd(runid))
    prep = RedisPrep(str(folder))
    heights, cell = read_dem(folder)
    StatusMessenger.publish(f"{runid}:wepp", f"read {len(heights)} rows of the elevation model")
    slopes = WhiteboxTools().slope(heights, cell)
    conductivity = saturated_conductivity(sand=40.0, silt=40.0, clay=20.0)
    for task in BEFORE:
        prep.timestamp(task)
    scratch = SCRATCH / runid
    scratch.mkdir(parents=True)
    try:
        losses = []
        for number, row in enumerate(slopes, 1):
            losses.append(
                wepp_runner.run_hillslope(scratch, number, sum(row) / len(row), rain_mm, conductivity)
            )
            if number % 12 == 0:
                StatusMessenger.publish(f"{runid}:wepp", f"hillslope {number} of {len(slopes)}")
        output = folder / "wepp" / "output"
        output.mkdir(parents=True, exist_ok=True)
        for file in scratch.glob("*.loss.json"):
            shutil.copyfile(file, output / file.name)
    finally:
        shutil.rmtree(scratch)
    totals = {"hillslopes": len(losses), "mean_loss": sum(losses) / len(losses), "max_loss": max(losses)}
    (output / "totals.json").write_text(json.dumps(totals), encoding="utf-8")
    prep.timestamp("run_wepp_watershed")
    StatusMessenger.publish(f"{runid}:wepp", f"COMPLETED mean loss {totals['mean_loss']:.4f} kg/m2")
    return totals
