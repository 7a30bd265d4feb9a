"""Check the tree's Go services against the builder: their `go` line, their command, their modules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from packaging.version import Version

from scripts.prepare.finding import Finding
from scripts.prepare.source_check.needs import Need
from scripts.prepare.source_check.tree import Tree

CHECK = "go"


def lacks(tree: Tree, need: Need) -> Iterator[Finding]:
    """Yield what keeps a service's Go code from being built."""
    name = need.go_service
    folder = f"services/{name}"
    # A module for each service, as upstream has it, or one for all.
    modules = (tree.root / folder / "go.mod", tree.root / "services" / "go.mod")
    module = next(filter(Path.is_file, modules), modules[0])
    for absent, what in (
        (folder not in tree, f"the tree has no {folder}"),
        (not list((tree.root / folder / "cmd" / name).glob("*.go")), f"{folder}/cmd/{name} holds no Go code"),
        (not module.is_file(), f"{folder} has no go.mod"),
    ):
        if absent:
            yield Finding(CHECK, what, tree.restore)
            return
    folder = str(module.parent.relative_to(tree.root))
    text = module.read_text(encoding="utf-8", errors="replace")
    line = re.search(r"^go\s+(\d+(?:\.\d+)*)", text, re.MULTILINE)
    # An image whose tag does not begin with the version of Go tells by itself, when it builds.
    builder = re.search(r":(\d+\.\d+(?:\.\d+)?)[^:/]*$", need.go_image.partition("@")[0])
    if line and builder and Version(line[1]) > Version(builder[1]):
        yield Finding(
            CHECK,
            f"{folder}/go.mod says go {line[1]}, the builder {need.go_image} is Go {builder[1]} and takes no "
            "newer module",
            f"set GO_IMAGE in .env to a Go that is {'.'.join(line[1].split('.')[:2])} or newer, or empty it",
        )
    for target in re.findall(r"=>\s*(\.{1,2}/\S*)", text):
        path = (tree.root / folder / target).resolve()
        if not (path / "go.mod").is_file():
            where = (
                path.relative_to(tree.root.resolve()) if path.is_relative_to(tree.root.resolve()) else path
            )
            what = f"{folder}/go.mod replaces a module by {where}, which is not there"
            yield Finding(CHECK, what, tree.restore)
    # Versions that go.sum does not hold are not fetched: the builder may not write.
    others = re.search(r"^\s*(?:require\s+)?[\w.-]+\.[a-z]+/\S+\s+v\d", text, re.MULTILINE)
    if others and not (tree.root / folder / "go.sum").is_file():
        what = f"{folder} has no go.sum, and go.mod requires modules of others"
        yield Finding(CHECK, what, f"{tree.restore}; a new one: go mod tidy")
