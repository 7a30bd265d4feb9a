"""Explain a failure of services: their causes, their last health output, their last log lines, secrets hidden."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scripts.engine.cause import cause
from scripts.engine.compose import Compose
from scripts.engine.container import Container
from scripts.settings import secret_ids

LOG_LINES = 20
# From an error's number on: its whole traceback.
SHOWN_LINES = 60
# A server that gives up writes its consequences after the cause, worker by worker.
SEARCHED_LINES = 1000
# Secrets shorter than this are words of the language; hiding them would hide the log.
SHORTEST_SECRET = 8
BROKEN = ("failed", "unhealthy", "restarting", "dead")
# Not as it should be, perhaps only because a start was given up before its turn.
WAITING = ("stopped", "starting", "paused")


@dataclass(frozen=True)
class Failed:
    """One service that failed: why, as one line (empty when it cannot be told), and what it wrote."""

    service: str
    cause: str
    details: str

    @property
    def text(self) -> str:
        """Service and cause."""
        return f"{self.service}: {self.cause}" if self.cause else self.service


def failed_containers(containers: Iterable[Container], wanted: Sequence[str]) -> list[Container]:
    """Return those that failed by themselves; when none did, those that are not ready yet.

    A service that merely waited for a failed one is left out: its log says nothing.
    """
    mine = [each for each in containers if each.service in wanted]
    failed = [each for each in mine if _has_failed(each)]
    return failed or [each for each in mine if each.condition in WAITING]


def _has_failed(container: Container) -> bool:
    # Between two starts, one that fails again and again is `starting`.
    again = container.condition == "starting" and container.restarts > 0
    return container.condition in BROKEN or bool(container.error) or again


def explain(compose: Compose, wanted: Sequence[str]) -> list[Failed]:
    """Return what failed among the wanted services. Raise StackError when the engine does not answer."""
    secrets = secrets_of(compose)
    found = failed_containers(compose.containers(), wanted)
    return [_explained(compose, each, secrets) for each in found]


def facts(failed: Iterable[Failed]) -> dict[str, object]:
    """Return what failed, for the JSON answer."""
    return {"services": [{"name": each.service, "cause": each.cause} for each in failed]}


def details(failed: Iterable[Failed]) -> str:
    """Return all that is known of the failed services as text."""
    return "\n".join(each.details for each in failed)


def _explained(compose: Compose, container: Container, secrets: Sequence[str]) -> Failed:
    rows = compose.engine.log_lines(container.id, SEARCHED_LINES)
    ended = container.condition in ("failed", "restarting", "dead")
    # An earlier start of the same container may have failed for another reason, long ago.
    latest = "\n".join(line for moment, line in rows if moment >= container.started_at)
    log = "\n".join(line for _, line in rows)
    why = container.error or cause(latest, ended=ended and bool(latest)) or cause(log, ended=ended)
    if not why and container.health_log and container.condition == "unhealthy":
        why = container.health_log[-1].strip()
    why = hide_secrets(" ".join(why.split()), secrets)
    parts = [f"--- {container.service}: {container.condition}{exit_note(container)}"]
    if why:
        parts.append(f"cause: {why}")
    if container.health_log:
        parts.append(f"last health check: {container.health_log[-1] or '(no output)'}")
    parts.append(f"last {LOG_LINES} log lines:")
    parts.append("\n".join(line for _, line in rows[-LOG_LINES:]) or "(the log is empty)")
    return Failed(container.service, why, hide_secrets("\n".join(parts), secrets))


def around(compose: Compose, service: str, since: str, error_id: str = "") -> Failed:
    """Return what a service wrote from a moment on, or from the line on that bears an error's number.

    since: as the engine writes moments. Raise StackError when the engine does not answer.
    """
    rows: list[tuple[str, str]] = []
    for each in compose.containers([service]):
        rows += compose.engine.log_lines(each.id, SEARCHED_LINES)
    lines = [line for moment, line in sorted(rows, key=lambda row: row[0]) if moment >= since]
    if error_id:
        marked = [number for number, line in enumerate(lines) if error_id in line]
        lines = lines[marked[0] :] if marked else lines
    secrets = secrets_of(compose)
    why = hide_secrets(cause("\n".join(lines)), secrets)
    log = "\n".join(lines[:SHOWN_LINES] if error_id else lines[-LOG_LINES:]) or "(nothing)"
    parts = [f"cause: {why}"] if why else []
    parts += [f"log of {service} around that:", hide_secrets(log, secrets)]
    return Failed(service, why, "\n".join(parts))


def exit_note(container: Container) -> str:
    """Return the exit status in words, where there is one that says something."""
    if container.condition not in ("failed", "stopped", "restarting"):
        return ""
    if container.exit_code == 137:
        return " (exit status 137: killed, for lack of memory or after the stop grace period)"
    return f" (exit status {container.exit_code})"


def secrets_of(compose: Compose) -> list[str]:
    """Return the values that must not be shown: the secret files', and what `.env` still holds of them."""
    found = [compose.env.get(key) for key in secret_ids.BY_KEY]
    # A file that cannot be read does not keep a failure from being told.
    for path in compose.secrets_dir.glob("*"):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found.append(path.read_text(encoding="utf-8").strip())
    return found


def hide_secrets(text: str, secrets: Iterable[str]) -> str:
    """Return the text with every secret replaced by asterisks."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, "********")
    return text
