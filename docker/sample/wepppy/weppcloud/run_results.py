"""What finished runs found, for comparing them, and all of a run's files as one archive."""

from __future__ import annotations

import json
import os
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wepppy.config.run_paths import get_wd

CHUNK = 1 << 18
# Section and key in `report.json`, what it is, its unit.
QUANTITIES = (
    ("watershed", "area_ha", "Area", "ha"),
    ("climate", "precipitation_of_the_year_mm", "Precipitation", "mm/yr"),
    ("water_balance", "evapotranspiration_mm", "Evapotranspiration", "mm/yr"),
    ("water_balance", "direct_runoff_mm", "Direct runoff", "mm/yr"),
    ("water_balance", "baseflow_mm", "Baseflow", "mm/yr"),
    ("runoff", "runoff_mm", "Runoff", "mm/yr"),
    ("runoff", "runoff_coefficient", "Runoff coefficient", ""),
    ("runoff", "mean_discharge_m3_s", "Mean discharge at the outlet", "m\u00b3/s"),
    ("runoff", "peak_discharge_m3_s", "Peak discharge at the outlet", "m\u00b3/s"),
    ("soil_loss", "mean_t_ha_yr", "Soil loss", "t/(ha yr)"),
    ("soil_loss", "total_t", "Soil loss of the watershed", "t/yr"),
)


@dataclass(frozen=True)
class Comparison:
    """One quantity of two runs; texts with sensible digits, a dash for what a run does not have."""

    title: str
    unit: str
    first: str
    second: str
    difference: str
    percent: str


def results_of(runid: str) -> dict[str, Any]:
    """Return the results of a finished run, {} for any other."""
    try:
        report = json.loads((get_wd(runid) / "report.json").read_text(encoding="utf-8"))
        results = report["results"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return results if isinstance(results, dict) else {}


def compare(first: dict[str, Any], second: dict[str, Any]) -> list[Comparison]:
    """Return the quantities of two runs side by side, then the shares of land cover in percent of the area."""
    held = [_numbers(results) for results in (first, second)]
    covers = sorted({key for numbers in held for section, key in numbers if section == "landuse"})
    for numbers in held:
        # A class that a computed run does not have covers nothing of it; of other runs nothing is known.
        if any(section == "landuse" for section, _ in numbers):
            numbers.update(
                {("landuse", cover): numbers.get(("landuse", cover), 0.0) * 100 for cover in covers}
            )
    shares = (("landuse", cover, f"Land cover: {cover}", "% of the area") for cover in covers)
    return [
        _comparison(title, unit, *(numbers.get((section, key)) for numbers in held))
        for section, key, title, unit in (*QUANTITIES, *shares)
    ]


def digits(value: float | None, count: int = 3) -> str:
    """Return a number with `count` significant digits and no exponent, a dash for None."""
    if value is None:
        return "\u2013"
    if value == 0:
        return "0"
    rounded = float(f"{value:.{count}g}")
    places = max(0, count - len(str(int(abs(rounded))))) if abs(rounded) >= 1 else count + 2
    text = f"{rounded:,.{places}f}".replace(",", "\u202f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def zipped(folder: Path) -> Iterator[bytes]:
    """Yield a ZIP archive of a run directory piece by piece; no more than a piece of it is ever held.

    Hidden files (locks, what is half-written) and links are left out, as is `_logs`.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in _files(folder):
            try:
                source = path.open("rb")
            except OSError:
                continue  # deleted since it was listed
            name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
            entry = zipfile.ZipInfo.from_file(path, name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            with source, archive.open(entry, "w") as target:
                while piece := source.read(CHUNK):
                    target.write(piece)
                    yield b"".join(sink)
                    sink.clear()
    yield b"".join(sink)


class _Sink(list[bytes]):
    """A file that cannot go back: what is written is taken away at once."""

    def write(self, data: bytes) -> int:
        self.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits anywhere."""


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "_logs")
        for name in sorted(names):
            path = Path(place, name)
            if not name.startswith(".") and stat.S_ISREG(path.lstat().st_mode):
                yield path


def _comparison(title: str, unit: str, first: float | None, second: float | None) -> Comparison:
    if first is None or second is None:
        return Comparison(title, unit, digits(first), digits(second), digits(None), "")
    change = second - first
    percent = f"{100 * change / first:+.1f}\u202f%" if first else ""
    sign = "+" if change > 0 else ""
    return Comparison(title, unit, digits(first), digits(second), sign + digits(change), percent)


def _numbers(results: dict[str, Any]) -> dict[tuple[str, str], float]:
    sections = {name: content for name, content in results.items() if isinstance(content, dict)}
    return {
        (name, key): float(value)
        for name, content in sections.items()
        for key, value in content.items()
        if isinstance(value, int | float)
    }
