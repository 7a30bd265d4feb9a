"""The README's service table says what the Compose files say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

README = Path(__file__).resolve().parents[2] / "README.md"
ROW = re.compile(r"^\| `([a-z0-9-]+)` \| [^|]+ \| (\d*) ?\| (core|geo|push|legacy) \|", re.MULTILINE)


def test_the_readmes_service_table_agrees_with_the_compose_files(model: dict[str, Any]) -> None:
    listed = {name: (port, profile) for name, port, profile in ROW.findall(README.read_text())}
    rendered = {}
    for name, service in model["services"].items():
        if service["labels"].get("wepp.role"):
            continue
        port = next((str(port["target"]) for port in service.get("ports", [])), "")
        rendered[name] = (port, *(service.get("profiles") or ["core"]))
    assert listed == rendered
