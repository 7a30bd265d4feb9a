"""What one container of a project is, as the engine tells it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

SERVICE_LABEL = "com.docker.compose.service"
ONEOFF_LABEL = "com.docker.compose.oneoff"
FOLDER_LABEL = "com.docker.compose.project.working_dir"
ENV_FILE_LABEL = "com.docker.compose.project.environment_file"
ROLE_LABEL = "wepp.role"
ONE_SHOT = "one-shot"
TASK = "task"
# Exit statuses of a program that ended because it was asked to: by itself, SIGINT, SIGTERM.
ASKED_TO_END = (0, 130, 143)
# Conditions of a container that is as it should be.
FINE = ("healthy", "running", "done")


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
    # Runs to its end at every start.
    one_shot: bool = False
    # The `.env` that it was made with, as Compose wrote it down; several are separated by commas.
    env_file: str = ""
    # Why the engine could not start it.
    error: str = ""
    # How often the engine has restarted it by itself.
    restarts: int = 0
    # In each of its networks, by which others see where it connects from.
    addresses: tuple[str, ...] = ()

    @property
    def condition(self) -> str:
        """One word for people: the health where there is a check, else the state.

        An exited one-shot is `done` or `failed`; a service that is to run for long is `stopped` or `failed`.
        """
        if self.state == "running":
            return self.health or "running"
        if self.state != "exited":
            return self.state
        if self.one_shot:
            return "failed" if self.exit_code else "done"
        return "stopped" if self.exit_code in ASKED_TO_END else "failed"

    @property
    def fine(self) -> bool:
        return self.condition in FINE

    @property
    def exit_text(self) -> str:
        """The exit status in words, where there is one that says something."""
        if self.condition not in ("failed", "stopped", "restarting"):
            return ""
        if self.exit_code == 137:
            return " (exit status 137: killed, for lack of memory or after the stop grace period)"
        return f" (exit status {self.exit_code})"


def by_service(containers: Iterable[Container]) -> dict[str, Container]:
    """Return the containers by their services; of several containers of one, the one that is not well."""
    return {each.service: each for each in sorted(containers, key=lambda each: not each.fine)}


def container_of(answer: dict[str, Any]) -> Container:
    """Read one answer of `docker inspect`."""
    state, labels = answer["State"], answer["Config"].get("Labels") or {}
    health = state.get("Health") or {}
    ports = [
        (binding.get("HostIp", ""), int(binding["HostPort"]), int(target.split("/")[0]))
        for target, bindings in (answer.get("NetworkSettings", {}).get("Ports") or {}).items()
        for binding in bindings or []
        if binding.get("HostPort")
    ]
    networks = (answer.get("NetworkSettings", {}).get("Networks") or {}).values()
    addresses = [each.get(key) for each in networks for key in ("IPAddress", "GlobalIPv6Address")]
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
        one_shot=labels.get(ROLE_LABEL) == ONE_SHOT,
        env_file=labels.get(ENV_FILE_LABEL, ""),
        error=state.get("Error", ""),
        restarts=answer.get("RestartCount", 0),
        addresses=tuple(each for each in addresses if each),
    )


def _health_test(test: Sequence[str]) -> tuple[str, ...]:
    """Return the command behind `[CMD, ...]` or `[CMD-SHELL, text]`."""
    if not test or test[0] == "NONE":
        return ()
    return ("sh", "-c", *test[1:]) if test[0] == "CMD-SHELL" else tuple(test[1:])
