"""Owns `db-verify`: reads a whole dump against its checksum, and on request restores it into a throw-away database."""

from __future__ import annotations

from scripts import dump
from scripts.compose import Compose
from scripts.console import Console
from scripts.credentials import demand_login
from scripts.dialogue import answer
from scripts.meter import megabytes


def verify(compose: Compose, console: Console, named: str, *, drill: bool = False) -> None:
    """Verifies the dump that `named` names (a path, a name, `latest`). Raises StackError when it is not whole."""
    found = dump.locate(compose, named)
    told = answer(
        compose,
        console,
        ["verify", "--dump", found.argument],
        options=found.options,
        translate=found.translate,
    )
    told["dump"] = found.translate(told["dump"])
    if drill:
        demand_login(compose, console)
        told["drill"] = answer(
            compose,
            console,
            ["drill", "--dump", found.argument],
            options=found.options,
            translate=found.translate,
        )
    if console.as_json:
        console.document({"ok": True, **told})
        return
    checked = (
        "every byte is as it was written" if told["checksummed"] else "whole (no checksum lies beside it)"
    )
    console.text(
        f"{told['dump']}: {checked}; {told['kind']}, {megabytes(told['bytes'])}, "
        f"from PostgreSQL {told['server_version'] or 'unknown'}"
    )
    if drill:
        drilled = told["drill"]
        console.text(
            f"restored into a throw-away database, compared and dropped: {drilled['rows']} rows "
            f"in {drilled['seconds']:.1f} s"
        )
