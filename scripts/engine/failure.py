"""Explain why services failed: causes found in their logs, last health output, last lines, secrets hidden.

The cause is the last exception that is not a consequence of another, or the last line that marks itself as fatal.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from scripts.base.clock import Clock
from scripts.base.errors import fail
from scripts.engine.compose import ALL_PROFILES, Compose
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
# A service is looked at every 30 s; a worker whose store was away needs some seconds more.
RECOVERY_SECONDS, PAUSE_SECONDS = 120.0, 1.0

TRACEBACK = re.compile(r"^(?P<indent>.*?)Traceback \(most recent call last\):\s*$")
FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)')
# What a server raises because a worker of it failed; the worker's own exception stands before it.
CONSEQUENCES = ("HaltServer", "SystemExit", "KeyboardInterrupt")
LIBRARIES = ("/site-packages/", "/dist-packages/", "/lib/python", "<frozen ")
LEVELS = ("error", "fatal", "panic", "critical", "dpanic")
LOGFMT = re.compile(rf"\blevel=(?:{'|'.join(LEVELS)})\b", re.IGNORECASE)
# Words by which servers and shells mark the line that says why they gave up.
FATAL = re.compile(r"\b(?:FATAL|PANIC|CRITICAL|Fatal|fatal|panic)\b|^Error:|\berror:|\bERROR\b")
HINT = re.compile(
    r"\b(?:error|failed|cannot|can't|denied|refused|bad|invalid|missing|no such)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Failed:
    """One service that failed: why, as one line (empty when it cannot be told), and what it wrote."""

    service: str
    cause: str
    details: str

    @property
    def text(self) -> str:
        return f"{self.service}: {self.cause}" if self.cause else self.service


def explain(compose: Compose, wanted: Sequence[str]) -> list[Failed]:
    """Return which of the wanted services failed by themselves; when none did, those that are not ready yet.

    A service that merely waited for a failed one is left out: its log says nothing. Raise StackError when the engine
    does not answer.
    """
    containers = [each for each in compose.containers() if each.service in wanted]
    found = [each for each in containers if _has_failed(each)]
    found = found or [each for each in containers if each.condition in WAITING]
    secrets = secrets_of(compose)
    return [_explained(compose, each, secrets) for each in found]


def _has_failed(container: Container) -> bool:
    # Between two starts, one that fails again and again is `starting`.
    again = container.condition == "starting" and container.restarts > 0
    return container.condition in BROKEN or bool(container.error) or again


def _explained(compose: Compose, container: Container, secrets: Sequence[str]) -> Failed:
    rows = compose.engine.log(container.id, "--tail", str(SEARCHED_LINES))
    ended = container.condition in ("failed", "restarting", "dead")
    # An earlier start of the same container may have failed for another reason, long ago.
    latest = "\n".join(line for moment, line in rows if moment >= container.started_at)
    log = "\n".join(line for _, line in rows)
    why = container.error or cause(latest, ended=ended and bool(latest)) or cause(log, ended=ended)
    if not why and container.health_log and container.condition == "unhealthy":
        why = container.health_log[-1].strip()
    why = hide_secrets(" ".join(why.split()), secrets)
    parts = [f"--- {container.service}: {container.condition}{container.exit_text}"]
    if why:
        parts.append(f"cause: {why}")
    if container.health_log:
        parts.append(f"last health check: {container.health_log[-1] or '(no output)'}")
    parts.append(f"last {LOG_LINES} log lines:")
    parts.append("\n".join(line for _, line in rows[-LOG_LINES:]) or "(the log is empty)")
    return Failed(container.service, why, hide_secrets("\n".join(parts), secrets))


def details(failed: Iterable[Failed]) -> str:
    """Return all that is known of the failed services as text."""
    return "\n".join(each.details for each in failed)


def around(compose: Compose, service: str, since: str, error_id: str = "") -> Failed:
    """Return what a service wrote from a moment on, or from the line on that bears an error's number.

    since: as the engine writes moments. Raise StackError when the engine does not answer.
    """
    rows: list[tuple[str, str]] = []
    for each in compose.containers([service]):
        rows += compose.engine.log(each.id, "--tail", str(SEARCHED_LINES))
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


# ---- the cause in a log ----


def cause(log: str, *, ended: bool = False) -> str:
    """Return the cause as one line, empty when the log names none. ended: its last line counts."""
    lines = [line for line in log.splitlines() if line.strip()]
    for exception, place in reversed(list(_python(lines))):
        if exception.partition(":")[0].rpartition(".")[2].strip() not in CONSEQUENCES:
            return f"{exception} ({place})" if place else exception
    return _marked(lines) or (lines[-1].strip() if ended and lines else "")


def _python(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the tracebacks of a log in their order: the exception's line, and where it was raised.

    A chain of exceptions is several. The tree's own code counts rather than a library's.
    """
    for number, line in enumerate(lines):
        if start := TRACEBACK.match(line):
            indent = start["indent"] if not start["indent"].strip() else ""
            places: list[tuple[str, str]] = []
            for text in (each.removeprefix(indent) for each in lines[number + 1 :]):
                if frame := FRAME.match(text):
                    places.append((frame["file"], f"{frame['file']}, line {frame['line']}"))
                elif text and not text[0].isspace():
                    own = [place for file, place in places if not any(part in file for part in LIBRARIES)]
                    yield text.strip(), (own or [place for _, place in places] or [""])[-1]
                    break


