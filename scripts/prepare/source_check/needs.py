"""What each service of the rendered model needs of the source tree and of this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from scripts.engine.catalogue import Catalogue

# Where the containers see the tree and its siblings.
MOUNTED_AT = "/workdir"
TREE_AT = f"{MOUNTED_AT}/wepppy"
# `module:attribute` as gunicorn and uvicorn take it (perhaps called), or a dotted name of the tree's own packages.
MODULE = re.compile(r"([A-Za-z_]\w*(?:\.\w+)+:[A-Za-z_]\w*|wepppy(?:\.\w+)+)(?:\(\))?")
SCRIPT = re.compile(r"(?:\./)?\w[\w.-]*(?:/[\w.-]+)+\.(?:sh|py)")
# Programs that run workers, and what each of them imports by name; the jobs' modules are imported with the jobs.
WORKERS = ("docker/rq-worker-startup.sh", "/opt/stack/rq-worker.py")
WORKER_MODULES = ("wepppy.config.redis_settings", "wepppy.rq.WepppyRqWorker")
JOB_MODULES = "wepppy/rq/*_rq.py"


class Bind(NamedTuple):
    """A folder or file of this machine that a service mounts."""

    source: Path
    target: str
    read_only: bool


@dataclass(frozen=True)
class Need:
    """One service. python: it runs in the image that holds the tree's requirements.

    modules: `module` or `module:attribute`. files: paths inside the tree. go_service: folder below services/.
    dockerfile: inside the tree. user: uid and gid in the container, None where the image decides.
    """

    name: str
    active: bool
    one_shot: bool
    python: bool
    modules: tuple[str, ...]
    files: tuple[str, ...]
    go_service: str
    go_image: str
    dockerfile: str
    user: tuple[int, int] | None
    groups: tuple[int, ...]
    binds: tuple[Bind, ...]


def read(model: Mapping[str, Any], tree: Path, profiles: Sequence[str]) -> list[Need]:
    """Read every service of the model, in the model's order. tree: the checkout's root."""
    catalogue = Catalogue.of(model).services
    application = catalogue.get("weppcloud")
    needs = []
    for service in catalogue.values():
        each = model["services"][service.name]
        python = application is not None and service.image == application.image
        build = each.get("build") or {}
        arguments = build.get("args") or {}
        source = (build.get("additional_contexts") or {}).get("source", "")
        reads_tree = bool(source) and Path(source).resolve() == tree.resolve()
        environment = {key: str(value or "") for key, value in (each.get("environment") or {}).items()}
        words = [*_words(each.get("entrypoint")), *_words(each.get("command"))]
        uid, _, gid = str(each.get("user") or "").partition(":")
        needs.append(
            Need(
                service.name,
                service.active(profiles),
                service.one_shot,
                python,
                modules=tuple(dict.fromkeys(_modules(words, environment, tree))) if python else (),
                files=tuple(_files(words, environment)) if python else (),
                go_service=(arguments.get("SERVICE") or "") if reads_tree and not python else "",
                go_image=arguments.get("GO_IMAGE") or "",
                dockerfile=_dockerfile(build, tree),
                user=(int(uid), int(gid or 0)) if uid.isdigit() and (gid or "0").isdigit() else None,
                groups=tuple(int(group) for group in each.get("group_add") or () if str(group).isdigit()),
                binds=tuple(
                    Bind(Path(bind["source"]), bind["target"], bool(bind.get("read_only")))
                    for bind in each.get("volumes") or ()
                    if bind.get("type") == "bind"
                ),
            )
        )
    return needs


def _words(command: str | Sequence[str] | None) -> Sequence[str]:
    """Return the arguments of a command, which Compose renders as a list or leaves out."""
    return command.split() if isinstance(command, str) else command or ()


def _modules(words: Sequence[str], environment: Mapping[str, str], tree: Path) -> Iterator[str]:
    for word in words:
        if found := MODULE.fullmatch(word):
            yield found[1]
        if word.removeprefix(f"{TREE_AT}/") in WORKERS:
            yield from WORKER_MODULES
            yield from (f"wepppy.rq.{path.stem}" for path in sorted(tree.glob(JOB_MODULES)))
    if MODULE.fullmatch(application := environment.get("FLASK_APP", "")):
        yield f"{application}:app"


def _files(words: Sequence[str], environment: Mapping[str, str]) -> Iterator[str]:
    for word in words:
        if word.startswith(f"{TREE_AT}/"):
            yield word.removeprefix(f"{TREE_AT}/")
        elif SCRIPT.fullmatch(word):
            yield word.removeprefix("./")
    # A schedule or the like that the service reads when it starts.
    for key, value in sorted(environment.items()):
        if key.endswith("_CONFIG") and re.fullmatch(r"[\w./-]+\.ya?ml", value):
            yield value.removeprefix(f"{TREE_AT}/")


def _dockerfile(build: Mapping[str, Any], tree: Path) -> str:
    """Return the Dockerfile inside the tree that the service is built from; empty when it is not in there."""
    if not build.get("context"):
        return ""
    path = Path(build["context"], build.get("dockerfile", "Dockerfile")).resolve()
    return str(path.relative_to(tree.resolve())) if path.is_relative_to(tree.resolve()) else ""
