"""Owns which optional compose files are listed in COMPOSE_FILE of `.env`."""

from __future__ import annotations

from collections.abc import Sequence

from scripts import envfile
from scripts.compose import Compose
from scripts.console import Console
from scripts.doctor_engine import FAST_START_API, FAST_START_FILE


def with_fast_start(files: Sequence[str], api: tuple[int, int], *, exists: bool) -> list[str]:
    """The files with the fast-start overlay where the engine's API can do it, without it where not."""
    others = [name for name in files if name != FAST_START_FILE]
    if api == (0, 0):
        return list(files)
    if api < FAST_START_API or not exists:
        return others
    return list(files) if FAST_START_FILE in files else [*others, FAST_START_FILE]


def choose(compose: Compose, console: Console) -> None:
    """Writes the right list to `.env`; leaves a COMPOSE_FILE of the caller's environment alone."""
    if "COMPOSE_FILE" in compose.environment:
        return
    before = compose.files
    after = with_fast_start(
        before, compose.engine.api_version(), exists=(compose.root / FAST_START_FILE).is_file()
    )
    if after == before:
        return
    verb = "added" if FAST_START_FILE in after else "removed"
    console.say(
        f"{FAST_START_FILE} {verb} in COMPOSE_FILE: the engine decides whether quick first probes work"
    )
    envfile.set_keys(compose.env_path, {"COMPOSE_FILE": ":".join(after)})
    compose.forget()
