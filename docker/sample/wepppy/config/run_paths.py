"""Which directory belongs to a run."""

from __future__ import annotations

import os
from pathlib import Path

from wepppy.config.environment import setting

SEPARATOR = ";;"
MARKER = "ron.nodb"
PUBLIC_MARKER = "PUBLIC"
_SCENARIO_FOLDERS = {"omni": "scenarios", "omni-contrast": "contrasts"}
_PROFILE_ROOTS = {"tmp": "run", "fork": "fork", "archive": "archive"}


def wc1_root() -> Path:
    """Return the root of the runs volume: `WC1_DIR`, else `/wc1`."""
    return Path(setting("WC1_DIR", "/wc1"))


def geodata_root() -> Path:
    """Return the root of the shared geodata: `GEODATA_DIR`, else `/geodata`."""
    return Path(setting("GEODATA_DIR", "/geodata"))


def volume_problem(root: Path, name: str) -> str | None:
    """Return why a volume can't be used, None if all is well."""
    if not root.is_dir():
        return f"the {name} volume is missing"
    return None if os.access(root, os.R_OK | os.X_OK) else f"the {name} volume can't be read"


def get_wd(runid: str) -> Path:
    """Return the working directory of a run; it need not exist.

    A plain id lives in `<wc1>/runs/<first two characters>/<runid>`, or in `<geodata>/weppcloud_runs/<runid>`
    if only that exists. Ids joined by `;;` name members of a batch or culvert set, scenarios of a parent run
    and profile playbacks. Raises ValueError for an id that could not be one directory name.
    """
    parts = runid.split(SEPARATOR)
    for part in parts:
        _check(part, runid)
    if len(parts) == 1:
        return _plain(runid)
    if len(parts) == 3 and parts[0] == "batch":
        folder = _root("BATCH_RUNNER_ROOT", "batch") / parts[1]
        return folder / "_base" if parts[2] == "_base" else folder / "runs" / parts[2]
    if len(parts) == 3 and parts[0] == "culvert":
        return _root("CULVERTS_ROOT", "culverts") / parts[1] / "runs" / parts[2]
    if len(parts) == 3 and parts[0] == "profile" and parts[1] in _PROFILE_ROOTS:
        kind = _PROFILE_ROOTS[parts[1]]
        return _root(f"PROFILE_PLAYBACK_{kind.upper()}_ROOT", f"profile/{kind}") / parts[2]
    if len(parts) in (3, 5) and parts[-2] in _SCENARIO_FOLDERS:
        parent = get_wd(SEPARATOR.join(parts[:-2]))
        return parent / "_pups" / "omni" / _SCENARIO_FOLDERS[parts[-2]] / parts[-1]
    raise ValueError(f"not a run id: {runid!r}")


def _plain(runid: str) -> Path:
    current = wc1_root() / "runs" / runid[:2] / runid
    if not current.exists():
        older = geodata_root() / "weppcloud_runs" / runid
        if older.exists():
            return older
    return current


def _check(part: str, runid: str) -> None:
    # A leading dot is refused altogether: the first two characters of `..x` would climb out of the folder.
    if not part or part.startswith(".") or any(character in part for character in "/\\\0"):
        raise ValueError(f"not a run id: {runid!r}")
    if len(part.encode("utf-8")) > 200:
        raise ValueError("not a run id: too long for a directory name")


def _root(variable: str, folder: str) -> Path:
    return Path(setting(variable) or wc1_root() / folder)
