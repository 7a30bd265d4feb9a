"""Change single keys of a `.env` file; every other line stays as it was."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from scripts.base import files
from scripts.base.errors import usage

# Values that every reader takes as they stand.
PLAIN_VALUE = re.compile(r"[A-Za-z0-9_./:@+,=-]*")
PRIVATE = 0o600


def formatted(key: str, value: str) -> str:
    """`KEY=value` so that every reader takes the same value. Raise StackError when that cannot be written."""
    if PLAIN_VALUE.fullmatch(value):
        return f"{key}={value}"
    if any(character in value for character in "'\\\n\r\0"):
        usage(
            f"the value of {key} holds a quote, a backslash or a line break",
            "choose a value without them: Compose and Python would read it differently",
        )
    return f"{key}='{value}'"


def with_keys(text: str, changes: Mapping[str, str | None]) -> str:
    """Return the text with the keys set, where they stand or else at the end; every other line as it was.

    A key that is None is taken out, each time that it stands there, with the comment lines right above it.
    """
    from io import StringIO

    from dotenv.parser import parse_stream

    bindings = list(parse_stream(StringIO(text)))
    # The last one is the one that counts.
    last = {each.key: number for number, each in enumerate(bindings) if each.key}
    parts: list[str] = []
    for number, each in enumerate(bindings):
        source, key = each.original.string, each.key or ""
        value = changes.get(key, source)
        # Blank lines in front are handed over together with the assignment.
        lead = source[: len(source) - len(source.lstrip())]
        if value is None:
            while not lead and parts and parts[-1].lstrip().startswith("#"):
                lead = parts.pop().partition("#")[0]
            if not "".join(parts[-1:]).endswith("\n\n"):
                parts.append(lead)
        elif key in changes and number == last[key]:
            parts.append(f"{lead}{formatted(key, value)}\n")
        else:
            parts.append(source)
    new = {key: value for key, value in changes.items() if value is not None and key not in last}
    if new and parts and not parts[-1].endswith("\n"):
        parts.append("\n")
    return "".join([*parts, *(f"{formatted(key, value)}\n" for key, value in new.items())])


def set_keys(path: Path, changes: Mapping[str, str | None]) -> bool:
    """Change keys in the file as `with_keys` does, atomically, its owner kept; False when nothing had to change."""
    path = path.resolve()
    text = path.read_text(encoding="utf-8")
    changed = with_keys(text, changes)
    if changed == text:
        return False
    found = path.stat()
    files.replace(path, changed, PRIVATE, (found.st_uid, found.st_gid))
    return True
