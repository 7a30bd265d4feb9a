"""Questions to the container engine itself: is it there, which containers, images and volumes does it hold.

Asking the engine takes 20 ms; asking Compose takes half a second, for it reads all its files each time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import Any

from scripts.base.errors import StackError, fail, refuse
from scripts.engine.container import ONEOFF_LABEL, SERVICE_LABEL, Container, container_of
from scripts.engine.runner import NOT_FOUND, TIMED_OUT, Result, Runner

ANSWER_SECONDS = 20.0
PROJECT_LABEL = "com.docker.compose.project"
HASH_LABEL = "com.docker.compose.config-hash"
# Of what a stack in a swarm consists of.
STACK_LABEL = "com.docker.stack.namespace"


class Engine:
    """The engine that `docker` talks to."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    @cached_property
    def info(self) -> dict[str, Any]:
        """`docker info`. Raise StackError saying why the engine does not answer."""
        result = self._ask("info", "--format", "json")
        answer = json.loads(result.stdout) if result.stdout.startswith("{") else {}
        # The client answers for itself with status 0 when the engine is away.
        if not result.ok or not answer.get("ServerVersion"):
            raise unreachable(result, " ".join(answer.get("ServerErrors") or []))
        return dict(answer)

    def containers(self, project: str) -> list[Container]:
        """Return all containers of a project, running or not. Raise StackError when the engine does not answer."""
        ids = self._lines("ps", "--all", "--quiet", "--no-trunc", *_filters(project))
        if not ids:
            return []
        return [container_of(each) for each in self._inspected(ids)]

    def running(self, project: str, service: str) -> list[dict[str, Any]]:
        """Return what `docker inspect` answers of a service's running containers."""
        filters = _filters(project, f"{SERVICE_LABEL}={service}", f"{ONEOFF_LABEL}=False")
        ids = self._lines("ps", "--quiet", "--no-trunc", *filters)
        return self._inspected(ids) if ids else []

    def _inspected(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return what `docker inspect` answers of containers that exist. Raise StackError when it does not answer."""
        # One that went away in between fails the call, the others are told all the same.
        result = self._ask_for("inspect", "--type", "container", *ids)
        try:
            answers: list[dict[str, Any]] = json.loads(result.stdout)
        except ValueError as error:
            raise unreachable(result) from error
        return answers

    def refuse_in_swarm(self, project: str) -> None:
        """Raise StackError where the project runs in a swarm: two database servers on one volume destroy it.

        That is told by the swarm that this machine manages, or by what runs here as its node.
        """
        swarm = self.info.get("Swarm") or {}
        asked = ("service", "ls") if swarm.get("ControlAvailable") else ("ps",)
        running = ("--quiet", "--filter", f"label={STACK_LABEL}={project}")
        if swarm.get("LocalNodeState") == "active" and self._lines(*asked, *running):
            refuse(
                f"{project} runs in a Docker Swarm, with the volumes that this task would use by Compose",
                "`invoke swarm-deploy` updates it, `invoke swarm-remove` ends it and keeps the data; backups and "
                "other work on its database: docs/more-than-one-host.md, Docker Swarm",
            )

    def published_ports(self) -> dict[int, tuple[str, str]]:
        """Return host ports that running containers publish: number -> (container's name, its project or '').

        Bound or, while one is started again after it ended, about to be: `docker ps` shows no ports of that one.
        """
        ids = self._lines("ps", "--quiet", "--no-trunc")
        ports: dict[int, tuple[str, str]] = {}
        for each in self._inspected(ids) if ids else []:
            owner = each["Name"].lstrip("/"), (each["Config"]["Labels"] or {}).get(PROJECT_LABEL, "")
            for published in (each["HostConfig"]["PortBindings"], each["NetworkSettings"]["Ports"]):
                for binding in chain.from_iterable(filter(None, (published or {}).values())):
                    if binding["HostPort"].isdigit():
                        ports[int(binding["HostPort"])] = owner
        return ports

    def images(self, names: Sequence[str]) -> set[str]:
        """Return those of `names` that the engine holds."""
        return set(self.image_ids(names))

    def image_ids(self, names: Sequence[str]) -> dict[str, str]:
        """Return what image each name means; names that mean none are left out."""
        if not names:
            return {}
        ids = self._ask_for("image", "inspect", "--format", "{{.Id}}", *names).stdout.split()
        if 1 < len(names) != len(ids):
            # Which of them are missing is not told: each is asked for by itself.
            return {key: value for name in names for key, value in self.image_ids([name]).items()}
        return dict(zip(names, ids, strict=False))

    def start_again(self, names: Sequence[str]) -> bool:
        """Start finished containers once more and wait for their end; True when all ended well."""
        if not self.runner.stream(["docker", "start", *names]).ok:
            return False
        result = self.runner.capture(["docker", "wait", *names])
        return result.ok and set(result.stdout.split()) == {"0"}

    def change(self, *arguments: str) -> str:
        """Start, stop, restart, ... containers, all at once; return the complaint, empty for none."""
        # The client repeats the names it was given: only a complaint is worth a line.
        result = self.runner.stream(["docker", *arguments], on_line=lambda _: None)
        if result.ok:
            return ""
        # The client ends with a line that only names the containers.
        lines = f"{result.stderr}\n{result.stdout}".splitlines()
        told = [line for line in lines if line.startswith("Error response from daemon: ")]
        return told[0] if told else result.complaint

    def run_health(self, container: Container) -> Result:
        """Run the container's own health check now; the engine would look only after its interval."""
        command = ["docker", "exec", container.name, *container.health_test]
        return self.runner.capture(command, timeout=ANSWER_SECONDS)

    def volumes(self, project: str) -> list[str]:
        return self._names("volume", project)

    def networks(self, project: str) -> list[str]:
        return self._names("network", project)

    def _names(self, kind: str, project: str) -> list[str]:
        wanted = ["--filter", f"label={PROJECT_LABEL}={project}", "--format", "{{.Name}}"]
        return self._lines(kind, "ls", *wanted)

    def volumes_made(self, names: Sequence[str]) -> dict[str, str]:
        """When each of these volumes was made, as the engine writes it; those that do not exist are left out."""
        if not names:
            return {}
        result = self._ask_for("volume", "inspect", "--format", "{{.Name}}\t{{.CreatedAt}}", *names)
        return dict(row.split("\t") for row in result.stdout.splitlines() if "\t" in row)

    def remove_networks(self, names: Sequence[str]) -> None:
        """Remove networks; one that somebody's container is still in stays."""
        self.runner.stream(["docker", "network", "rm", *names])

    def remove_volumes(self, names: Sequence[str]) -> None:
        """Delete volumes for good. Raise StackError when one is in use."""
        result = self.runner.stream(["docker", "volume", "rm", *names])
        if not result.ok:
            fail(
                "not all volumes could be removed (see above)",
                "stop what uses them (docker ps -a --filter volume=NAME) and run it again",
            )

    def log(self, container_id: str, *flags: str) -> list[tuple[str, str]]:
        """Return the lines that a container wrote to both outputs, in their order, each with its moment."""
        result = self._ask("logs", "--timestamps", *flags, container_id)
        rows = [row.partition(" ") for row in f"{result.stdout}\n{result.stderr}".splitlines() if row]
        return sorted(((moment, line) for moment, _, line in rows), key=lambda row: row[0])

    def memory(self, ids: Sequence[str]) -> dict[str, str]:
        """Memory in use by running containers: id -> `123MiB`. Takes about two seconds: the engine samples twice."""
        if not ids:
            return {}
        result = self.runner.capture(
            ["docker", "stats", "--no-stream", "--no-trunc", "--format", "{{.ID}}\t{{.MemUsage}}", *ids],
            timeout=60.0,
        )
        rows = (row.split("\t") for row in result.stdout.splitlines() if "\t" in row)
        return {row[0]: row[1].split("/")[0].strip() for row in rows}

    def _ask(self, *arguments: str) -> Result:
        return self.runner.capture(["docker", *arguments], timeout=ANSWER_SECONDS)

    def _ask_for(self, *arguments: str) -> Result:
        """Ask for things by name, of which some may not exist. Raise StackError when the engine does not answer."""
        result = self._ask(*arguments)
        complaints = [line for line in result.stderr.lower().splitlines() if line.strip()]
        only_missing = bool(complaints) and all("no such " in line for line in complaints)
        if not result.ok and not only_missing:
            raise unreachable(result)
        return result

    def _lines(self, *arguments: str) -> list[str]:
        result = self._ask(*arguments)
        if not result.ok:
            raise unreachable(result)
        return [line for line in result.stdout.splitlines() if line]


# What clients say of an engine that is not there, the last one from 29 on.
AWAY = (
    "cannot connect", "is the docker daemon running", "connection refused", "failed to connect to the docker api",
)  # fmt: skip


def unreachable(result: Result, server_errors: str = "") -> StackError:
    """Return why `docker` could not ask the engine, and the fix."""
    text = f"{result.stderr}\n{result.stdout}\n{server_errors}".lower()
    if result.returncode == NOT_FOUND:
        return StackError(
            "docker is not installed", "run scripts/setup, it installs engine, Compose and buildx"
        )
    if result.returncode == TIMED_OUT:
        return StackError("the container engine does not answer", "restart it: sudo systemctl restart docker")
    # Not any "permission denied": the client also warns of its own settings that it may not read.
    if "permission denied while trying to connect" in text:
        return StackError(
            "no permission to talk to the container engine's socket",
            "sudo usermod -aG docker $USER, then log out and in, and run this again",
        )
    if any(words in text for words in AWAY):
        return StackError(
            "the container engine is not running",
            "start it: scripts/setup (or sudo systemctl start docker)",
        )
    return StackError(f"the container engine refuses: {result.complaint}", "see `docker info`")


def _filters(project: str, *labels: str) -> list[str]:
    """Return what `docker ps` is told to list containers that Compose made.

    An image that Compose built carries the labels of project and service on to whatever else is run from it.
    """
    wanted = (f"{PROJECT_LABEL}={project}", HASH_LABEL, *labels)
    return [word for label in wanted for word in ("--filter", f"label={label}")]


def version_of(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: `v2.26.1-4` -> (2, 26, 1); (0, 0) for anything else."""
    found = re.match(r"v?(\d+(?:\.\d+)+)", text.strip())
    return tuple(int(part) for part in found[1].split(".")) if found else (0, 0)
