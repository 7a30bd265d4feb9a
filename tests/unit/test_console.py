"""Remarks and answers go their separate ways, with colours only where somebody sees them."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shlex
from collections.abc import Iterator

import pytest
from rich.console import Console as RichConsole

from scripts.base.console import Console, fitting, rich_table
from tests.unit.fakes import Screen


def test_remarks_never_mix_with_answers() -> None:
    screen = Screen(as_json=True)
    screen.console.say("working")
    screen.console.warn("careful")
    screen.console.document({"ä": 1})
    assert json.loads(screen.out.getvalue()) == {"ä": 1}
    assert screen.err.getvalue() == "working\nwarning: careful\n"


def test_a_command_is_repeated_with_the_flags_that_were_given_quoted_for_a_shell() -> None:
    given = ["invoke", "db-restore", "--dump=it's mine.dump", "--jobs=2"]
    console = Console(command=given)
    assert shlex.split(console.again("db-restore", "--yes")) == [*given, "--yes"]
    assert (
        console.again("db-restore", "--jobs=1") == "invoke db-restore '--dump=it'\"'\"'s mine.dump' --jobs=1"
    )
    assert console.again("compose-up", "--build") == "invoke compose-up --build"


def test_tables_in_a_pipe_are_aligned_text_without_empty_columns() -> None:
    screen = Screen()
    screen.console.table(["name", "port", "note"], [["a", "", "x"], ["longer", "", ""]])
    assert screen.out.getvalue() == "NAME    NOTE\na       x\nlonger\n"


def test_progress_in_a_log_is_one_line_a_change() -> None:
    screen = Screen()
    with screen.console.progress("starting") as update:
        for state in ("starting", "starting", "healthy"):
            update("a", state)
    assert screen.err.getvalue() == "  a: starting\n  a: healthy\n"


def test_nobody_is_asked_without_a_terminal() -> None:
    assert not Screen().console.can_ask


@pytest.fixture
def terminal() -> Iterator[tuple[io.TextIOWrapper, int]]:
    """The writing end of a terminal, and the descriptor where its user sees it."""
    user, program = pty.openpty()
    stream = os.fdopen(program, "w")
    yield stream, user
    stream.close()
    os.close(user)


END = "<end>"


def seen(terminal: tuple[io.TextIOWrapper, int]) -> str:
    """All that the terminal's user has seen; the kernel hands it over in pieces."""
    stream, user = terminal
    stream.write(END)
    stream.flush()
    text = b""
    while END.encode() not in text:
        text += os.read(user, 65536)
    return text.decode().removesuffix(END)


def test_a_terminal_gets_a_drawn_table_with_coloured_states(
    terminal: tuple[io.TextIOWrapper, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = terminal[0]
    Console(out=stream, err=stream).table(["name", "state"], [["a", "healthy"]])
    text = seen(terminal)
    assert "\x1b[32mhealthy" in text
    assert "─" in text


def test_no_color_is_honoured(
    terminal: tuple[io.TextIOWrapper, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = terminal[0]
    console = Console(out=stream, err=stream)
    console.table(["name", "state"], [["a", "healthy"]])
    console.warn("careful")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", seen(terminal))


def test_a_dumb_terminal_gets_plain_lines(
    terminal: tuple[io.TextIOWrapper, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = terminal[0]
    Console(out=stream, err=stream).table(["name"], [["a"]])
    assert seen(terminal) == "NAME\r\na\r\n"


def test_progress_on_a_terminal_is_the_latest_state_and_clears_itself(
    terminal: tuple[io.TextIOWrapper, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = terminal[0]
    with Console(out=stream, err=stream).progress("seeding") as update:
        update("runs", "3 of 12")
    text = seen(terminal)
    assert "seeding: runs 3 of 12" in text
    assert text.rstrip().endswith("\x1b[2K")


SERVICES = ["service", "state", "ports", "purpose"]
ROWS = [
    ["elevationquery", "healthy", "127.0.0.1:8002", "Elevation at a point of a run"],
    ["a", "done", "", "Short"],
]


@pytest.mark.parametrize(
    ("width", "header", "first"),
    [
        (80, SERVICES, ROWS[0]),
        (60, SERVICES, [*ROWS[0][:3], "Elevation at a poi…"]),
        (45, SERVICES[:3], ROWS[0][:3]),
        (30, SERVICES[:2], ROWS[0][:2]),
        (10, ["service"], ["elevation…"]),
    ],
)
def test_a_live_table_has_as_many_columns_as_the_terminal_is_wide(
    width: int, header: list[str], first: list[str]
) -> None:
    columns, rows = fitting(SERVICES, ROWS, width)
    assert (columns, rows[0]) == (header, first)
    drawn = io.StringIO()
    RichConsole(file=drawn, width=width).print(rich_table(columns, rows))
    lines = [line for line in drawn.getvalue().splitlines() if line.strip()]
    assert len(lines) == 2 + len(ROWS)  # a row is a line


def test_names_stay_whole_in_a_table_for_a_narrow_terminal() -> None:
    drawn = io.StringIO()
    RichConsole(file=drawn, width=60).print(rich_table(SERVICES, ROWS))
    assert "elevationquery" in drawn.getvalue()
