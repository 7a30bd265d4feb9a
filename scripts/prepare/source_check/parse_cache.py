"""What was read of Python files, kept between two checks: a file that did not change is not parsed again."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts.prepare.source_check import python_code
from scripts.prepare.source_check.python_code import Code, Import

# A cache of another form is of no use.
FORM = 1


class ParseCache:
    """Reads files through a cache at `path` (None: in memory). A file is known by its time of change and its size."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._kept: dict[str, Any] | None = None
        self._changed = False

    def code(self, file: Path) -> Code:
        """Return what a file says."""
        try:
            stat = file.stat()
        except OSError:
            return python_code.read(file)
        state = [stat.st_mtime_ns, stat.st_size]
        cached = self._entries().get(str(file))
        with contextlib.suppress(KeyError, TypeError, ValueError):
            if cached and cached["state"] == state:
                return _restored(cached)
        code = python_code.read(file)
        self._entries()[str(file)] = {"state": state, **asdict(code), "names": sorted(code.names)}
        self._changed = True
        return code

    def save(self) -> None:
        """Write the cache, where there is a folder for it and something new to keep."""
        if self._changed and self._path is not None and self._path.parent.is_dir():
            kept = {name: each for name, each in self._entries().items() if Path(name).exists()}
            new = self._path.with_name(f".{self._path.name}.new")
            # Without a cache the next check only takes longer.
            with contextlib.suppress(OSError):
                new.write_text(json.dumps({"form": FORM, "files": kept}), encoding="utf-8")
                new.replace(self._path)

    def _entries(self) -> dict[str, Any]:
        if self._kept is None:
            self._kept = {}
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
                said = json.loads(self._path.read_text(encoding="utf-8")) if self._path else {}
                if said.get("form") == FORM:
                    self._kept = dict(said["files"])
        return self._kept


def _restored(cached: dict[str, Any]) -> Code:
    imports = tuple(
        Import(each["module"], tuple(each["names"]), int(each["level"]), int(each["line"]))
        for each in cached["imports"]
    )
    return Code(
        imports,
        frozenset(cached["names"]),
        cached["any_name"],
        int(cached["query_enum"]),
        str(cached["problem"]),
    )
