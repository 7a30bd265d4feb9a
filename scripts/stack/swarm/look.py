"""`swarm-status`, `swarm-scale`, `swarm-remove`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from scripts.base.console import Console
from scripts.base.errors import refuse, usage
from scripts.engine.compose import Compose
from scripts.prepare import lock
from scripts.stack.swarm.stack_file import PROXY, STORES, StackFile
from scripts.stack.swarm.state import Node, Swarm, run

# Of a node that takes containers.
WELL = ("ready", "active")


def status(compose: Compose, console: Console) -> bool:
    """Tell nodes, services and what is wrong; return whether all is well. Raise StackError."""
    swarm = Swarm(compose)
    return show(console, swarm, swarm.nodes())


def show(
    console: Console, swarm: Swarm, nodes: Sequence[Node], facts: Mapping[str, object] | None = None
) -> bool:
    """Tell nodes, services and what is wrong, with more `facts` in JSON; return whether all is well."""
    services = swarm.services().values()
    wrong = [
        f"node {n.name} is {n.state}, {n.availability}" for n in nodes if (n.state, n.availability) != WELL
    ]
    wrong += [each.problem for each in services if each.problem]
    if not services:
        wrong.append(f"{swarm.project} is not deployed: invoke swarm-deploy")
    if console.as_json:
        document = {"ok": not wrong, "project": swarm.project, "problems": wrong, **(facts or {})}
        tables = {"nodes": [asdict(each) for each in nodes], "services": [asdict(each) for each in services]}
        console.document(document | tables)
        return not wrong
    holds = {n.name: ", ".join(label for label in (STORES, PROXY) if label in n.labels) for n in nodes}
    rows = [[n.name, n.address, n.state, n.manager, holds[n.name]] for n in nodes]
    console.table(["node", "address", "state", "manager", "labels"], rows)
    rows = [[s.service, f"{s.running}/{s.wanted}", ", ".join(s.nodes), s.update, s.image] for s in services]
    console.table(["service", "running", "nodes", "update", "image"], rows)
    for line in wrong:
        console.warn(line)
    return not wrong


def scale(compose: Compose, wanted: Sequence[str]) -> None:
    """Change how many of a service run (`rq-worker=8`) and wait; later deploys keep the number. Raise StackError."""
    numbers = {name: number for name, _, number in (each.partition("=") for each in wanted)}
    if not numbers or not all(number.isdigit() for number in numbers.values()):
        usage(f"{','.join(wanted)} does not say how many of which", "invoke swarm-scale rq-worker=8")
    compose.catalogue.select(list(numbers))
    file, there = StackFile(compose, {}, {}, {}), Swarm(compose).services()
    for name in numbers:
        if name in file.single or name in file.one_shots or name not in there:
            refuse(
                f"{name} cannot be scaled: it is not deployed, or has a volume or port of its own, or must be one",
                "invoke swarm-status",
            )
    with lock.sole(compose, in_swarm=True):
        run(compose, "service", "scale", *(f"{compose.project}_{n}={k}" for n, k in numbers.items()))


def remove(compose: Compose, console: Console) -> None:
    """Remove services, networks, secrets and configs; return once they are gone. Volumes stay. Raise StackError."""
    Swarm(compose)
    with lock.sole(compose, in_swarm=True):
        run(compose, "stack", "rm", "--detach=false", compose.project)
    console.say(f"{compose.project} is removed; its volumes stay on the nodes that they are on")
