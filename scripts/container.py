"""Owns what one container of a project is, as the engine tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SERVICE_LABEL = "com.docker.compose.service"
ONEOFF_LABEL = "com.docker.compose.oneoff"
FOLDER_LABEL = "com.docker.compose.project.working_dir"


@dataclass(frozen=True)
class Container:
    """One container of the project, as the engine sees it now."""

    id: str
    name: str
    service: str
    state: str
    health: str
    exit_code: int
    started_at: str
    folder: str
    health_log: tuple[str, ...]
    ports: tuple[tuple[str, int, int], ...]
    oneoff: bool = False
    # The health check's own command, as an argument list; empty where there is none.
    health_test: tuple[str, ...] = ()

    @property
    def condition(self) -> str:
        """One word for people: the health where there is a check, else the state; `done` for a finished job."""
        if self.state == "running":
            return self.health or "running"
        if self.state == "exited" and self.exit_code == 0:
            return "done"
        return "failed" if self.state == "exited" else self.state


def container_of(answer: dict[str, Any]) -> Container:
    """Reads one answer of `docker inspect`."""
    state, labels = answer["State"], answer["Config"].get("Labels") or {}
    health = state.get("Health") or {}
    ports = [
        (binding.get("HostIp", ""), int(binding["HostPort"]), int(target.split("/")[0]))
        for target, bindings in (answer.get("NetworkSettings", {}).get("Ports") or {}).items()
        for binding in bindings or []
        if binding.get("HostPort")
    ]
    return Container(
        id=answer["Id"],
        name=answer["Name"].lstrip("/"),
        service=labels.get(SERVICE_LABEL, ""),
        state=state["Status"],
        health=health.get("Status", "") if health.get("Status") != "none" else "",
        exit_code=state.get("ExitCode", 0),
        started_at=state.get("StartedAt", ""),
        folder=labels.get(FOLDER_LABEL, ""),
        health_log=tuple(entry.get("Output", "").strip() for entry in health.get("Log") or []),
        ports=tuple(sorted(set(ports))),
        oneoff=labels.get(ONEOFF_LABEL, "") == "True",
        health_test=_health_test((answer["Config"].get("Healthcheck") or {}).get("Test") or []),
    )


def _health_test(test: Sequence[str]) -> tuple[str, ...]:
    """The command behind `[CMD, ...]` or `[CMD-SHELL, text]`."""
    if not test or test[0] == "NONE":
        return ()
    return ("sh", "-c", *test[1:]) if test[0] == "CMD-SHELL" else tuple(test[1:])
