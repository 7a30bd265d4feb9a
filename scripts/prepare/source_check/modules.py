"""Check the modules and files that services start with, and everything that importing them reaches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.prepare.finding import Finding, Level
from scripts.prepare.source_check.needs import Entry, Need
from scripts.prepare.source_check.tree import Missing, Tree

# The repository beside the tree that brings a module, where their names differ or nothing else tells.
SIBLING_OF = {
    "wepppyo3": "wepppyo3",
    "whitebox_tools": "weppcloud-wbt",
    "weppcloud2": "weppcloud2",
    "rosetta": "rosetta",
    "f_esri": "f-esri",
}
# Opened by weppcloud2 when it is imported; an empty one will do.
BOT_TOKEN = "weppcloud2/discord_bot/.bot_token"  # noqa: S105 - the file's name
TOKEN_SECRET = "discord_bot_token"  # noqa: S105 - the secret's id
ENTRY_CHECK, IMPORT_CHECK, SIBLING_CHECK = "modules", "imports", "siblings"


@dataclass(frozen=True)
class _Told:
    """What to say of one thing that is missing; `about` is what it is, whoever misses it."""

    check: str
    about: str
    what: str
    fix: str


def lacks(tree: Tree, needs: Sequence[Need], *, in_image: Iterable[str] = ()) -> Iterator[Finding]:
    """Yield what services lack of the tree's modules and files, each thing once.

    in_image: names of modules and sibling folders that the Python image has of its own.
    """
    has = set(in_image)
    told: dict[tuple[str, str], _Told] = {}
    services: dict[tuple[str, str], list[str]] = defaultdict(list)
    for need in needs:
        if _is_only_the_samples(tree, need.name):
            continue
        for each in _of(tree, need, has):
            key = (each.check, each.about)
            told.setdefault(key, each)
            services[key].append(need.name)
    for key, each in told.items():
        yield Finding(each.check, Level.ERROR, each.what, each.fix, tuple(dict.fromkeys(services[key])))


def _of(tree: Tree, need: Need, has: set[str]) -> Iterator[_Told]:
    for name in need.files:
        if name not in tree:
            what = f"the tree has no {name}, which the command starts with"
            yield _Told(ENTRY_CHECK, name, what, _elsewhere(tree))
    if need.dockerfile and need.dockerfile not in tree:
        what = f"the tree has no {need.dockerfile} to build the image from"
        yield _Told(ENTRY_CHECK, need.dockerfile, what, _elsewhere(tree))
    for entry in need.entries:
        yield from _entry(tree, entry, has)
        reached = tree.reach(entry.module).files if tree.find(entry.module) else []
        token = _token(tree, reached)
        # Where the secret is mounted there is a file.
        if token is not None and TOKEN_SECRET not in dict(need.secrets):
            yield _Told(SIBLING_CHECK, BOT_TOKEN, *token)


def _entry(tree: Tree, entry: Entry, has: set[str]) -> Iterator[_Told]:
    module, attribute = entry.module, entry.attribute
    if not attribute and tree.find(module) is None:
        # The last part may be a name inside the module, as a class that a worker is told to use.
        module, _, attribute = module.rpartition(".")
    found = tree.find(module)
    if found is None or (found.file is None and attribute):
        path = module.replace(".", "/")
        what = f"the tree has no module {module} ({path}.py or {path}/__init__.py)"
        yield _Told(ENTRY_CHECK, module, what, _elsewhere(tree))
        return
    if attribute and found.file is not None and not found.compiled:
        code = tree.code(found.file)
        known = attribute in code.names or code.any_name or tree.find(f"{module}.{attribute}") is not None
        if not known and not code.problem:
            where = _shown(tree, found.file)
            yield _Told(
                ENTRY_CHECK,
                f"{module}:{attribute}",
                f"{where} does not define {attribute}, which the command names",
                f"define {attribute} in {where}, or check out the revision that does",
            )
    yield from _imports(tree, module, has)


def _imports(tree: Tree, module: str, has: set[str]) -> Iterator[_Told]:
    reached = tree.reach(module)
    for file in reached.files:
        if problem := tree.code(file).problem:
            where = _shown(tree, file)
            fix = f"correct {where}, or get it back with git checkout"
            yield _Told(IMPORT_CHECK, where, f"{where} {problem}", fix)
    for each in reached.missing:
        if each.name not in has and each.top not in has:
            what = f"{_by(tree, each)} imports {each.name}, which is not in the tree"
            yield _Told(IMPORT_CHECK, each.name, what, _elsewhere(tree))
    for each in reached.foreign.values():
        sibling = SIBLING_OF.get(each.top)
        if sibling and not {each.top, sibling} & has:
            yield _Told(SIBLING_CHECK, sibling, *_sibling(tree, each, sibling))


def _sibling(tree: Tree, each: Missing, sibling: str) -> tuple[str, str]:
    what = f"{_by(tree, each)} imports {each.top}, which comes from the repository {sibling}"
    if tree.siblings is None:
        return (
            f"{what}; WEPPPY_SIBLINGS_DIR is empty",
            f"clone {sibling} and set WEPPPY_SIBLINGS_DIR in .env to the folder that holds the clone",
        )
    if not (tree.siblings / sibling).is_dir():
        return f"{what}; {tree.siblings} has none", f"clone {sibling} into {tree.siblings}"
    if releases := sorted(path.name for path in (tree.siblings / sibling).glob("release/linux/py*")):
        return (
            f"{what}; {tree.siblings / sibling} has releases for {', '.join(releases)}, none for the image's Python",
            "set PYTHON_VERSION in .env to one that it has a release for and empty PYTHON_IMAGE, or set WEPPPY_IMAGE",
        )
    return (
        f"{what}; {tree.siblings / sibling} is there, but no folder on the import path holds {each.top}",
        f"check that the clone is complete (git -C {tree.siblings / sibling} status; git lfs pull)",
    )


def _token(tree: Tree, files: Iterable[Path]) -> tuple[str, str] | None:
    """Return what to say of the file that weppcloud2 opens when it is imported, where it is imported from a sibling."""
    home = tree.siblings and tree.siblings / "weppcloud2"
    if not home or not any(file.is_relative_to(home) for file in files) or (home / BOT_TOKEN).exists():
        return None
    return (
        f"{home} has no {BOT_TOKEN}, which it opens when it is imported",
        f"touch {home / BOT_TOKEN}",
    )


def enum_in_query(tree: Tree, needs: Sequence[Need]) -> dict[str, str]:
    """Return the services whose modules call FastAPI's `Query` with `enum`, each with the place."""
    found = {}
    for need in needs:
        for entry in need.entries:
            for file in tree.reach(entry.module).files if tree.find(entry.module) else ():
                if line := tree.code(file).query_enum:
                    found[need.name] = f"{_shown(tree, file)} line {line}"
    return found


