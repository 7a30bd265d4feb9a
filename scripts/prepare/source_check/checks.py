"""All checks of a source tree, in the order in which a person would fix what they find."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from scripts.base.errors import ExitCode, StackError
from scripts.base.host import engine_is_elsewhere
from scripts.engine.compose import Compose
from scripts.engine.docker import version_of
from scripts.prepare import images
from scripts.prepare.finding import Finding, Level
from scripts.prepare.source_check import folders, go_code, image, modules, needs, packages
from scripts.prepare.source_check.image import Image
from scripts.prepare.source_check.needs import Need
from scripts.prepare.source_check.packages import Base
from scripts.prepare.source_check.parse_cache import ParseCache
from scripts.prepare.source_check.tree import Tree

TREE_CHECK = "source tree"


@dataclass(frozen=True)
class Report:
    """What was checked and found. name: the tree as settings name it."""

    tree: Path
    name: str
    needs: tuple[Need, ...] = ()
    lacks: tuple[Finding, ...] = field(default=())

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
        return not any(self.of(need.name) for need in self.needs if need.active) and not any(
            each.level is Level.ERROR and not each.services for each in self.lacks
        )


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
    return Report(root, name, tuple(wanted), tuple(_Checks(compose, root, wanted).all()))


def findings(compose: Compose) -> list[Finding]:
    """Return what is found about services that are switched on, as the examination before a start shows it."""
    report = examine(compose)
    off = {need.name for need in report.needs if not need.active}
    found = []
    for lack in report.lacks:
        # Missing and empty secrets have a check of their own there.
        if (lack.services and set(lack.services) <= off) or lack.check == folders.ABSENT_CHECK:
            continue
        who = f"{', '.join(each for each in lack.services if each not in off)}: " if lack.services else ""
        found.append(Finding(lack.check, lack.level, f"{who}{lack.what}", lack.fix))
    return [Finding(TREE_CHECK, Level.OK, report.name), *found] if report.ok else found


def require_buildable(compose: Compose) -> None:
    """Raise StackError, with all reasons, when the tree cannot be built upon the base images of the model."""
    checks = (go_code.CHECK, packages.CHECK)
    errors = [each for each in findings(compose) if each.level is Level.ERROR and each.check in checks]
    if errors:
        details = "\n".join(f"{each.check}: {each.what}\n  fix: {each.fix}" for each in errors[1:])
        raise StackError(errors[0].what, errors[0].fix, ExitCode.NOT_READY, details=details)


def _no_tree(root: Path, name: str, named: str) -> Finding | None:
    fix = "get it back: git checkout -- docker/sample"
    if named:
        fix = "set WEPPPY_SRC in .env to the absolute path of a wepppy checkout, or leave it empty for the sample"
    if not root.is_dir():
        return Finding(
            TREE_CHECK, Level.ERROR, f"{name} {'is not a folder' if root.exists() else 'does not exist'}", fix
        )
    try:
        if not (root / "wepppy").is_dir():
            return Finding(
                TREE_CHECK, Level.ERROR, f"{name} is no wepppy checkout: it has no folder wepppy", fix
            )
        next((root / "wepppy").iterdir(), None)
    except PermissionError:
        return Finding(
            TREE_CHECK,
            Level.ERROR,
            f"{name} cannot be read by you",
            f"chmod -R u+rX,go+rX {root}, as its owner",
        )
    return None


class _Checks:
    """The checks of one tree against one model."""

    def __init__(self, compose: Compose, root: Path, wanted: list[Need]) -> None:
        self.compose = compose
        self.needs = wanted
        siblings = compose.setting("WEPPPY_SIBLINGS_DIR")
        self.siblings = compose.root / "docker" / siblings if siblings else None
        self.python = [need.name for need in wanted if need.python]
        self.model = compose.model.get("services") or {}
        self.given = compose.setting("WEPPPY_IMAGE")
        self.requirements = compose.setting("WEPPPY_REQUIREMENTS", "requirements.txt")
        self.image = self._look()
        self.base = Base.of(self._arguments())
        path = [folder for need in wanted for folder in need.python_path]
        # An image of the tree's own Dockerfile has a path of its own: one of the same repositories.
        path += image.siblings_path(compose.root, self.image.interpreter or self.base.interpreter)
        cache = ParseCache(compose.data_dir / "source-cache.json")
        self.tree = Tree(root, self.siblings, dict.fromkeys(path), cache)

    def _look(self) -> Image:
        reference = self.given or str((self.model.get("weppcloud") or {}).get("image") or "")
        return image.look(self.compose, reference, self.requirements) if reference else Image("")

    def _arguments(self) -> dict[str, object]:
        for name in self.python:
            if arguments := (self.model[name].get("build") or {}).get("args"):
                return dict(arguments)
        return {}

    def all(self) -> Iterator[Finding]:
        """Run them all."""
        if self.given:
            yield from image.given(self.image, self.tree.root, self.python)
        folder = list(self._siblings_folder())
        yield from folder
        for each in modules.lacks(self.tree, self.needs, in_image=self.image.names):
            # Without the folder, or an image that has some of them, nothing is known of what is in there.
            unknown = folder or (self.given and not self.image.interpreter)
            if not unknown or each.check != modules.SIBLING_CHECK:
                yield each
        yield from self._compiled()
        yield from modules.assets(self.tree, self.needs)
        yield from modules.only_the_samples(self.tree, self.needs, self.compose.active_profiles)
        for need in self.needs:
            if need.go_service:
                yield from go_code.lacks(self.tree, need, self._go_version)
        yield from self._requirements()
        if not engine_is_elsewhere(self.compose.environment):
            yield from folders.data(self.tree, self.needs)
            yield from folders.secrets(self.needs)
            yield from folders.tree_is_readable(self.tree, self.needs)
        self.tree.cache.save()

    def _siblings_folder(self) -> Iterator[Finding]:
        if self.siblings is not None and not self.siblings.is_dir():
            yield Finding(
                modules.SIBLING_CHECK,
                Level.ERROR,
                f"WEPPPY_SIBLINGS_DIR={self.siblings} does not exist",
                "correct WEPPPY_SIBLINGS_DIR in .env, or empty it",
                tuple(self.python),
            )

    def _compiled(self) -> Iterator[Finding]:
        interpreter = self.image.interpreter or self.base.interpreter
        for folder in self.tree.search_path[1:] if interpreter else ():
            built_for = image.compiled(interpreter, folder)
            tops = {each.name.split(".")[0] for each in folder.iterdir()}
            services = [
                need.name
                for need in self.needs
                if any(tops & self.tree.reach(entry.module).names for entry in need.entries)
            ]
            if built_for and services:
                yield Finding(
                    modules.SIBLING_CHECK,
                    Level.ERROR,
                    f"{folder} is compiled for Python {', '.join(built_for)}, the image runs Python {interpreter}",
                    f"set PYTHON_VERSION={built_for[-1]} in .env and empty PYTHON_IMAGE (needs a registry), set "
                    f"WEPPPY_IMAGE to an image with that Python, or compile it for {interpreter}",
                    tuple(services),
                )

    def _go_version(self, reference: str) -> tuple[int, ...]:
        by_tag = go_code.version_by_tag(reference)
        if by_tag != (0, 0) or not reference:
            return by_tag
        asked = self.compose.runner.capture(
            [
                "docker",
                "run",
                "--rm",
                "--network",
                "none",
                "--pull",
                "never",
                "--entrypoint",
                "go",
                reference,
                "version",
            ],
            timeout=image.LOOK_SECONDS,
        )
        words = asked.stdout.split()
        return version_of(words[2].removeprefix("go")) if asked.ok and len(words) > 2 else (0, 0)

    def _requirements(self) -> Iterator[Finding]:
        file = self.tree.root / self.requirements
        enums = modules.enum_in_query(self.tree, self.needs)
        if self.given:
            yield from image.stale(self.image, file, self.requirements, self.python, is_given=True)
            return
        if not self._arguments():
            return
        if missing := list(self._constraints()):
            yield from missing
            # What they would hold is not known.
            enums = {}
        if not file.is_file():
            real = packages.REAL_TREES
            value = real if real in self.tree else f"the requirements file inside {self.tree.root}"
            yield Finding(
                packages.CHECK,
                Level.ERROR,
                f"the tree has no {self.requirements}, which WEPPPY_REQUIREMENTS names",
                f"set WEPPPY_REQUIREMENTS in .env to {value}",
                tuple(self.python),
            )
            return
        changed = list(image.stale(self.image, file, self.requirements, self.python, is_given=False))
        yield from changed
        # An image that was built from just these requirements proves that they can be installed.
        if self.image.requirements and not changed:
            return
        constraints = self._constraints_file()
        usable = constraints if constraints and constraints.is_file() else None
        wanted = packages.read(file, usable)
        yield from packages.lacks(wanted, self.requirements, self.base, self.python, enums)
        yield from self._stand_in(wanted)

    def _constraints_file(self) -> Path | None:
        named = self.compose.setting("WEPPPY_CONSTRAINTS")
        folder = (
            self.compose.root / "docker" / self.compose.setting("WEPPPY_CONSTRAINTS_DIR", str(self.tree.root))
        )
        # An absolute name is looked for below the folder, as in a build.
        return folder / named.lstrip("/") if named else None

    def _constraints(self) -> Iterator[Finding]:
        file = self._constraints_file()
        if file is not None and not file.is_file():
            yield Finding(
                packages.CHECK,
                Level.ERROR,
                f"WEPPPY_CONSTRAINTS={file} is not a file",
                "correct WEPPPY_CONSTRAINTS and WEPPPY_CONSTRAINTS_DIR in .env, or empty them",
                tuple(self.python),
            )

    def _stand_in(self, wanted: packages.Requirements) -> Iterator[Finding]:
        """Yield what replaces an interpreter that only a registry has, where no registry answers."""
        version = self.base.interpreter
        if not version or version in images.PYTHON_RELEASES or not images.OFFICIAL.search(self.base.image):
            return
        here = self.compose.runner.capture(
            ["docker", "image", "inspect", "--format", "{{.Id}}", self.base.image]
        )
        if here.ok and here.stdout.strip():
            return
        instead = self.compose.setting("PYTHON_VERSION_WITHOUT_REGISTRY", max(images.PYTHON_RELEASES))
        without = [each for each in sorted(wanted.wanted) if packages.without_wheel(wanted, each, instead)]
        why = (
            f", for which {', '.join(f'{n}{wanted.wanted[n]}' for n in without)} has no wheel"
            if without
            else ""
        )
        yield Finding(
            packages.CHECK,
            Level.WARNING if without else Level.OK,
            f"{self.base.image} is not on this machine; where no registry gives it, Python {instead} stands in{why}",
            "reach a registry, load the image (docker load --input FILE), or set WEPPPY_IMAGE"
            if without
            else "",
            (),
        )
