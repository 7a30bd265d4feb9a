"""The modules of the host code are few floors high; `lint-imports` checks that imports run downward."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
FLOORS = 10


def test_no_chain_of_imports_from_the_menu_down_is_longer_than_ten_modules() -> None:
    graph = grimp.build_graph("scripts", cache_dir=None)

    @cache
    def chain(module: str) -> tuple[str, ...]:
        below = graph.find_modules_directly_imported_by(module)
        return (module, *max((chain(each) for each in below), key=len, default=()))

    imported = {
        name
        for node in ast.walk(ast.parse((ROOT / "tasks.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for name in (node.module or "", *(f"{node.module}.{each.name}" for each in node.names))
        if name in graph.modules
    }
    longest = max((("tasks", *chain(each)) for each in imported), key=len)
    assert len(longest) <= FLOORS, " -> ".join(longest)
