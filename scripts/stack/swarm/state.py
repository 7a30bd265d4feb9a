"""What a swarm says of itself: its nodes, and how far each service of one stack is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.base.errors import fail, refuse
from scripts.engine.compose import Compose
from scripts.engine.docker import ANSWER_SECONDS, STACK_LABEL, unreachable
from scripts.engine.runner import Result

FAILED = ("failed", "rejected", "orphaned")
UPDATING = ("updating", "rollback_started")
GIVEN_UP = ("paused", "rollback_completed", "rollback_paused")
Answer = Mapping[str, Any]


@dataclass(frozen=True)
class Node:
    """One machine of the swarm. state: `ready` or `down`; manager: `leader`, `reachable`, ... or empty."""

    id: str
    name: str
    address: str
    state: str
    availability: str
    manager: str
    labels: Mapping[str, str]

    @classmethod
    def of(cls, answer: Answer) -> Node:
        spec, status, manager = answer["Spec"], answer["Status"], answer.get("ManagerStatus") or {}
        # A manager may know itself as 0.0.0.0 alone.
        address = manager.get("Addr", "").rpartition(":")[0] or status.get("Addr", "")
        role = "leader" if manager.get("Leader") else manager.get("Reachability", "")
        name, labels = answer["Description"]["Hostname"], spec.get("Labels") or {}
        return cls(answer["ID"], name, address, status["State"], spec["Availability"], role, labels)


@dataclass(frozen=True)
class State:
    """One service: how many tasks run (of a job: have ended well) as it is described now, of how many; on which nodes.

    update: of the last one, as Swarm words it. failed: ids of tasks, as far as Swarm remembers; error, task: of
    the latest. pinned: the node's id to which a deploy bound it.
    """

    service: str
    image: str
    running: int
    wanted: int
    nodes: list[str]
    update: str
    failed: list[str]
    error: str
    task: str
    job: bool
    pinned: str

    @classmethod
    def of(cls, answer: Answer, tasks: Iterable[Answer], nodes: Mapping[str, str], project: str) -> State:
        spec = answer["Spec"]
        template, job = spec["TaskTemplate"], spec["Mode"].get("ReplicatedJob")
        # Each update runs a job anew, a changed one or not.
        turn = (answer.get("JobStatus") or {}).get("JobIteration")
        update = (answer.get("UpdateStatus") or {}).get("State", "")
        every = [t for t in tasks if t["ServiceID"] == answer["ID"]]
        # Tasks of another description are on their way out.
        mine = [t for t in every if _same(t["Spec"], template) and t.get("JobIteration") == turn]
        good = [t for t in mine if (t["Status"]["State"], t["DesiredState"]) == ("running", "running")]
        if job:
            good = [t for t in mine if t["Status"]["State"] == "complete"]
        told = [t for t in (every if update in GIVEN_UP else mine) if t["Status"].get("Err")]
        last = max(told, key=lambda t: str(t["Status"]["Timestamp"]), default={})
        error = f"{nodes.get(last.get('NodeID', ''), 'no node')}: {last['Status']['Err']}" if last else ""
        places = (template.get("Placement") or {}).get("Constraints") or []
        return cls(
            service=spec["Name"].removeprefix(f"{project}_"),
            image=template["ContainerSpec"]["Image"],
            running=len(good),
            wanted=job["TotalCompletions"] if job else spec["Mode"]["Replicated"]["Replicas"],
            nodes=sorted({nodes.get(t.get("NodeID", ""), "?") for t in good}),
            update=update,
            failed=[t["ID"] for t in mine if t["Status"]["State"] in FAILED],
            error=error,
            task=last.get("ID", ""),
            job=bool(job),
            pinned=next((c.partition("== ")[2] for c in places if c.startswith("node.id")), ""),
        )

    @property
    def well(self) -> bool:
        return self.running == self.wanted and self.update not in UPDATING

    @property
    def problem(self) -> str:
        """What is wrong in one line; empty for nothing."""
        if self.well and self.update not in GIVEN_UP:
            return ""
        words = (self.update.replace("_", " "), self.error)
        return ", ".join([f"{self.service}: {self.running} of {self.wanted} run", *filter(None, words)])


class Swarm:
    """The swarm that this machine's engine manages. Raise StackError (refused) where it manages none."""

    def __init__(self, compose: Compose) -> None:
        self.runner, self.project = compose.runner, compose.project
        if not (compose.engine.info.get("Swarm") or {}).get("ControlAvailable"):
            refuse(
                "this machine's engine is no manager of a swarm",
                "docker swarm init --advertise-addr ADDRESS, or run this on a machine that is one",
            )

    def nodes(self) -> list[Node]:
        return [Node.of(each) for each in self._inspected("node", self._lines("node", "ls", "--quiet"))]

    def services(self) -> dict[str, State]:
        """Return the state of each service of the stack by its short name; empty where it is not deployed."""
        ids = self._lines("service", "ls", "--quiet", "--filter", f"label={STACK_LABEL}={self.project}")
        tasks = self._lines("service", "ps", "--quiet", "--no-trunc", *ids) if ids else []
        found = self._inspected("task", tasks)
        names = {each.id: each.name for each in self.nodes()} if ids else {}
        states = [State.of(each, found, names, self.project) for each in self._inspected("service", ids)]
        return {each.service: each for each in sorted(states, key=lambda each: each.service)}

    def objects(self, kind: str) -> list[str]:
        """Return the names of the stack's secrets, configs or networks."""
        label = f"label={STACK_LABEL}={self.project}"
        return self._lines(kind, "ls", "--filter", label, "--format", "{{.Name}}")

    def log(self, task: str) -> str:
        """Return the last lines that a task wrote, wherever it ran; nothing for none."""
        told = self._ask("service", "logs", "--raw", "--tail", "20", task) if task else Result((), 0)
        return f"{told.stdout}{told.stderr}"

    def _ask(self, *arguments: str) -> Result:
        return self.runner.capture(["docker", *arguments], timeout=ANSWER_SECONDS)

    def _lines(self, *arguments: str) -> list[str]:
        result = self._ask(*arguments)
        if not result.ok:
            raise unreachable(result)
        return result.stdout.split()

    def _inspected(self, kind: str, ids: Sequence[str]) -> list[Answer]:
        # One that went away in between fails the call; the others are told all the same.
        result = self._ask("inspect", "--type", kind, *ids) if ids else Result((), 0, "[]")
        try:
            answers: list[Answer] = json.loads(result.stdout)
        except ValueError as error:
            raise unreachable(result) from error
        return answers


def labelled(nodes: Iterable[Node], label: str) -> list[Node]:
    """Return the nodes that have a label."""
    return [each for each in nodes if each.labels.get(label) == "true"]


def run(compose: Compose, *arguments: str) -> None:
    """Change something by `docker`. Raise StackError when it fails."""
    if not compose.runner.stream(["docker", *arguments]).ok:
        what = f"docker {arguments[0]} {arguments[1]} failed"
        fail(what, "fix what the lines above say, then run this again")


def _same(one: Answer, other: Answer) -> bool:
    """Return whether both describe the same container; what is empty may be missing in one."""
    full = [{key: value for key, value in each["ContainerSpec"].items() if value} for each in (one, other)]
    return full[0] == full[1]