def _marked(lines: Sequence[str]) -> str:
    for line in reversed(lines):
        text = _entry(line) or (line.strip() if LOGFMT.search(line) or FATAL.search(line) else "")
        if text:
            return text
    return next((line.strip() for line in reversed(lines) if HINT.search(line)), "")


def _entry(line: str) -> str:
    """Message and error of a line of JSON whose level is that of an error."""
    try:
        entry = json.loads(line)
    except ValueError:
        return ""
    if not isinstance(entry, dict) or str(entry.get("level", "")).lower() not in LEVELS:
        return ""
    parts = [str(entry[key]) for key in ("msg", "message", "error", "err") if entry.get(key)]
    return ": ".join(dict.fromkeys(parts))


# ---- healthy again ----


def unhealthy_after(
    compose: Compose,
    clock: Clock,
    services: Collection[str] | None = None,
    *,
    seconds: float = RECOVERY_SECONDS,
) -> list[str]:
    """Wait until every running container is healthy, of these services or of all; return the services not in time.

    Raise StackError when the engine does not answer.
    """
    deadline = clock.monotonic() + seconds
    while True:
        left = sorted(each.service for each in compose.containers(services, running=True) if not each.fine)
        if not left or clock.monotonic() >= deadline:
            return left
        clock.sleep(PAUSE_SECONDS)


def restart_and_wait(
    compose: Compose, present: Sequence[str], wanted: Sequence[str], seconds: int, flags: Sequence[str] = ()
) -> None:
    """Restart containers of services, then wait until the wanted ones are healthy, started where they are missing.

    flags: for `docker compose restart`. Raise StackError when one is not healthy within the seconds.
    """
    wait = ["--no-build", "--no-recreate", "--no-deps", "--wait", "--wait-timeout", str(seconds)]
    steps = [["restart", *flags, *present]] if present else []
    steps += [["up", "--detach", *wait, *wanted]] if wanted else []
    for arguments in steps:
        if not compose.stream(*arguments, profiles=ALL_PROFILES).ok:
            names = [*present, *wanted]
            failed = explain(compose, names)
            fail(
                f"not healthy after the restart: {'; '.join(each.text for each in failed) or ', '.join(names)}",
                "the lines above say why; `invoke compose-up` starts what is missing",
                details=details(failed),
            )
