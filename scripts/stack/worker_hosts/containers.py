"""The containers of workers, what they are asked, and what a worker host has of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scripts.base.errors import fail
from scripts.engine.compose import Compose

FILE, TREE_FILE = "docker/docker-compose.worker.yml", "docker/docker-compose.worker-wepppy.yml"
# Of a worker host; and the workers on any host.
GATEWAY, WORKER = "gateway", "rq-worker"


def compose_files(tree: str) -> str:
    """Return COMPOSE_FILE of a worker host. tree: the real checkout, empty for the sample."""
    return f"{FILE}:{TREE_FILE}" if tree else FILE


def worker_services(compose: Compose) -> list[str]:
    """Return this host's services of workers that are switched on."""
    active = compose.catalogue.active(compose.active_profiles)
    return [each.name for each in active if each.name.startswith(WORKER)]


def exact_queues(model: Mapping[str, Any], queues: Iterable[str]) -> list[str]:
    """Return those of the queues of which a model's workers take one consumer alone."""
    listed = {
        name
        for service, each in model["services"].items()
        if service.startswith(WORKER)
        for name in (each.get("environment") or {}).get("RQ_EXACTLY_ONE", "").split(",")
    }
    return [name for name in queues if name in listed]


def remove_own_files(compose: Compose) -> None:
    """Delete what an invitation brought: the secrets that the workers' model names, then `.env`."""
    for each in (compose.model.get("secrets") or {}).values():
        path = Path(each["file"])
        if path.parent == compose.secrets_dir:
            path.unlink(missing_ok=True)
    compose.env_path.unlink(missing_ok=True)
    compose.forget()


def ask(compose: Compose, service: str, *question: str, running: bool = True) -> dict[str, Any]:
    """Return what the script for worker hosts answers in a service's container, or in one for this alone.

    Raise StackError.
    """
    container = ["exec", "-T"] if running else ["run", "--rm", "--no-deps", "-T"]
    result = compose.capture(*container, service, "python", "/opt/stack/worker_host.py", *question)
    try:
        answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        fail(
            f"{service} cannot answer: {result.complaint}",
            f"see `invoke compose-logs --services={service}`, then `invoke compose-up`",
        )
    return answer