def assets(tree: Tree, needs: Sequence[Need]) -> Iterator[Finding]:
    """Yield what the front end lacks: sources that the asset services build."""
    if tree.is_sample:
        return
    builders = {need.name: need for need in needs if need.name.startswith("assets")}
    wanted = {
        "assets": ("wepppy/weppcloud/controllers_js/build_controllers_js.py",),
        "assets-vendor": (
            "wepppy/weppcloud/static-src/package.json",
            "wepppy/weppcloud/static-src/package-lock.json",
        ),
    }
    for name, files in wanted.items():
        lacking = [each for each in files if each not in tree]
        if lacking:
            services = (name,) if name in builders else ()
            yield Finding(
                "front end",
                Level.ERROR if services else Level.WARNING,
                f"the tree has no {', no '.join(lacking)}: pages would come without their scripts",
                _elsewhere(tree),
                services,
            )
        elif name not in builders:
            yield Finding(
                "front end",
                Level.WARNING,
                f"no service builds {files[0]}",
                "run `invoke compose-up`, it lists docker/docker-compose.wepppy.yml in COMPOSE_FILE",
                (),
            )


def only_the_samples(tree: Tree, needs: Sequence[Need], profiles: Sequence[str]) -> Iterator[Finding]:
    """Yield what to say of push notifications that are wanted with a tree that has no such service."""
    for need in needs:
        if _is_only_the_samples(tree, need.name) and (need.active or "push" in profiles):
            yield Finding(
                ENTRY_CHECK,
                Level.ERROR if need.active else Level.WARNING,
                "push notifications are the sample's own: a wepppy checkout has no wepppy.microservices.webpush",
                "take push out of COMPOSE_PROFILES in .env",
                (need.name,) if need.active else (),
            )


def _is_only_the_samples(tree: Tree, service: str) -> bool:
    return service == "webpush" and not tree.is_sample and tree.find("wepppy.microservices.webpush") is None


def _by(tree: Tree, missing: Missing) -> str:
    if missing.file is None:
        return "a command"
    return f"{_shown(tree, missing.file)} line {missing.line}"


def _shown(tree: Tree, path: Path) -> str:
    return str(path.relative_to(tree.root)) if path.is_relative_to(tree.root) else str(path)


def _elsewhere(tree: Tree) -> str:
    if tree.is_sample:
        return "get it back: git checkout -- docker/sample"
    return f"check out a revision that has it (git -C {tree.root} status)"
