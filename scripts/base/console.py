"""What the user sees: rich where there is a terminal, plain lines otherwise (cron, pipes, NO_COLOR, CI).

Remarks and progress go to stderr; stdout carries the answer, so that `--json` is one document and nothing else.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from rich.filesize import decimal

from scripts.base.clock import SYSTEM_CLOCK, Clock
from scripts.base.errors import refuse

if TYPE_CHECKING:
    from rich.table import Table

# Colours by word, so that a state looks the same in every table.
STYLES = {
    "ok": "green",
    "healthy": "green",
    "done": "green",
    "running": "green",
    "warning": "yellow",
    "starting": "yellow",
    "waiting": "yellow",
    "error": "red",
    "unhealthy": "red",
    "failed": "red",
    "exited": "red",
    "restarting": "red",
}


# Between two columns, and the fewest characters of a cell that still tell something.
GAP = "  "
SHORTEST_CUT = 8

# Seconds between two lines about a phase of long work in a log.
QUIET_SECONDS = 30.0
# Takes a phase's name, how many bytes of it are done, and of how many (0: not known).
PhaseUpdate = Callable[[str, int, int], None]
# Takes a name and its new state.
Update = Callable[[str, str], None]
# Takes the rows of a table and its title.
Show = Callable[[Sequence[Sequence[str]], str], None]


class Console:
    """Prints to `out` (answers) and `err` (remarks). as_json: the answer will be one JSON document.

    command: the one that was given, `invoke TASK` and its flags, to be repeated in messages.
    """

    def __init__(
        self,
        *,
        as_json: bool = False,
        out: TextIO | None = None,
        err: TextIO | None = None,
        command: Sequence[str] = (),
    ) -> None:
        self.command = list(command)
        self.as_json = as_json
        self.out = out or sys.stdout
        self.err = err or sys.stderr

    # ---- what it is talking to ----

    @property
    def can_ask(self) -> bool:
        """Return True when somebody is there to answer: a terminal on both sides."""
        return not self.as_json and sys.stdin.isatty() and self.err.isatty()

    @property
    def pretty(self) -> bool:
        """Return True when the answer is read on a terminal that can draw."""
        return self.out.isatty() and _can_draw()

    @property
    def lively(self) -> bool:
        """Return True when remarks go to a terminal that can draw: progress may redraw itself."""
        return self.err.isatty() and _can_draw()

    def again(self, task: str, *flags: str) -> str:
        """Return the command for a shell that does what this one was given to do, with these flags set.

        task: its name, where no command was given or it is another one's.
        """
        given = self.command if self.command[1:2] == [task] else ["invoke", task]
        names = {flag.partition("=")[0] for flag in flags}
        return shlex.join([*(word for word in given if word.partition("=")[0] not in names), *flags])

    # ---- remarks ----

    def say(self, text: str) -> None:
        """One remark, as a line."""
        print(text, file=self.err, flush=True)

    def warn(self, text: str) -> None:
        """One remark that the user should not miss."""
        if self.lively and not os.environ.get("NO_COLOR"):
            text = f"\x1b[33mwarning:\x1b[0m {text}"
        else:
            text = f"warning: {text}"
        self.say(text)

    # ---- questions before something is deleted or replaced; silence is a no ----

    def require_name(self, project: str, yes: str, *, question: str, fix: str) -> None:
        """Return when `yes`, or what somebody at the terminal types, is the project's name.

        question: ends the sentence "type the project's name to ...". fix: the command that says yes in a script.
        Raise StackError (refused, nothing changed) for another name, and where nobody is there to answer.
        """
        if yes and yes != project:
            refuse(f"--yes={yes} is not the name of this project ({project}); nothing was changed", fix)
        if not yes and self._ask(f"type the project's name to {question}: ", fix) != project:
            refuse("that is not the project's name; nothing was changed", fix)

    def require_yes(self, yes: bool, question: str, command: str) -> None:
        """Return when `yes` was said on the command line or is typed now: for what can be undone, but not by itself.

        command: the one that says yes in a script. Raise StackError (refused, nothing changed).
        """
        fix = f"to do it: {command}"
        if not yes and self._ask(f"{question}\ntype yes to do it: ", fix).lower() not in ("yes", "y"):
            refuse("not confirmed; nothing was changed", fix)

    def _ask(self, question: str, fix: str) -> str:
        if not self.can_ask:
            refuse("nobody is here to confirm that; nothing was changed", fix)
        self.err.write(question)
        self.err.flush()
        return sys.stdin.readline().strip()

    # ---- answers ----

    def document(self, answer: object) -> None:
        print(json.dumps(answer, indent=2, ensure_ascii=False), file=self.out, flush=True)

    def text(self, answer: str) -> None:
        print(answer, file=self.out, flush=True)

    def answer(self, document: object, text: str) -> None:
        """The answer as JSON where that is asked for, else as text."""
        if self.as_json:
            self.document(document)
        else:
            self.text(text)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """The answer as a table; empty columns are left out; plain text where there is no terminal."""
        columns, rows = without_empty_columns(columns, rows)
        if not self.pretty:
            for line in plain_table(columns, rows):
                print(line, file=self.out)
            self.out.flush()
            return
        from rich.console import Console as RichConsole

        RichConsole(file=self.out).print(rich_table(columns, rows))

    @contextmanager
    def live(self, columns: Sequence[str]) -> Iterator[Show]:
        """Yield a function that draws a table on the whole terminal, until left; only where `pretty`.

        A line for each row, as wide as the terminal: what wraps would push others off the screen.
        """
        from rich.console import Console as RichConsole
        from rich.live import Live

        screen = RichConsole(file=self.out)
        with Live(console=screen, auto_refresh=False, screen=True) as live:
            yield lambda rows, title: live.update(
                rich_table(*fitting(columns, rows, screen.width), title), refresh=True
            )

    @contextmanager
    def progress(self, title: str) -> Iterator[Update]:
        """Yield a function that tells states: on a terminal the latest beside `title`, else a line for each change."""
        if not self.lively:
            states: dict[str, str] = {}

            def tell(name: str, state: str) -> None:
                if states.get(name) != state:
                    states[name] = state
                    self.say(f"  {name}: {state}")

            yield tell
            return
        from rich.console import Console as RichConsole
        from rich.text import Text

        with RichConsole(file=self.err).status(Text(title)) as status:
            yield lambda name, state: status.update(Text(f"{title}: {name} {state}"))

    @contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """Say on a terminal that something with one step goes on; a log is told what came of it instead."""
        with self.progress(text):
            yield

    @contextmanager
    def phases(self, clock: Clock = SYSTEM_CLOCK) -> Iterator[PhaseUpdate]:
        """Yield a function that shows how far long work has come: bars that go away, or a line now and then."""
        if not self.lively:
            told: dict[str, float] = {}

            def tell(phase: str, done: int, total: int) -> None:
                began, now = told.get(phase), clock.monotonic()
                if began is None:
                    self.say(f"  {phase}")
                elif now - began < QUIET_SECONDS:
                    return
                else:
                    self.say(f"  {phase}: {decimal(done)}{f' ({100 * done // total} %)' if total else ''}")
                told[phase] = now

            yield tell
            return
        from rich.console import Console as RichConsole
        from rich.progress import DownloadColumn, Progress, TaskID, TransferSpeedColumn

        columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
        screen = RichConsole(file=self.err)
        with Progress(*columns, console=screen, transient=True, redirect_stdout=False) as bars:
            drawn: dict[str, TaskID] = {}

            def draw(phase: str, done: int, total: int) -> None:
                if phase not in drawn:
                    drawn[phase] = bars.add_task(phase, total=None)
                bars.update(drawn[phase], completed=done, total=total or None)

            yield draw


def rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> Table:
    """Return a drawn table; cells that are a known state get its colour."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # A blank of padding and one of the box: as far apart as GAP.
    padding = (0, len(GAP) - 1, 0, 0)
    table = Table(
        title=title or None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False, show_edge=False,
        padding=padding,
    )  # fmt: skip
    for number, column in enumerate(columns):
        # Where the terminal is narrow, names stay whole.
        table.add_column(column, no_wrap=number == 0)
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    return table


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return aligned lines with a header, for logs and `grep`."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    return [
        GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [[column.upper() for column in columns], *rows]
    ]


def fitting(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> tuple[list[str], list[list[str]]]:
    """Return the table's columns, from the left, that fit into a width in characters; the last one may be cut."""
    kept: list[list[str]] = []
    for column in zip(columns, *rows, strict=True):
        widest = max(map(len, column))
        if widest > width and kept and width < SHORTEST_CUT:
            break
        kept.append([cell if len(cell) <= width else f"{cell[: width - 1]}…" for cell in column])
        width -= widest + len(GAP)
    header, *cells = zip(*kept, strict=True)
    return list(header), [list(row) for row in cells]


def without_empty_columns(
    columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    """Return the table without the columns that say nothing in any row."""
    kept = [i for i in range(len(columns)) if not rows or any(row[i] for row in rows)]
    return [columns[i] for i in kept], [[row[i] for i in kept] for row in rows]


def _can_draw() -> bool:
    return os.environ.get("TERM", "") not in ("", "dumb")
