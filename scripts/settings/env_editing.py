"""Change single keys of a `.env` file; every other line stays as it was."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from scripts.base import files
from scripts.base.errors import ExitCode, StackError
from scripts.settings.env_syntax import ASSIGNMENT

# Values that every reader takes as they stand.
PLAIN_VALUE = re.compile(r"[A-Za-z0-9_./:@+,=-]*")
PRIVATE = 0o600


def formatted(key: str, value: str) -> str:
    """`KEY=value` so that every reader takes the same value. Raise StackError when that cannot be written."""
    if PLAIN_VALUE.fullmatch(value):
        return f"{key}={value}"
    if any(character in value for character in "'\\\n\r\0"):
        raise StackError(
            f"the value of {key} holds a quote, a backslash or a line break",
            "choose a value without them: Compose and Python would read it differently",
            ExitCode.USAGE,
        )
    return f"{key}='{value}'"


def with_keys(text: str, changes: Mapping[str, str]) -> str:
    """Return the text with the keys set: where they stand, else at the end; every other line as it was."""
    lines = text.splitlines(keepends=True)
    for key, value in changes.items():
        assignment = formatted(key, value) + "\n"
        places = [
            i for i, line in enumerate(lines) if (match := ASSIGNMENT.match(line)) and match["key"] == key
        ]
        if places:
            # The last one is the one that counts.
            lines[places[-1]] = assignment
        else:
            if lines and not lines[-1].endswith("\n"):
                lines[-1] += "\n"
            lines.append(assignment)
    return "".join(lines)


def set_keys(path: Path, changes: Mapping[str, str]) -> bool:
    """Set keys in the file, atomically, comments and owner kept; False when nothing had to change."""
    return _rewrite(path, lambda text: with_keys(text, changes))


def without_keys(text: str, keys: Collection[str]) -> str:
    """Return the text without each assignment of these keys and the comment lines right above it."""
    from io import StringIO

    from dotenv.parser import parse_stream

    kept: list[str] = []
    for binding in parse_stream(StringIO(text)):
        source = binding.original.string
        if binding.key not in keys:
            kept.append(source)
            continue
        # Blank lines in front are handed over together with the assignment.
        lead = source[: len(source) - len(source.lstrip())]
        while not lead and kept and kept[-1].lstrip().startswith("#"):
            lead = kept.pop().partition("#")[0]
        if not "".join(kept[-1:]).endswith("\n\n"):
            kept.append(lead)
    return "".join(kept)


def remove_keys(path: Path, keys: Collection[str]) -> bool:
    """Take keys out of the file, atomically, all else kept; return False when none of them was there."""
    return _rewrite(path, lambda text: without_keys(text, keys))


def _rewrite(path: Path, change: Callable[[str], str]) -> bool:
    """Write the changed text, its owner kept; return False when it is the same."""
    path = path.resolve()
    text = path.read_text(encoding="utf-8")
    changed = change(text)
    if changed == text:
        return False
    found = path.stat()
    files.replace(path, changed, PRIVATE, (found.st_uid, found.st_gid))
    return True
