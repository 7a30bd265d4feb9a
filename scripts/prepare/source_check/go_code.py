"""Check the tree's Go services against the builder: their `go` line, their command, their modules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts.engine.docker import version_of
from scripts.prepare.finding import Finding, Level
from scripts.prepare.source_check.needs import Need
from scripts.prepare.source_check.tree import Tree

CHECK = "go"
# Answers the version of Go in an image, (0, 0) when it cannot be told.
GoVersion = Callable[[str], tuple[int, ...]]


def version_by_tag(image: str) -> tuple[int, ...]:
    """Return the version that an image's tag begins with; (0, 0) when it does not."""
    found = re.match(r"\d+\.\d+(\.\d+)?", image.partition("@")[0].rpartition(":")[2])
    return version_of(found[0]) if found else (0, 0)


def lacks(tree: Tree, need: Need, builder: GoVersion) -> Iterator[Finding]:
    """Yield what keeps a service's Go code from being built."""
    name = need.go_service
    folder = f"services/{name}"
    if folder not in tree:
        yield Finding(CHECK, Level.ERROR, f"the tree has no {folder}", _restore(tree), (need.name,))
        return
    if not list((tree.root / folder / "cmd" / name).glob("*.go")):
        yield Finding(
            CHECK, Level.ERROR, f"{folder}/cmd/{name} holds no Go code", _restore(tree), (need.name,)
        )
    module = tree.root / folder / "go.mod"
    if not module.is_file():
        yield Finding(CHECK, Level.ERROR, f"{folder} has no go.mod", _restore(tree), (need.name,))
        return
    text = module.read_text(encoding="utf-8", errors="replace")
    yield from _version(need, folder, text, builder)
    yield from _modules(tree, need, folder, text)


def _version(need: Need, folder: str, text: str, builder: GoVersion) -> Iterator[Finding]:
    line = re.search(r"^go\s+(\d+(?:\.\d+)*)", text, re.MULTILINE)
    if not line:
        return
    has = builder(need.go_image)
    wants = tuple(int(part) for part in line[1].split("."))
    if has != (0, 0) and wants > has:
        yield Finding(
            CHECK,
            Level.ERROR,
            f"{folder}/go.mod says go {line[1]}, the builder {need.go_image} is Go {'.'.join(map(str, has))} and takes "
            "no newer module",
            f"set GO_IMAGE in .env to a Go that is {'.'.join(map(str, wants[:2]))} or newer, or empty it",
            (need.name,),
        )


def _modules(tree: Tree, need: Need, folder: str, text: str) -> Iterator[Finding]:
    for target in re.findall(r"=>\s*(\.{1,2}/\S*)", text):
        if not (tree.root / folder / target / "go.mod").is_file():
            where = _inside(tree, tree.root / folder / target)
            yield Finding(
                CHECK,
                Level.ERROR,
                f"{folder}/go.mod replaces a module by {where}, which is not there",
                _restore(tree),
                (need.name,),
            )
    # Versions that go.sum does not hold are not fetched: the builder may not write.
    if re.search(r"^\s*(?:require\s+)?[\w.-]+\.[a-z]+/\S+\s+v\d", text, re.MULTILINE):
        sums = tree.root / folder / "go.sum"
        if not sums.is_file():
            yield Finding(
                CHECK,
                Level.ERROR,
                f"{folder} has no go.sum, and go.mod requires modules of others",
                f"{_restore(tree)}; a new one: go mod tidy",
                (need.name,),
            )


def _inside(tree: Tree, path: Path) -> str:
    path = path.resolve()
    root = tree.root.resolve()
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _restore(tree: Tree) -> str:
    return f"check out a revision that has it (git -C {tree.root} status)"
