"""Check the tree's Go services against the builder: their `go` line. What else they lack the build tells in seconds."""

from __future__ import annotations

import re
from collections.abc import Iterator

from packaging.version import Version

from scripts.prepare.finding import Finding
from scripts.prepare.source_check.needs import Need
from scripts.prepare.source_check.tree import Tree

CHECK = "go"


def lacks(tree: Tree, need: Need) -> Iterator[Finding]:
    """Yield what keeps a service's Go code from being built."""
    folder = f"services/{need.go_service}"
    if folder not in tree:
        yield Finding(CHECK, f"the tree has no {folder}", tree.restore)
        return
    # A module for each service, as upstream has it, or one for all.
    module = next((each for each in (f"{folder}/go.mod", "services/go.mod") if each in tree), "")
    if not module:
        return
    text = (tree.root / module).read_text(encoding="utf-8", errors="replace")
    line = re.search(r"^go\s+(\d+(?:\.\d+)*)", text, re.MULTILINE)
    # An image whose tag does not begin with the version of Go tells by itself, when it builds.
    builder = re.search(r":(\d+\.\d+(?:\.\d+)?)[^:/]*$", need.go_image.partition("@")[0])
    if line and builder and Version(line[1]) > Version(builder[1]):
        yield Finding(
            CHECK,
            f"{module} says go {line[1]}, the builder {need.go_image} is Go {builder[1]} and takes no "
            "newer module",
            f"set GO_IMAGE in .env to a Go that is {'.'.join(line[1].split('.')[:2])} or newer, or empty it",
        )
