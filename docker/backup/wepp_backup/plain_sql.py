"""SQL as pg_dump writes it: statements and rows, found as the server itself finds them.

psql would run what a dump tells it to, a shell included (CVE-2025-8714). Here a backslash outside of quotes is never
more than a line that is skipped (\\restrict, \\unrestrict) or the reason to refuse the dump.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import IO

from wepp_backup.dump_file import damaged
from wepp_backup.events import Problem, refuse
from wepp_backup.row_counts import table_name

CHUNK = 256 << 10  # bytes that are read at once
TITLE_BYTES = 4096
LONGEST = 128 << 20  # bytes of a statement: behind a quotation mark too many all the rest would be one
LOOK_AHEAD = 8  # bytes: the longest word that is looked for behind another, and a bit
ROWS_END = b"\\.\n"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
CLOSING = re.compile(rb"(?m)^-- PostgreSQL database dump complete$")

# The tokens of SQL, as PostgreSQL's scan.l and psqlscan.l know them. Possessive throughout: a token that does not end
# in the text is never taken for another one.
_WORD_REST = rb"[A-Za-z0-9_$\x80-\xff]"
_WORD = rb"[A-Za-z_\x80-\xff]" + _WORD_REST + rb"*+"
_COMMENT = rb"--[^\r\n]*+"
# A string goes on after a line break, in the manner in which it began.
_BETWEEN = rb"(?:[ \t\f\v]|" + _COMMENT + rb")*+[\r\n](?:\s|" + _COMMENT + rb"[\r\n])*+"
_ESCAPED = rb"'(?:[^'\\]++|\\.|'')*+'"
_ESCAPED += rb"(?:" + _BETWEEN + _ESCAPED + rb")*+(?!" + _BETWEEN + rb"')"
_STOPS = rb"|(?i:begin|case|end)(?!" + _WORD_REST + rb")"
NAME = rb'(?:"(?:[^"]|"")++"|' + _WORD + rb")"
COLUMNS = rb"(?: \((?:" + NAME + rb"(?:, )?)*+\))?"


@cache
def _run(escapes: bool, routine: bool) -> re.Pattern[bytes]:
    """Return the pattern of what cannot end a statement. escapes: a backslash does so in '...'.

    routine: the statement may have a body with statements of its own, so the words that make one stop it.
    """
    each = (
        rb"[^'\"$\\()/;\-A-Za-z_\x80-\xff]++|[eE]" + _ESCAPED + rb"|(?![eE]'" + (_STOPS if routine else b"") + rb")"
        + _WORD + rb"|" + (_ESCAPED if escapes else rb"'[^']*+'") + rb'|"[^"]*+"|\$[0-9]++|' + _COMMENT
        + rb"|-(?!-)|/(?!\*)"
    )  # fmt: skip
    return re.compile(rb"(?s)(?:" + each + rb"|\((?:" + each + rb")*+\))*+")


_BLANK = re.compile(rb"(?:\s++|" + _COMMENT + rb")*+")
_COMMENT_MARK = re.compile(rb"/\*|\*/")
_DOLLAR = re.compile(rb"\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*+)?(\$?)")
_NEXT_WORD = re.compile(_WORD)
_ROUTINE = re.compile(rb"(?i)create(?:\s+or\s+replace)?\s+(?:function|procedure)\b")
_ESCAPES = re.compile(rb"(?i)set\s+standard_conforming_strings\s*(?:=|to)\s*'?(on|off)'?\s*;")
# Rows of --inserts in a hurry: the strings of these hold no backslash, so that they are the same under any setting.
_PLAIN_INSERT = re.compile(
    rb"INSERT INTO [^'\"$\\/;\-]*+(?:(?:(?<![eE])'[^'\\]*+'|-(?!-))[^'\"$\\/;\-]*+)*+;\n"
)
# No other way to copy is taken: one of them runs a program at the server.
_COPY_ROWS = re.compile(rb"COPY ((?:(%b)\.)?(%b))%b +FROM stdin;" % (NAME, NAME, COLUMNS))
_OF_DATABASE = re.compile(
    rb"(?i)(?:(create)|alter|drop|comment\s+on|(?:grant|revoke)\s[a-z,\s]*?\son|security\s+label\s[^\"']*?\son|"
    rb"alter\s+role\s+" + NAME + rb"\s+in)\s+database\s+(" + NAME + rb")"
)  # fmt: skip
_OF_SERVER = re.compile(rb"(?i)create\s+(?:role|user|group|tablespace)\s+(?!mapping)")


class Script:
    """Reads SQL: `statements()`, and after each `COPY ... FROM stdin` its `rows()`.

    Raises Problem for what is no whole dump of one database.
    """

    def __init__(
        self, stream: IO[bytes], path: Path, on_read: Callable[[int], None] = lambda _: None
    ) -> None:
        """path: of the dump, for messages; on_read: gets the number of bytes read so far."""
        self.line = 1  # at which the latest statement begins
        self.copies = 0
        self.table, self.name = b"", ""  # of the latest COPY: as it stands there, and as in counts
        self.rows_read = 0  # of the latest COPY, when its rows were read to their end
        self.is_closed = False  # the comment at the end of a whole dump was met
        self.is_translated = False  # its lines end with CR LF; it is read as if they did not
        self.database = ""  # that it makes (pg_dump --create)
        self._stream, self.path, self._on_read = stream, path, on_read
        self._text, self._at, self._next_line, self._bytes = b"", 0, 1, 0
        self._connected = (
            b""  # the command that connects to the database it makes, here to the one that is there
        )
        self._ended = self._in_rows = self._escapes = False
        self._more()
        self.title = self._text[:TITLE_BYTES]

    def statements(self) -> Iterator[bytes]:
        """Return each statement with its semicolon, without what belongs to the database as such (--create)."""
        while True:
            for _ in self.rows():
                pass
            if not self.is_closed and (insert := _PLAIN_INSERT.match(self._text, self._at)):
                self.line = self._next_line
                yield self._pass(insert.end())
                continue
            passed = self._pass(self._reach(_blank_end))
            self.is_closed = self.is_closed or CLOSING.search(passed) is not None
            if self._at == len(self._text):
                return
            self.line = self._next_line
            if self.is_closed and not self._text.startswith(b"\\unrestrict ", self._at):
                raise damaged(self.path, "something follows its closing line")
            if self._text.startswith(b"\\", self._at):
                self._command(self._pass(self._reach(_line_end)))
            elif self._is_ours(statement := self._pass(self._reach(self._statement_end))):
                yield statement

    def rows(self) -> Iterator[bytes]:
        """Return the rows of the COPY that was returned last, in pieces of any length."""
        at_start = True
        while self._in_rows:
            if at_start and self._text.startswith(ROWS_END, self._at):
                end, self._in_rows = self._at, False
            elif (found := self._text.find(b"\n" + ROWS_END, self._at)) >= 0:
                end, self._in_rows = found + 1, False
            else:
                # What may be the beginning of the end mark stays.
                end = max(self._at, len(self._text) - len(ROWS_END))
            if end > self._at:
                at_start = self._text.endswith(b"\n", self._at, end)
                before = self._next_line
                piece = self._pass(end)
                self.rows_read += self._next_line - before
                yield piece
            if not self._in_rows:
                self._pass(self._at + len(ROWS_END))
            elif not self._more():
                raise damaged(self.path, "it ends inside the rows of a table")

    def check_end(self) -> None:
        """Raise Problem unless the whole dump was read, by the comment that pg_dump ends it with."""
        if not self.is_closed:
            raise damaged(self.path, "it is not complete, its closing line is missing")

    def _is_ours(self, statement: bytes) -> bool:
        if setting := _ESCAPES.match(statement):
            self._escapes = setting[1].lower() == b"off"
        elif belongs := _OF_DATABASE.match(statement):
            if belongs[1] and self.database:
                raise self._refused("makes another database")
            self.database = unquoted(belongs[2]) if belongs[1] else self.database
            return False
        elif _OF_SERVER.match(statement):
            raise self._refused("makes a role or a tablespace")
        elif statement[:4].lower() == b"copy":
            copy = _COPY_ROWS.fullmatch(statement)
            if not copy or not self._text.startswith(b"\n", self._at):
                raise self._refused("copies in another way than dumps do")
            self.table, self.name = copy[1], name_of(copy[2], copy[3])
            self._pass(self._at + 1)
            self._in_rows, self.rows_read, self.copies = True, 0, self.copies + 1
        return statement != b";"

    def _command(self, line: bytes) -> None:
        if line.startswith(b"\\connect ") and self.database and self._connected in (b"", line):
            self._connected = line
        elif not line.startswith((b"\\restrict ", b"\\unrestrict ")):
            raise self._refused(f"holds a command for psql ({line[:20].decode(errors='replace')})")

    def _refused(self, why: str) -> Problem:
        what = f"{self.path} is not loaded: line {self.line} {why}, which no dump of one database needs"
        return refuse(what, "dump the one database again: `pg_dump -Fc`")

    def _statement_end(self, text: bytes, start: int) -> int:
        """Return where the statement ends that begins at `start`; -1 when it does not end in this text."""
        routine = _ROUTINE.match(text, start) is not None
        run = _run(self._escapes, routine)
        at, depth, blocks = start, 0, 0
        while (at := run.match(text, at).end()) < len(text):  # type: ignore[union-attr] # matches even nothing
            char = text[at : at + 1]
            if char == b";" and not depth and not blocks:
                return at + 1
            if char in b"(;)":
                depth = max(depth + (char == b"(") - (char == b")"), 0)
                at += 1
            elif char == b"$" and (opening := _DOLLAR.match(text, at)):
                end = text.find(opening[0], opening.end()) if opening[1] else -1
                if end < 0:
                    return -1
                at = end + len(opening[0])
            elif char == b"/":
                if (at := _comment_end(text, at)) < 0:
                    return -1
            elif char == b"\\":
                raise self._refused(
                    f"holds a command for psql ({text[at : at + 20].decode(errors='replace')})"
                )
            elif (word := _NEXT_WORD.match(text, at)) and (kind := word[0].lower()) in (
                b"begin",
                b"case",
                b"end",
            ):
                at = word.end()
                if kind == b"begin" and not depth and not blocks:
                    after = _blank_end(text, at)
                    blocks = int(text[after : after + 6].lower() == b"atomic")
                elif blocks and not depth:
                    blocks += -1 if kind == b"end" else 1
            else:
                return -1  # inside quotes
        return -1

    def _reach(self, end_of: Callable[[bytes, int], int]) -> int:
        """Return where something ends, reading on until that is certain."""
        while (end := end_of(self._text, self._at)) < 0 or (
            end > len(self._text) - LOOK_AHEAD and not self._ended
        ):
            if not self._more() and end < 0:
                raise damaged(self.path, f"it ends inside the statement that begins at line {self.line}")
        return end

    def _pass(self, end: int) -> bytes:
        passed = self._text[self._at : end]
        self._at = end
        self._next_line += passed.count(b"\n")
        return passed

    def _more(self) -> bool:
        """Read on, as much as is left over at least: what is long is not looked at too often. False at the end."""
        rest = self._text[self._at :]
        if len(rest) > LONGEST:
            raise damaged(
                self.path, f"line {self._next_line} begins a statement of more than {LONGEST >> 20} MB"
            )
        read = self._stream.read(max(CHUNK, len(rest)))
        self._ended = not read
        self._bytes += len(read)
        self._on_read(self._bytes)
        if not self._text:
            read = read.removeprefix(BYTE_ORDER_MARK)
            # As a terminal or another system's text files have them: every one was LF.
            self.is_translated = b"\r\n" in read[: read.find(b"\n") + 1]
        if self.is_translated:
            while read.endswith(b"\r") and (more := self._stream.read(1)):
                read += more
            read = read.replace(b"\r\n", b"\n")
        if b"\0" in read:
            raise damaged(self.path, "it holds zero bytes")
        self._text, self._at = rest + read, 0
        return not self._ended


def unquoted(name: bytes) -> str:
    """Return the name that an identifier of SQL stands for."""
    text = name.decode(errors="replace")
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def name_of(schema: bytes | None, table: bytes) -> str:
    """Return the name in counts of a table that SQL names so."""
    return table_name(unquoted(schema or b"public"), unquoted(table))


def _blank_end(text: bytes, at: int) -> int:
    """Return where blanks and comments end; -1 inside a comment."""
    while text.startswith(b"/*", at := _BLANK.match(text, at).end()):  # type: ignore[union-attr] # matches even nothing
        if (at := _comment_end(text, at)) < 0:
            break
    return at


def _comment_end(text: bytes, at: int) -> int:
    depth = 0
    for mark in _COMMENT_MARK.finditer(text, at):
        depth += 1 if mark[0] == b"/*" else -1
        if not depth:
            return mark.end()
    return -1


def _line_end(text: bytes, at: int) -> int:
    end = text.find(b"\n", at)
    return len(text) if end < 0 else end
