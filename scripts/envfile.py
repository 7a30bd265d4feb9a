"""Owns the one reading of a `.env` file, the check that Compose would read the same, and changes of single keys.

Compose expands `$` and escapes in values where python-dotenv does not; only text without `$`, `\\` and quotes, or
text in single quotes, is the same for both (docker/compose#11058). What differs is reported, never guessed at.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts import files
from scripts.errors import ExitCode, StackError

KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Values that every reader takes as they stand.
PLAIN_VALUE = re.compile(r"[A-Za-z0-9_./:@+,=-]*")
ASSIGNMENT = re.compile(r"\s*(?:export\s+)?(?P<key>[^=#\s:]+)\s*=[ \t]*(?P<value>.*)", re.DOTALL)
PRIVATE = 0o600


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
        """The value, or `default` when the key is missing or empty."""
        return self.values.get(key) or default


def read(path: Path) -> EnvFile:
    """Reads a `.env` file. Raises StackError when there is none or it cannot be read as text."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise StackError(
            f"{shown(path)} is missing", "run `invoke env-init`, it writes one with fresh secrets"
        ) from error
    except UnicodeDecodeError as error:
        raise StackError(
            f"{shown(path)} is not UTF-8 text (byte {error.start})", "save it again as plain UTF-8 text"
        ) from error
    except OSError as error:
        raise StackError(
            f"{shown(path)} cannot be read: {error.strerror}",
            f"make it readable for yourself: sudo chown {os.getuid()} {shown(path)}",
        ) from error
    return parse(text, path)


def parse(text: str, path: Path) -> EnvFile:
    """Reads the text of a `.env` file; what is wrong with it is collected, not raised."""
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
    """Why Compose and python-dotenv would take different values from this assignment; empty when they agree."""
    match = ASSIGNMENT.match(source)
    if not match:
        return ""
    value = match["value"].strip()
    if value.startswith("'"):
        return "a backslash inside single quotes" if "\\" in value else ""
    if value.startswith('"'):
        if "$" in value:
            return "`$` inside double quotes"
        return "a backslash inside double quotes" if "\\" in value else ""
    # A comment after a blank is no part of the value for either.
    value = re.split(r"\s#", value, maxsplit=1)[0]
    return "`$` outside single quotes" if "$" in value else ""


def refuse_fatal(env: EnvFile) -> None:
    """Raises StackError for the first problem that makes the file unusable."""
    for problem in env.problems:
        if problem.fatal:
            raise StackError(
                f"{shown(env.path)} line {problem.line} {problem.what}", problem.fix, ExitCode.NOT_READY
            )


def formatted(key: str, value: str) -> str:
    """`KEY=value` so that every reader takes the same value. Raises StackError when that cannot be written."""
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
    """The text with the keys set: where they stand, else at the end; every other line as it was."""
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
    """Sets keys in the file, atomically, comments and owner kept; False when nothing had to change."""
    return _rewrite(path, lambda text: with_keys(text, changes))


def write_private(path: Path, text: str, *, owner: os.stat_result | tuple[int, int] | None = None) -> None:
    """Writes the file whole or not at all, for its owner's eyes only (0600).

    owner: whose it shall be (a stat result or uid and gid); only root can give files away, others are ignored.
    """
    ids = (owner.st_uid, owner.st_gid) if isinstance(owner, os.stat_result) else owner
    files.replace(path, text, PRIVATE, ids)


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
    write_private(path, changed, owner=path.stat())
    return True


def excerpt(source: str) -> str:
    """Enough of a line to find it, never a value: it may be a secret."""
    head = re.split(r"[=\s]", source.strip(), maxsplit=1)[0][:30]
    return f"`{head}...`"


def shown(path: Path) -> str:
    """The path as the user would type it: relative where it is below the current folder."""
    with contextlib.suppress(ValueError, OSError):
        return str(path.absolute().relative_to(Path.cwd()))
    return str(path)
