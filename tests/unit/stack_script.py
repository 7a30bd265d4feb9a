"""The scripts of docker/python/stack as modules."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).resolve().parents[2] / "docker" / "python" / "stack"


def load(name: str) -> ModuleType:
    """A script as a module of its own, whatever was loaded before."""
    specification = importlib.util.spec_from_file_location(name.replace("-", "_"), FOLDER / f"{name}.py")
    assert specification
    assert specification.loader
    found = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(found)
    return found
