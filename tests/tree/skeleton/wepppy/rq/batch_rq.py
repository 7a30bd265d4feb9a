"""What the queue `batch` computes: statistics over several runs."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb

from wepppy.nodb.status_messenger import StatusMessenger
from wepppy.weppcloud.utils.helpers import get_wd


def run_batch_rq(batch: str, runids: list[str]) -> dict[str, float]:
    """Summarise the hillslopes of `runids` as `summary.json` of a batch (`batch;;NAME;;_base`); return it."""
    files = [
        str(file) for runid in runids for file in Path(get_wd(runid), "wepp/output").glob("H*.loss.json")
    ]
    if not files:
        raise ValueError(f"no hillslope of {', '.join(runids)} has been computed")
    with duckdb.connect() as connection:
        row = connection.execute(
            "SELECT count(*), avg(loss), quantile_cont(loss, 0.5) FROM read_json_auto(?)", [files]
        ).fetchone()
    assert row is not None
    summary = {"hillslopes": row[0], "mean_loss": row[1], "median_loss": row[2]}
    folder = Path(get_wd(batch))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    StatusMessenger.publish(f"{batch}:batch", f"COMPLETED {summary['hillslopes']} hillslopes")
    return summary
