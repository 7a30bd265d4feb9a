"""The one reading of the text of a `.env` file, and the check that Compose would read the same.

Compose expands `$` and escapes in values where python-dotenv does not; only text without `$`, `\\` and quotes, or
text in single quotes, is the same for both (docker/compose#11058). What differs is reported, never guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ASSIGNMENT = re.compile(r"\s*(?:export\s+)?(?P<key>[^=#\s:]+)\s*=[ \t]*(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a `.env` file. fatal: no task can work with it."""

    line: int
    what: str
    fix: str
    fatal: bool = True


@dataclass(frozen=True)
class EnvFile:
    """What a `.env` file says: its values in order, and what is wrong with it."""

    path: Path
    values: dict[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def get(self, key: str, default: str = "") -> str:
        """Return the value, or `default` when the key is missing or empty."""
        return self.values.get(key) or default


def parse(text: str, path: Path) -> EnvFile:
    """Read the text of a `.env` file; what is wrong with it is collected, not raised."""
    from io import StringIO

    from dotenv.parser import parse_stream

    problems: list[Problem] = []
    values: dict[str, str] = {}
    if text.startswith("\ufeff"):
        problems.append(Problem(1, "starts with a byte order mark", "save it as UTF-8 without BOM"))
        text = text.removeprefix("\ufeff")
    for binding in parse_stream(StringIO(text)):
        # The parser hands blank lines over together with the assignment after them.
        lead = binding.original.string
        line = binding.original.line + lead[: len(lead) - len(lead.lstrip())].count("\n")
        source = lead.strip()
        if binding.error:
            problems.append(Problem(line, f"is malformed: {excerpt(source)}", "write it as KEY=value"))
        elif binding.key is not None:
            problems.extend(_problems_of(line, binding.key, binding.value, source, values))
            values[binding.key] = binding.value or ""
    if not values and not problems:
        problems.append(Problem(1, "is empty", "delete it and run `invoke env-init`"))
    return EnvFile(path, values, tuple(problems))


def _problems_of(
    line: int, key: str, value: str | None, source: str, earlier: Mapping[str, str]
) -> list[Problem]:
    problems = []
    if not KEY.fullmatch(key):
        problems.append(
            Problem(
                line, f"has a key Compose refuses: {excerpt(key)}", "use letters, digits and underscores only"
            )
        )
    if value is None:
        problems.append(Problem(line, f"has no `=`: {excerpt(source)}", f"write it as {key}=value"))
    elif why := different_readings(source):
        problems.append(
            Problem(
                line,
                f"{key} is read differently by Compose and by Python: {why}",
                f"put the value in single quotes: {key}='...'",
                fatal=False,
            )
        )
    if key in earlier:
        problems.append(
            Problem(line, f"{key} is there twice, the last one counts", "delete one of them", False)
        )
    return problems


def different_readings(source: str) -> str:
    """Return why Compose and python-dotenv would take different values from this assignment; empty when they agree."""
    match = ASSIGNMENT.match(source)
    if not match:
        return ""
    value = match["value"].strip()
    if quote := value[:1] if value[:1] in ("'", '"') else "":
        kind = "single" if quote == "'" else "double"
        if kind == "double" and "$" in value:
            return "`$` inside double quotes"
        return f"a backslash inside {kind} quotes" if "\\" in value else ""
    # A comment after a blank is no part of the value for either.
    return "`$` outside single quotes" if "$" in re.split(r"\s#", value, maxsplit=1)[0] else ""


def excerpt(source: str) -> str:
    """Return enough of a line to find it, never a value: it may be a secret."""
    head = re.split(r"[=\s]", source.strip(), maxsplit=1)[0][:30]
    return f"`{head}...`"
