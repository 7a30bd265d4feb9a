"""`swarm-deploy`: the production stack onto a Docker Swarm, stage by stage; what fails is rolled back by Swarm."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NoReturn

from scripts.base.clock import SYSTEM_CLOCK, Clock
from scripts.base.console import Console
from scripts.base.errors import StackError, fail, refuse
from scripts.engine.compose import Compose
from scripts.engine.failure import hide_secrets, secrets_of
from scripts.prepare import lock, overlays, ownership
from scripts.settings import secret_files
from scripts.stack.swarm.look import show
from scripts.stack.swarm.site import FetchPublic, fetch_public, prove
from scripts.stack.swarm.stack_file import PROXY, STORES, StackFile
from scripts.stack.swarm.state import GIVEN_UP, Node, State, Swarm, labelled, run

PAUSE_SECONDS = 0.5
# Swarm starts what fails again for ever; this often is no accident.
MOST_FAILURES = 4


def deploy(
    compose: Compose,
    console: Console,
    *,
    dry_run: bool = False,
    timeout: int = 300,
    clock: Clock = SYSTEM_CLOCK,
    fetching: FetchPublic | None = None,
) -> None:
    """Make the swarm run what the compose files say, each stage once the one before is well. Raise StackError.

    dry_run: only print the file for `docker stack deploy`. timeout: seconds for each stage.
    """
    if overlays.PRODUCTION_FILE not in compose.files:
        refuse(
            "development mounts its source from this machine, and others have none",
            f"set COMPOSE_FILE={overlays.PRODUCTION_FILE} in .env, then: invoke compose-build",
        )
    names = _image_names(compose)
    compose.runner.dry = compose.runner.dry or dry_run
    if compose.runner.dry:
        file = StackFile(compose, names, {}, {})
        _publish(compose, console, file, names)
        console.document(file.document())
        return
    swarm = Swarm(compose)
    with lock.sole(compose, in_swarm=True):
        if running := [each.service for each in compose.containers(running=True)]:
            refuse(
                f"Compose runs {compose.project} on this machine: {', '.join(running)}",
                "invoke compose-down (it keeps the data), then run this again",
            )
        secret_files.tell(console, secret_files.ensure(compose))
        before, nodes = swarm.services(), swarm.nodes()
        pins = {label: each.id for label in (STORES, PROXY) for each in labelled(nodes, label)[:1]}
        file = StackFile(compose, names, pins, {name: each.wanted for name, each in before.items()})
        _require_places(file, nodes, before)
        _publish(compose, console, file, names)
        # Failures of earlier days tell nothing of this one.
        known = {task for each in before.values() for task in each.failed}
        for stage in file.stages():
            _give(compose, file, stage)
            _wait(compose, swarm, console, clock, stage, known, timeout)
        if gone := before.keys() - file.services.keys():
            run(compose, "service", "rm", *(f"{compose.project}_{name}" for name in sorted(gone)))
        for kind in ("secret", "config"):
            used = {each["name"] for each in file.document()[f"{kind}s"].values()}
            if old := set(swarm.objects(kind)) - used:
                compose.engine.change(kind, "rm", *sorted(old))
        ownership.remember_volumes(compose)
    address = next((each.address for each in labelled(nodes, PROXY)), "")
    proven = prove(compose, console, address, clock, fetching or fetch_public)
    show(console, swarm, nodes, {"proven": proven})


def _image_names(compose: Compose) -> dict[str, str]:
    """Return what each image is called in the swarm: by its content, so that a rollback finds the one before."""
    wanted = sorted({each.image for each in compose.catalogue.active(compose.active_profiles)})
    ids = compose.engine.image_ids(wanted)
    if missing := [name for name in wanted if name not in ids]:
        raise StackError(f"images that are not here: {', '.join(missing)}", "invoke compose-build")
    prefix = compose.setting("SWARM_IMAGE_PREFIX")
    found = {}
    for name, number in ids.items():
        folder, last = re.fullmatch(r"(.*/)?([^/:@]+).*", name).groups()  # type: ignore[union-attr]
        found[name] = f"{prefix or folder or ''}{last}:{number.partition(':')[2][:12]}"
    return found


def _publish(compose: Compose, console: Console, file: StackFile, names: Mapping[str, str]) -> None:
    """Give the images their names, push them where there is a registry, and tell what nodes must have."""
    remarks = file.remarks()
    for name, named in names.items():
        run(compose, "tag", name, named)
        if compose.setting("SWARM_IMAGE_PREFIX"):
            run(compose, "push", "--quiet", named)
    if not compose.setting("SWARM_IMAGE_PREFIX"):
        save = f"docker save {' '.join(sorted(names.values()))} | ssh NODE docker load"
        remarks.append(f"without a registry (SWARM_IMAGE_PREFIX) every other node needs the images: {save}")
    for line in remarks:
        console.say(line)


def _require_places(file: StackFile, nodes: Sequence[Node], before: Mapping[str, State]) -> None:
    for label in sorted(set(file.labels.values())):
        if len(labelled(nodes, label)) != 1:
            refuse(
                f"not exactly one node has the label {label}=true: volumes are on one node and nowhere else",
                f"docker node update --label-add {label}=true NODE ({', '.join(each.name for each in nodes)})",
            )
    for name, label in file.labels.items():
        if name in before and before[name].pinned not in ("", file.pins[label]):
            where = next((each.name for each in nodes if each.id == before[name].pinned), before[name].pinned)
            refuse(
                f"the volumes of {name} are on {where}, which has the label {label} no more",
                "put the label back; or copy the volumes over, invoke swarm-remove, then run this again",
            )


def _give(compose: Compose, file: StackFile, services: Collection[str]) -> None:
    path = compose.data_dir / "swarm.json"
    path.write_text(file.text(services), encoding="utf-8")
    flags = ["--with-registry-auth", "--resolve-image", "always"]
    if not compose.setting("SWARM_IMAGE_PREFIX"):
        flags = ["--resolve-image", "never"]
    run(compose, "stack", "deploy", "--detach=true", *flags, "--compose-file", str(path), compose.project)


def _wait(
    compose: Compose,
    swarm: Swarm,
    console: Console,
    clock: Clock,
    names: Collection[str],
    known: Collection[str],
    timeout: float,
) -> None:
    """Return when these services run as they are described. Raise StackError with the cause and the last lines.

    known: tasks that had failed before.
    """
    deadline = clock.monotonic() + timeout
    with console.progress("waiting for the swarm") as tell:
        while True:
            states = {name: each for name, each in swarm.services().items() if name in names}
            for name, each in states.items():
                tell(name, each.problem.partition(": ")[2] or "well")
                failures = len(set(each.failed) - set(known))
                hopeless = not each.well and failures >= (1 if each.job else MOST_FAILURES)
                if hopeless or each.update in GIVEN_UP:
                    _fail(compose, swarm, each)
            waiting = [each for each in states.values() if not each.well]
            if not waiting and len(states) == len(names):
                return
            if clock.monotonic() >= deadline:
                _fail(compose, swarm, *waiting)
            clock.sleep(PAUSE_SECONDS)


def _fail(compose: Compose, swarm: Swarm, *states: State) -> NoReturn:
    fix = "fix it and run this again; what is well stays, and what was rolled back runs as before"
    if any("No such image" in each.error for each in states):
        fix = "give the node the image (docker save IMAGE | ssh NODE docker load), then run this again"
    logs = "\n".join(f"--- {each.service}\n{swarm.log(each.task)}" for each in states)
    what = "; ".join(each.problem for each in states) or "not deployed in time"
    fail(what, fix, details=hide_secrets(logs, secrets_of(compose)))
