"""What each service of the rendered model needs of the source tree and of this machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.engine.catalogue import Catalogue, Service
from scripts.prepare.source_check.tree import TREE_AT

# `module:attribute` as gunicorn and uvicorn take it, and a dotted name of the tree's own packages.
APPLICATION = re.compile(r"([A-Za-z_]\w*(?:\.\w+)+):([A-Za-z_]\w*)(?:\(\))?")
OWN_NAME = re.compile(r"wepppy(?:\.\w+)+")
SCRIPT = re.compile(r"(?:\./)?\w[\w.-]*(?:/[\w.-]+)+\.(?:sh|py)")
# Programs that run workers, and what each of them imports by name; the jobs' modules are imported with the jobs.
WORKERS = ("docker/rq-worker-startup.sh", "/opt/stack/rq-worker.py")
WORKER_MODULES = ("wepppy.config.redis_settings", "wepppy.rq.WepppyRqWorker")
JOB_MODULES = "wepppy/rq/*_rq.py"
DATA_FOLDERS = ("/wc1", "/geodata")


@dataclass(frozen=True)
class Entry:
    """A module that a command names, and the attribute it takes from it (empty for none)."""

    module: str
    attribute: str = ""


@dataclass(frozen=True)
class Bind:
    """A folder or file of this machine that a service mounts."""

    source: Path
    target: str
    read_only: bool


@dataclass(frozen=True)
class Need:
    """One service. python: it runs in the image that holds the tree's requirements.

    files: paths inside the tree. go_service: folder below services/. dockerfile: inside the tree. user: uid and gid in
    the container, None where the image decides. secrets: files by id.
    """

    name: str
    active: bool
    one_shot: bool = False
    python: bool = False
    entries: tuple[Entry, ...] = ()
    files: tuple[str, ...] = ()
    go_service: str = ""
    go_image: str = ""
    dockerfile: str = ""
    user: tuple[int, int] | None = None
    groups: tuple[int, ...] = ()
    secrets: tuple[tuple[str, Path], ...] = ()
    binds: tuple[Bind, ...] = ()
    python_path: tuple[str, ...] = ()


def read(model: Mapping[str, Any], tree: Path, profiles: Sequence[str]) -> list[Need]:
    """Read every service of the model, in the model's order. tree: the checkout's root."""
    catalogue = Catalogue.of(model)
    application = catalogue.services.get("weppcloud")
    files = {
        name: Path(str(each["file"]))
        for name, each in (model.get("secrets") or {}).items()
        if isinstance(each, Mapping) and each.get("file")
    }
    return [
        _need(
            service,
            model["services"][service.name],
            tree,
            files,
            active=service.active(profiles),
            python=application is not None and service.image == application.image,
        )
        for service in catalogue.services.values()
    ]


def _need(
    service: Service,
    each: Mapping[str, Any],
    tree: Path,
    files: Mapping[str, Path],
    *,
    active: bool,
    python: bool,
) -> Need:
    build = each.get("build") or {}
    arguments = build.get("args") or {}
    context = build.get("context") or ""
    reads_tree = _same(str((build.get("additional_contexts") or {}).get("source") or ""), tree)
    environment = each.get("environment") or {}
    words = [*_words(each.get("entrypoint")), *_words(each.get("command"))]
    return Need(
        service.name,
        active,
        service.one_shot,
        python,
        entries=tuple(_entries(words, environment, tree)) if python else (),
        files=tuple(_files(words, environment)) if python else (),
        go_service=str(arguments.get("SERVICE") or "") if reads_tree and not python else "",
        go_image=str(arguments.get("GO_IMAGE") or ""),
        dockerfile=_dockerfile(build, Path(context), tree) if context else "",
        user=_user(str(each.get("user") or "")),
        groups=tuple(int(group) for group in each.get("group_add") or () if str(group).isdigit()),
        secrets=tuple((name, files[name]) for name in service.secrets if name in files),
        binds=tuple(_binds(each.get("volumes") or ())),
        python_path=tuple(folder for folder in str(environment.get("PYTHONPATH") or "").split(":") if folder),
    )


def _words(command: Any) -> list[str]:
    """Return the arguments of a command, which Compose renders as a list or leaves out."""
    if isinstance(command, str):
        return command.split()
    return [str(word) for word in command or ()]


def _same(path: str, tree: Path) -> bool:
    return bool(path) and Path(path).resolve() == tree.resolve()


def _entries(words: Sequence[str], environment: Mapping[str, Any], tree: Path) -> Iterator[Entry]:
    seen: set[Entry] = set()
    for each in _named(words, environment, tree):
        if each not in seen:
            seen.add(each)
            yield each


def _named(words: Sequence[str], environment: Mapping[str, Any], tree: Path) -> Iterator[Entry]:
    for word in words:
        if found := APPLICATION.fullmatch(word):
            yield Entry(found[1], found[2])
        elif OWN_NAME.fullmatch(word):
            yield Entry(word)
        if word.removeprefix(f"{TREE_AT}/") in WORKERS:
            for name in (
                *WORKER_MODULES,
                *(f"wepppy.rq.{path.stem}" for path in sorted(tree.glob(JOB_MODULES))),
            ):
                yield Entry(name)
    application = str(environment.get("FLASK_APP") or "")
    if OWN_NAME.fullmatch(application):
        yield Entry(application, "app")


def _files(words: Sequence[str], environment: Mapping[str, Any]) -> Iterator[str]:
    for word in words:
        if word.startswith(f"{TREE_AT}/"):
            yield word.removeprefix(f"{TREE_AT}/")
        elif SCRIPT.fullmatch(word):
            yield word.removeprefix("./")
    # A schedule or the like that the service reads when it starts.
    for key, value in sorted(environment.items()):
        text = str(value or "")
        if key.endswith("_CONFIG") and re.fullmatch(r"[\w./-]+\.ya?ml", text):
            yield text.removeprefix(f"{TREE_AT}/")


def _dockerfile(build: Mapping[str, Any], context: Path, tree: Path) -> str:
    """Return the Dockerfile inside the tree that the service is built from; empty when it is not in there."""
    path = (context / str(build.get("dockerfile") or "Dockerfile")).resolve()
    return str(path.relative_to(tree.resolve())) if path.is_relative_to(tree.resolve()) else ""


def _user(text: str) -> tuple[int, int] | None:
    uid, _, gid = text.partition(":")
    return (int(uid), int(gid or 0)) if uid.isdigit() and (gid or "0").isdigit() else None


def _binds(volumes: Iterable[Mapping[str, Any]]) -> Iterator[Bind]:
    for each in volumes:
        if each.get("type") == "bind" and each.get("source"):
            yield Bind(Path(str(each["source"])), str(each.get("target")), bool(each.get("read_only")))
