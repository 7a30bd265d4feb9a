"""Owns the explanation of a start that failed: which services, their last health output, their last log lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scripts.compose import Compose
from scripts.container import Container
from scripts.envinit import generated_keys
from scripts.errors import StackError

LOG_LINES = 20
# Secrets shorter than this are words of the language; hiding them would hide the log.
SHORTEST_SECRET = 8


def guilty(containers: Iterable[Container], wanted: Sequence[str]) -> list[Container]:
    """Those that failed by themselves; when none did, those that are not ready yet.

    A service that merely waited for a failed one is left out: its log says nothing.
    """
    mine = [each for each in containers if each.service in wanted and not each.oneoff]
    failed = [each for each in mine if each.condition in ("failed", "unhealthy", "restarting", "dead")]
    return failed or [each for each in mine if each.condition in ("starting", "paused")]


def explain(compose: Compose, wanted: Sequence[str]) -> tuple[list[str], str]:
    """Names of the failed services, and their health output and log as text, secrets hidden."""
    try:
        failed = guilty(compose.engine.containers(compose.project), wanted)
    except StackError as error:
        return [], error.what
    parts = []
    for each in failed:
        parts.append(f"--- {each.service}: {each.condition}" + exit_note(each))
        if each.health_log:
            parts.append(f"last health check: {each.health_log[-1] or '(no output)'}")
        parts.append(f"last {LOG_LINES} log lines:")
        parts.append(compose.engine.log_tail(each.id, LOG_LINES) or "(the log is empty)")
    return [each.service for each in failed], hide_secrets("\n".join(parts), secrets_of(compose))


def exit_note(container: Container) -> str:
    """The exit status in words, where there is one that says something."""
    if container.condition != "failed":
        return ""
    if container.exit_code == 137:
        return " (exit status 137: killed, for lack of memory or after the stop grace period)"
    return f" (exit status {container.exit_code})"


def secrets_of(compose: Compose) -> list[str]:
    """Values of `.env` that must not be shown."""
    example = compose.root / ".env.example"
    marked = set(generated_keys(example.read_text(encoding="utf-8"))) if example.is_file() else set()
    return [
        value
        for key, value in compose.env.values.items()
        if key in marked or key.endswith(("_PASSWORD", "_SECRET", "_TOKEN", "_KEY"))
    ]


def hide_secrets(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret replaced by asterisks."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, "********")
    return text
