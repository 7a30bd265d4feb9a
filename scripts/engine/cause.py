"""Find in a log what made a program fail: the last exception that is not a consequence, or the last fatal line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

TRACEBACK = re.compile(r"^(?P<indent>.*?)Traceback \(most recent call last\):\s*$")
FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)')
# What a server raises because a worker of it failed; the worker's own exception stands before it.
CONSEQUENCES = ("HaltServer", "SystemExit", "KeyboardInterrupt")
LIBRARIES = ("/site-packages/", "/dist-packages/", "/lib/python", "<frozen ")
GO_FATAL = re.compile(r"^(?:panic|fatal error): .+")
GO_FRAME = re.compile(r"^\t(?P<place>/\S+\.go:\d+)")
GO_LIBRARIES = ("/usr/", "/go/pkg/mod/")
LEVELS = ("error", "fatal", "panic", "critical", "dpanic")
LOGFMT = re.compile(rf"\blevel=(?:{'|'.join(LEVELS)})\b", re.IGNORECASE)
# Words by which servers and shells mark the line that says why they gave up.
FATAL = re.compile(r"\b(?:FATAL|PANIC|CRITICAL|Fatal|fatal|panic)\b|^Error:|\berror:|\bERROR\b")
HINT = re.compile(
    r"\b(?:error|failed|cannot|can't|denied|refused|bad|invalid|missing|no such)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Raised:
    """One traceback: the exception's line, and where it was raised; the tree's own code rather than a library's."""

    exception: str
    place: str

    @property
    def text(self) -> str:
        """Both as one line."""
        return f"{self.exception} ({self.place})" if self.place else self.exception


def cause(log: str, *, ended: bool = False) -> str:
    """Return the cause as one line, empty when the log names none. ended: its last line counts."""
    lines = [line for line in log.splitlines() if line.strip()]
    raised = [each for each in tracebacks(lines) if not _is_consequence(each.exception)]
    if raised:
        return raised[-1].text
    found = _go(lines) or _marked(lines)
    return found or (lines[-1].strip() if ended and lines else "")


def tracebacks(lines: Sequence[str]) -> Iterator[Raised]:
    """Yield the Python tracebacks of a log in their order; a chain of exceptions is several."""
    for number, line in enumerate(lines):
        if start := TRACEBACK.match(line):
            indent = start["indent"] if not start["indent"].strip() else ""
            found = _traceback(lines[number + 1 :], indent)
            if found:
                yield found


def _traceback(lines: Sequence[str], indent: str) -> Raised | None:
    places: list[tuple[str, str]] = []
    for line in lines:
        text = line.removeprefix(indent)
        if frame := FRAME.match(text):
            places.append((frame["file"], f"{frame['file']}, line {frame['line']}"))
        elif text and not text[0].isspace():
            own = [place for file, place in places if not any(part in file for part in LIBRARIES)]
            return Raised(text.strip(), (own or [place for _, place in places] or [""])[-1])
    return None


def _is_consequence(exception: str) -> bool:
    return exception.partition(":")[0].rpartition(".")[2].strip() in CONSEQUENCES


def _go(lines: Sequence[str]) -> str:
    for number in range(len(lines) - 1, -1, -1):
        if GO_FATAL.match(lines[number]):
            frames = (GO_FRAME.match(line) for line in lines[number + 1 :])
            places = [frame["place"] for frame in frames if frame]
            own = [place for place in places if not place.startswith(GO_LIBRARIES)]
            return Raised(lines[number].strip(), (own or places or [""])[0]).text
    return ""


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
