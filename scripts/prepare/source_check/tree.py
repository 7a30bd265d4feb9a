"""Find modules in a checkout and beside it, and follow their imports, without executing anything."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from scripts.prepare.source_check.parse_cache import ParseCache
from scripts.prepare.source_check.python_code import Code, Import

# Where the containers see the tree and its siblings.
MOUNTED_AT = "/workdir"
TREE_AT = f"{MOUNTED_AT}/wepppy"
# Packages at the tree's root; everything else that is imported comes from siblings or requirements.
OWN = ("wepppy", "wepp_runner")


@dataclass(frozen=True)
class Module:
    """A module that was found. file: None for a folder without `__init__.py`; compiled: an extension module."""

    name: str
    folder: Path | None
    file: Path | None
    compiled: bool = False


@dataclass(frozen=True)
class Missing:
    """A module that is imported unconditionally and not there; file and line of the import."""

    name: str
    file: Path | None = None
    line: int = 0

    @property
    def top(self) -> str:
        """The first part of its name."""
        return self.name.split(".")[0]


@dataclass
class Reached:
    """What importing a module reaches: names and files found, modules missing, modules that come from elsewhere."""

    names: set[str] = field(default_factory=set)
    files: list[Path] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    foreign: dict[str, Missing] = field(default_factory=dict)


class Tree:
    """A checkout at `root`, with the folder of its siblings (None: there is none).

    extra_path: folders of the import path beside those that the tree's `.pth` files name, as the containers see them.
    cache: what earlier checks read.
    """

    def __init__(
        self,
        root: Path,
        siblings: Path | None = None,
        extra_path: Iterable[str] = (),
        cache: ParseCache | None = None,
    ) -> None:
        self.root = root
        self.siblings = siblings
        self.extra_path = tuple(extra_path)
        self.cache = cache or ParseCache()
        self._code: dict[Path, Code] = {}
        self._found: dict[str, Module | None] = {}
        self._reached: dict[str, Reached] = {}

    def __contains__(self, name: str) -> bool:
        return (self.root / name).exists()

    @cached_property
    def is_sample(self) -> bool:
        """True for the bundled tree: it brings its own data."""
        return (self.root / "wepppy" / "sample_data").is_dir()

    @cached_property
    def search_path(self) -> list[Path]:
        """The folders that modules are looked for in: the tree, then what its `.pth` files and the kit name."""
        named = [
            line.strip()
            for path in sorted(self.root.glob("docker/pth_files/*.pth"))
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        folders = [self.root]
        for name in (*named, *self.extra_path):
            folder = self.on_host(name)
            if folder is not None and folder not in folders and folder.is_dir():
                folders.append(folder)
        return folders

    def on_host(self, path: str) -> Path | None:
        """Return where the containers' path lies on this machine; None for one that is neither tree nor sibling."""
        path = path.rstrip("/")
        if path == TREE_AT or path.startswith(f"{TREE_AT}/"):
            return self.root / path.removeprefix(TREE_AT).lstrip("/")
        if self.siblings is not None and path.startswith(f"{MOUNTED_AT}/"):
            return self.siblings / path.removeprefix(f"{MOUNTED_AT}/")
        return None

    def code(self, file: Path) -> Code:
        """Return what a file says."""
        if file not in self._code:
            self._code[file] = self.cache.code(file)
        return self._code[file]

    # ---- modules ----

    def find(self, name: str) -> Module | None:
        """Return the module of that dotted name, or None."""
        if name not in self._found:
            parent, _, last = name.rpartition(".")
            if not parent:
                self._found[name] = _best(name, last, self.search_path)
            else:
                package = self.find(parent)
                folders = [package.folder] if package and package.folder else []
                self._found[name] = _best(name, last, folders)
        return self._found[name]

    def reach(self, name: str) -> Reached:
        """Follow the unconditional imports of a module that is there."""
        if name in self._reached:
            return self._reached[name]
        reached = self._reached[name] = Reached()
        seen: set[str] = set()
        waiting = [Missing(name)]
        while waiting:
            wanted = waiting.pop()
            for part in _prefixes(wanted.name):
                if part in seen:
                    continue
                seen.add(part)
                module = self.find(part)
                if module is None:
                    self._note(reached, Missing(part, wanted.file, wanted.line))
                    break
                reached.names.add(part)
                if module.file is None or module.compiled:
                    continue
                reached.files.append(module.file)
                waiting.extend(self._imported(module))
        return reached

    def _note(self, reached: Reached, missing: Missing) -> None:
        top = self.find(missing.top)
        if missing.top in sys.stdlib_module_names:
            return
        # A folder without __init__.py may only bear the name of an installed package (`docker`).
        if missing.top in OWN or (top is not None and (top.file or top.compiled)):
            reached.missing.append(missing)
        else:
            reached.foreign.setdefault(missing.top, missing)

    def _imported(self, module: Module) -> Iterator[Missing]:
        assert module.file is not None  # noqa: S101 - only files are read
        for each in self.code(module.file).imports:
            base = _absolute(module, each)
            if base is None:
                continue
            yield Missing(base, module.file, each.line)
            for name in each.names:
                # A name is a module only where there is one; otherwise it is the module's own.
                if name != "*" and (self.find(f"{base}.{name}") is not None or self._lacks(base, name)):
                    yield Missing(f"{base}.{name}", module.file, each.line)

    def _lacks(self, base: str, name: str) -> bool:
        """Return whether a module of the tree is sure not to have a name."""
        module = self.find(base)
        if module is None or module.file is None or module.compiled or base.split(".")[0] not in OWN:
            return False
        code = self.code(module.file)
        return not (name in code.names or code.any_name or code.problem or name.startswith("__"))


def _best(name: str, last: str, folders: Sequence[Path | None]) -> Module | None:
    """Return the module in the first folder that has one; a mere folder only where no file bears the name."""
    bare: Module | None = None
    for folder in folders:
        if folder is None:
            continue
        package = folder / last
        if (package / "__init__.py").is_file():
            return Module(name, package, package / "__init__.py")
        if (file := folder / f"{last}.py").is_file():
            return Module(name, None, file)
        if compiled := next((each for each in folder.glob(f"{last}.*so")), None):
            return Module(name, None, compiled, compiled=True)
        if bare is None and package.is_dir():
            bare = Module(name, package, None)
    return bare


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        yield ".".join(parts[:count])


def _absolute(module: Module, each: Import) -> str | None:
    """Return the full name of what an import names; None for a relative one that leaves the top."""
    if not each.level:
        return each.module
    parts = module.name.split(".")
    # A package's own file stands for the package, any other file for a module inside it.
    depth = each.level - (1 if module.folder is not None else 0)
    if depth >= len(parts):
        return None
    base = parts[: len(parts) - depth] if depth else parts
    return ".".join([*base, each.module] if each.module else base)
