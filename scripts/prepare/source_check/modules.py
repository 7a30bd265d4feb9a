"""Check the modules and files that a service starts with, and everything that importing them reaches."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from scripts.prepare.finding import Finding
from scripts.prepare.source_check.needs import Need
from scripts.prepare.source_check.tree import Missing, Tree

# The repository beside the tree that brings a module, where their names differ or nothing else tells.
SIBLING_OF = {
    "wepppyo3": "wepppyo3",
    "whitebox_tools": "weppcloud-wbt",
    "weppcloud2": "weppcloud2",
    "rosetta": "rosetta",
    "f_esri": "f-esri",
}
# What the services that build a real tree's front end read.
ASSET_SOURCES = {
    "assets": ("wepppy/weppcloud/controllers_js/build_controllers_js.py",),
    "assets-vendor": (
        "wepppy/weppcloud/static-src/package.json",
        "wepppy/weppcloud/static-src/package-lock.json",
    ),
}
WEBPUSH = "wepppy.microservices.webpush"
ENTRY_CHECK, IMPORT_CHECK, SIBLING_CHECK = "modules", "imports", "siblings"


def lacks(tree: Tree, need: Need, in_image: Collection[str]) -> Iterator[Finding]:
    """Yield what a service lacks of the tree's modules and files.

    in_image: names of modules and sibling folders that the Python image has of its own.
    """
    for name in (*need.files, *ASSET_SOURCES.get(need.name, ())):
        if name not in tree:
            yield _gone(tree, f"the tree has no {name}, which the service starts with")
    if need.dockerfile and need.dockerfile not in tree:
        yield _gone(tree, f"the tree has no {need.dockerfile} to build the image from")
    for name in need.modules:
        if name != f"{WEBPUSH}:app" or tree.is_sample or tree.find(WEBPUSH):
            yield from _entry(tree, name, in_image)
        elif need.active:
            what = f"push notifications are the sample's own: a wepppy checkout has no {WEBPUSH}"
            yield Finding(ENTRY_CHECK, what, "take push out of COMPOSE_PROFILES in .env")


def _entry(tree: Tree, name: str, in_image: Collection[str]) -> Iterator[Finding]:
    module, _, attribute = name.partition(":")
    if not attribute and tree.find(module) is None:
        # The last part may be a name inside the module, as a class that a worker is told to use.
        module, _, attribute = module.rpartition(".")
    found = tree.find(module)
    if found is None or (found.file is None and attribute):
        path = module.replace(".", "/")
        yield _gone(tree, f"the tree has no module {module} ({path}.py or {path}/__init__.py)")
        return
    if attribute and found.file and tree.lacks(module, attribute) and not tree.find(f"{module}.{attribute}"):
        where = tree.shown(found.file)
        what = f"{where} does not define {attribute}, which the command names"
        fix = f"define {attribute} in {where}, or check out the revision that does"
        yield Finding(ENTRY_CHECK, what, fix)
    reached = tree.reach(module)
    for file in reached.files:
        if problem := tree.code(file).problem:
            where = tree.shown(file)
            fix = f"correct {where}, or get it back with git checkout"
            yield Finding(IMPORT_CHECK, f"{where} {problem}", fix)
    for each in reached.missing:
        if not {each.name, each.name.split(".")[0]} & set(in_image):
            yield _gone(tree, f"{_imports(tree, each)}, which is not in the tree", IMPORT_CHECK)
    for top, each in reached.foreign.items():
        sibling = SIBLING_OF.get(top)
        if sibling and not {top, sibling} & set(in_image):
            what = f"{_imports(tree, each._replace(name=top))}, which comes from the repository {sibling}"
            lacking, fix = _sibling(tree, top, sibling)
            yield Finding(SIBLING_CHECK, f"{what}; {lacking}", fix)


def _sibling(tree: Tree, name: str, sibling: str) -> tuple[str, str]:
    """Return what keeps a repository from giving its module, and the fix."""
    if tree.siblings is None:
        return (
            "WEPPPY_SIBLINGS_DIR is empty",
            f"clone {sibling} and set WEPPPY_SIBLINGS_DIR in .env to the folder that holds the clone",
        )
    folder = tree.siblings / sibling
    if not folder.is_dir():
        return f"{tree.siblings} has none", f"clone {sibling} into {tree.siblings}"
    if releases := sorted(path.name for path in folder.glob("release/linux/py*")):
        return (
            f"{folder} has releases for {', '.join(releases)}, none for the image's Python",
            "set PYTHON_VERSION in .env to one that it has a release for and empty PYTHON_IMAGE, or set WEPPPY_IMAGE",
        )
    return (
        f"{folder} is there, but no folder on the import path holds {name}",
        f"check that the clone is complete (git -C {folder} status; git lfs pull)",
    )


def enum_in_query(tree: Tree, need: Need) -> str:
    """Return where a service's modules call FastAPI's `Query` with `enum`; empty for nowhere."""
    for name in need.modules:
        for file in tree.reach(name.partition(":")[0]).files:
            if line := tree.code(file).query_enum:
                return f"{tree.shown(file)} line {line}"
    return ""


def _imports(tree: Tree, missing: Missing) -> str:
    who = f"{tree.shown(missing.file)} line {missing.line}" if missing.file else "a command"
    return f"{who} imports {missing.name}"


def _gone(tree: Tree, what: str, check: str = ENTRY_CHECK) -> Finding:
    return Finding(check, what, tree.restore)
