"""All checks of a source tree; what several services lack is told once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.base.host import engine_is_elsewhere
from scripts.engine.compose import Compose
from scripts.prepare.finding import Finding, Level, require_none
from scripts.prepare.source_check import folders, go_code, image, modules, needs, packages
from scripts.prepare.source_check.image import Image
from scripts.prepare.source_check.needs import Need
from scripts.prepare.source_check.packages import Base, Requirements
from scripts.prepare.source_check.python_code import Cache
from scripts.prepare.source_check.tree import Tree

TREE_CHECK = "source tree"


@dataclass(frozen=True)
class Report:
    """What was checked and found. name: the tree as settings name it."""

    tree: Path
    name: str
    needs: tuple[Need, ...] = ()
    lacks: tuple[Finding, ...] = ()

    def of(self, service: str) -> list[Finding]:
        """Return the errors that keep a service from starting."""
        return [
            each
            for each in self.lacks
            if each.level is Level.ERROR and (service in each.services or not each.services)
        ]

    @property
    def ok(self) -> bool:
        """True when every service that is switched on can start."""
        on = {need.name for need in self.needs if need.active}
        errors = [each for each in self.lacks if each.level is Level.ERROR]
        return not any(not each.services or on & set(each.services) for each in errors)


def examine(compose: Compose) -> Report:
    """Check the tree that WEPPPY_SRC names, or the sample. Raise StackError when the compose files do not render."""
    named = compose.setting("WEPPPY_SRC")
    # As Compose reads it: relative to the compose files' folder.
    root = compose.root / "docker" / (named or "sample")
    name = f"WEPPPY_SRC={named}" if named else "the bundled tree docker/sample"
    if named and not Path(named).is_absolute():
        name += f" (= {root.resolve()})"
    wanted = needs.read(compose.model, root, compose.active_profiles)
    problem = _no_tree(root, name, named)
    if problem is not None:
        return Report(root, name, tuple(wanted), (problem,))
    return Report(root, name, tuple(wanted), _Checks(compose, root, wanted).all())


def findings(compose: Compose) -> list[Finding]:
    """Return what is found about services that are switched on, as the examination before a start shows it."""
    report = examine(compose)
    off = {need.name for need in report.needs if not need.active}
    found = []
    for lack in report.lacks:
        if lack.services and set(lack.services) <= off:
            continue
        who = f"{', '.join(each for each in lack.services if each not in off)}: " if lack.services else ""
        found.append(Finding(lack.check, f"{who}{lack.what}", lack.fix, lack.level))
    return [Finding(TREE_CHECK, report.name, level=Level.OK), *found] if report.ok else found


def require_buildable(compose: Compose) -> None:
    """Raise StackError, with all reasons, when the tree cannot be built upon the base images of the model."""
    checks = (go_code.CHECK, packages.CHECK)
    require_none([each for each in findings(compose) if each.level is Level.ERROR and each.check in checks])


def _no_tree(root: Path, name: str, named: str) -> Finding | None:
    fix = "get it back: git checkout -- docker/sample"
    if named:
        fix = "set WEPPPY_SRC in .env to the absolute path of a wepppy checkout, or leave it empty for the sample"
    try:
        if not root.is_dir():
            what = "is not a folder" if root.exists() else "does not exist"
        elif not (root / "wepppy").is_dir():
            what = "is no wepppy checkout: it has no folder wepppy"
        else:
            next((root / "wepppy").iterdir(), None)
            return None
    except PermissionError:
        what, fix = "cannot be read by you", f"chmod -R u+rX,go+rX {root}, as its owner"
    return Finding(TREE_CHECK, f"{name} {what}", fix)


class _Checks:
    """The checks of one tree against one model."""

    def __init__(self, compose: Compose, root: Path, wanted: list[Need]) -> None:
        self.compose = compose
        self.needs = wanted
        siblings = compose.setting("WEPPPY_SIBLINGS_DIR")
        self.siblings = compose.root / "docker" / siblings if siblings else None
        self.python = [need.name for need in wanted if need.python]
        self.given = compose.setting("WEPPPY_IMAGE")
        self.requirements = compose.setting("WEPPPY_REQUIREMENTS", "requirements.txt")
        model = compose.model["services"]
        builds = (model[name].get("build") or {} for name in self.python)
        arguments: dict[str, object] = next((each["args"] for each in builds if each.get("args")), {})
        # Compose leaves one that has no value to the builder.
        self.arguments = {name: str(value) for name, value in arguments.items() if value is not None}
        self.base = Base.of(self.arguments)
        reference = self.given or str((model.get("weppcloud") or {}).get("image") or "")
        self.image = image.look(compose, reference, self.requirements) if reference else Image("")
        self.interpreter = self.image.interpreter or self.base.interpreter
        # An image of the tree's own Dockerfile has a path of its own: one of the same repositories.
        path = image.siblings_path(compose.root, self.interpreter)
        cache = Cache(compose.data_dir / "source-cache.json")
        self.tree = Tree(root, self.siblings, path, cache)
        # Folders with extension modules, none of which the image can load, by the interpreters that they are for.
        built = {folder: image.compiled_for(folder) for folder in self.tree.search_path[1:]}
        self.unusable = {
            folder: versions
            for folder, versions in built.items()
            if versions and self.interpreter and self.interpreter not in versions
        }
        # Requirements that an image would be built from.
        self.to_install: Requirements | None = None

    def all(self) -> tuple[Finding, ...]:
        """Run them all."""
        of_all_python = [*self._python_image(), *self._siblings_folder()]
        found: dict[Finding, list[str]] = {}
        for need in self.needs:
            for each in (*(of_all_python if need.python else ()), *self._of(need)):
                found.setdefault(each, []).append(need.name)
        self.tree.cache.save()
        return tuple(
            # A warning keeps nobody from starting.
            replace(each, services=tuple(dict.fromkeys(names)) if each.level is Level.ERROR else ())
            for each, names in found.items()
        )

    def _of(self, need: Need) -> Iterator[Finding]:
        """Yield what one service lacks."""
        # Without the folder, or an image that has some of them, nothing is known of what is in there.
        known = not list(self._siblings_folder()) and (not self.given or self.image.interpreter)
        for each in modules.lacks(self.tree, need, self.image.names):
            if known or each.check != modules.SIBLING_CHECK:
                yield each
        yield from self._compiled(need)
        if need.go_service:
            yield from go_code.lacks(self.tree, need)
        if self.to_install:
            place = modules.enum_in_query(self.tree, need)
            yield from packages.without_enum(self.to_install, self.requirements, place)
        if not engine_is_elsewhere(self.compose.environment):
            yield from folders.lacks(self.tree, need, own=not self.compose.setting("WEPPPY_SRC"))

    def _siblings_folder(self) -> Iterator[Finding]:
        if self.siblings is not None and not self.siblings.is_dir():
            yield Finding(
                modules.SIBLING_CHECK,
                f"WEPPPY_SIBLINGS_DIR={self.siblings} does not exist",
                "correct WEPPPY_SIBLINGS_DIR in .env, or empty it",
            )

    def _compiled(self, need: Need) -> Iterator[Finding]:
        reached = {top for name in need.modules for top in self.tree.reach(name.partition(":")[0]).names}
        for folder, built_for in self.unusable.items():
            if reached & {each.name.split(".")[0] for each in folder.iterdir()}:
                yield Finding(
                    modules.SIBLING_CHECK,
                    f"{folder} is compiled for Python {', '.join(built_for)}, the image runs Python {self.interpreter}",
                    f"set PYTHON_VERSION={built_for[-1]} in .env and empty PYTHON_IMAGE (needs a registry), set "
                    f"WEPPPY_IMAGE to an image with that Python, or compile it for {self.interpreter}",
                )

    def _python_image(self) -> Iterator[Finding]:
        """Yield what is wrong with the image of all Python services, or with what it would be built from."""
        file = self.tree.root / self.requirements
        stale = list(image.stale(self.image, file, self.requirements, is_given=bool(self.given)))
        if self.given:
            yield from (*image.given(self.image, self.tree.root), *stale)
        elif self.arguments and not file.is_file():
            real = packages.REAL_TREES
            value = real if real in self.tree else f"the requirements file inside {self.tree.root}"
            yield Finding(
                packages.CHECK,
                f"the tree has no {self.requirements}, which WEPPPY_REQUIREMENTS names",
                f"set WEPPPY_REQUIREMENTS in .env to {value}",
            )
        elif self.arguments:
            yield from stale
            constraints = self._constraints()
            if constraints and not constraints.is_file():
                yield Finding(
                    packages.CHECK,
                    f"WEPPPY_CONSTRAINTS={constraints} is not a file",
                    "correct WEPPPY_CONSTRAINTS and WEPPPY_CONSTRAINTS_DIR in .env, or empty them",
                )
            # An image that was built from just these requirements proves that they can be installed.
            elif not self.image.requirements or stale:
                self.to_install = packages.read(file, constraints)
                yield from packages.lacks(self.to_install, self.requirements, self.base)

    def _constraints(self) -> Path | None:
        named = self.compose.setting("WEPPPY_CONSTRAINTS")
        folder = self.compose.setting("WEPPPY_CONSTRAINTS_DIR", str(self.tree.root))
        # An absolute name is looked for below the folder, as in a build.
        return self.compose.root / "docker" / folder / named.lstrip("/") if named else None
