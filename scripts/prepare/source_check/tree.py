"""Find modules in a checkout and beside it, and follow their imports, without executing anything."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.util import resolve_name
from pathlib import Path
from typing import NamedTuple

from scripts.prepare.source_check.needs import MOUNTED_AT, TREE_AT
from scripts.prepare.source_check.python_code import Cache, Import
from scripts.settings.envfile import holds_sample

# Packages at the tree's root; everything else that is imported comes from siblings or requirements.
OWN = ("wepppy", "wepp_runner")


class Module(NamedTuple):
    """A module that was found. file: None for a folder without `__init__.py`, and for an extension module."""

    name: str
    folder: Path | None
    file: Path | None
    compiled: bool = False


class Missing(NamedTuple):
    """A module that is imported unconditionally and not there; file and line of the import."""

    name: str
    file: Path | None = None
    line: int = 0


@dataclass
class Reached:
    """What importing a module reaches: modules and their files, modules missing, modules that come from elsewhere."""

    names: set[str] = field(default_factory=set)
    files: list[Path] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    foreign: dict[str, Missing] = field(default_factory=dict)


class Tree:
    """A checkout at `root`, with the folder of its siblings (None: there is none).

    extra_path: folders of the import path beside those that the tree's `.pth` files name, as the containers see them.
    cache: what earlier checks read.
    """

    def __init__(self, root: Path, siblings: Path | None, extra_path: Iterable[str], cache: Cache) -> None:
        self.root = root
        self.siblings = siblings
        self.extra_path = tuple(extra_path)
        self.cache = cache
        # What a file says, and the module of a dotted name (None: there is none).
        self.code = functools.cache(cache.code)
        self.find = functools.cache(self._find)
        self._reached: dict[str, Reached] = {}
        # Whoever misses a module, the same import of it is told.
        self._told: dict[str, Missing] = {}

    def __contains__(self, name: str) -> bool:
        return (self.root / name).exists()

    @functools.cached_property
    def is_sample(self) -> bool:
        """True for the bundled tree: it brings its own data."""
        return holds_sample(self.root)

    @property
    def restore(self) -> str:
        """How to get back what the tree should have."""
        if self.is_sample:
            return "get it back: git checkout -- docker/sample"
        return f"check out a revision that has it (git -C {self.root} status)"

    @functools.cached_property
    def search_path(self) -> list[Path]:
        """The folders that modules are looked for in: the tree, then what its `.pth` files and the kit name."""
        named = [
            line.strip()
            for path in sorted(self.root.glob("docker/pth_files/*.pth"))
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        folders = [self.on_host(name) for name in (TREE_AT, *named, *self.extra_path)]
        return list(dict.fromkeys(folder for folder in folders if folder is not None and folder.is_dir()))

    def on_host(self, path: str) -> Path | None:
        """Return where the containers' path lies on this machine; None for one that is neither tree nor sibling."""
        path = path.rstrip("/")
        if path == TREE_AT or path.startswith(f"{TREE_AT}/"):
            return self.root / path.removeprefix(TREE_AT).lstrip("/")
        if self.siblings is not None and path.startswith(f"{MOUNTED_AT}/"):
            return self.siblings / path.removeprefix(f"{MOUNTED_AT}/")
        return None

    def shown(self, path: Path) -> str:
        """Return a path as people name it: within the tree where it is inside."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def _find(self, name: str) -> Module | None:
        parent, _, last = name.rpartition(".")
        package = self.find(parent) if parent else None
        within = [package.folder] if package and package.folder else []
        return _best(name, last, within if parent else self.search_path)

    def reach(self, name: str) -> Reached:
        """Follow the unconditional imports of a module; of one that is not there they reach nothing."""
        if name in self._reached or self.find(name) is None:
            return self._reached.get(name, Reached())
        reached = self._reached[name] = Reached()
        seen: set[str] = set()
        waiting = [Missing(name)]
        while waiting:
            wanted = waiting.pop()
            parts = wanted.name.split(".")
            for count in range(1, len(parts) + 1):
                part = ".".join(parts[:count])
                if part in seen:
                    continue
                seen.add(part)
                module = self.find(part)
                if module is None:
                    self._lacking(reached, wanted._replace(name=part))
                    break
                reached.names.add(part)
                if module.file is not None:
                    reached.files.append(module.file)
                    waiting.extend(self._imported(module, module.file))
        return reached

    def _lacking(self, reached: Reached, missing: Missing) -> None:
        name = missing.name.split(".")[0]
        if name in sys.stdlib_module_names:
            return
        missing = self._told.setdefault(missing.name, missing)
        top = self.find(name)
        # A folder without __init__.py may only bear the name of an installed package (`docker`).
        if name in OWN or (top is not None and (top.file or top.compiled)):
            reached.missing.append(missing)
        else:
            reached.foreign.setdefault(name, missing)

    def _imported(self, module: Module, file: Path) -> Iterator[Missing]:
        for each in self.code(file).imports:
            base = _absolute(module, each)
            if base is None:
                continue
            yield Missing(base, file, each.line)
            for name in each.names:
                # A name is a module only where there is one; otherwise it is the module's own.
                if name != "*" and (self.find(f"{base}.{name}") is not None or self.lacks(base, name)):
                    yield Missing(f"{base}.{name}", file, each.line)

    def lacks(self, base: str, name: str) -> bool:
        """Return whether a module of the tree is sure not to have a name."""
        module = self.find(base)
        if module is None or module.file is None or base.split(".")[0] not in OWN:
            return False
        names = self.code(module.file).names
        return names is not None and name not in names and not name.startswith("__")


def _best(name: str, last: str, folders: Iterable[Path]) -> Module | None:
    """Return the module in the first folder that has one; a mere folder only where no file bears the name."""
    bare: Module | None = None
    for folder in folders:
        package = folder / last
        if (package / "__init__.py").is_file():
            return Module(name, package, package / "__init__.py")
        if (file := folder / f"{last}.py").is_file():
            return Module(name, None, file)
        if next(folder.glob(f"{last}.*so"), None):
            return Module(name, None, None, compiled=True)
        if bare is None and package.is_dir():
            bare = Module(name, package, None)
    return bare


def _absolute(module: Module, each: Import) -> str | None:
    """Return the full name of what an import names; None for a relative one that leaves the top."""
    # A package's own file stands for the package, any other file for a module inside it.
    package = module.name if module.folder is not None else module.name.rpartition(".")[0]
    with contextlib.suppress(ImportError):
        return resolve_name("." * each.level + each.module, package)
    return None
