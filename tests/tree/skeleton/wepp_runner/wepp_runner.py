"""One hillslope: its input file written, its soil loss computed, its output file written."""

from __future__ import annotations

import json
from pathlib import Path

import wepppyo3


def run_hillslope(folder: Path, number: int, slope: float, rain_mm: float, conductivity: float) -> float:
    """Compute hillslope `number` in `folder`; return its soil loss in kg/m2."""
    runoff = max(rain_mm - conductivity, 0.0)
    inputs = {"slope": round(slope, 6), "rain_mm": rain_mm, "conductivity": round(conductivity, 6)}
    (folder / f"H{number}.run").write_text(json.dumps(inputs), encoding="utf-8")
    loss = float(wepppyo3.hillslope_loss(slope, runoff))
    (folder / f"H{number}.loss.json").write_text(json.dumps({"loss": loss}), encoding="utf-8")
    return loss
