"""The process that asked for a command: its words, and its end, which calls the work off.

Words come over standard input. Input that ends means that the caller is gone, even if it was killed; that and
SIGTERM or SIGINT raise CalledOff in the main thread, once: what is being undone then is not interrupted again.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ClassVar, TextIO

from wepp_backup.events import Problem, fail


class CalledOff(KeyboardInterrupt):
    """The work is not wanted any more. psycopg cancels the query it waits for when it sees a KeyboardInterrupt."""


class Caller:
    """Listens to the caller. Make one in the main thread, before the work begins."""

    current: ClassVar[Caller | None] = None

    def __init__(self, words: TextIO | None) -> None:
        """words: standard input of a command that a task asked for; None when its end means nothing."""
        self.gone = False
        self.held = 0  # blocks that nothing interrupts
        self._words: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._called_off = False
        Caller.current = self
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self._on_signal)
        if words is not None:
            threading.Thread(target=self._listen, args=(words,), daemon=True).start()

    def word(self) -> str:
        """Return the next word. Raise Problem when there will be none; inside `uninterrupted` return "" instead."""
        word = None if self.gone else self._words.get()
        if word is None and not self.held:
            raise self.problem()
        return word or ""

    def problem(self) -> Problem:
        """Return what to say of work that was called off."""
        who = "whoever asked for this is gone; " if self.gone else ""
        return fail(f"{who}it was called off", "run the command again")

    def check(self) -> None:
        """Raise CalledOff if that was asked for meanwhile and not raised yet."""
        if self._called_off and not self.held:
            self.finish()
            raise CalledOff

    def finish(self) -> None:
        """Let nothing call anything off any more: the answer is told, what is left is cleanup."""
        self.held += 1

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._called_off = True
        self.check()

    def _listen(self, words: TextIO) -> None:
        for line in words:
            self._words.put(line.strip())
        self.gone = True
        self._words.put(None)
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let nothing call the work off inside; what came meanwhile counts at the end of the outermost block.

    Only the main thread is ever interrupted.
    """
    caller = Caller.current
    if not caller or threading.current_thread() is not threading.main_thread():
        yield
        return
    caller.held += 1
    try:
        yield
    finally:
        caller.held -= 1
    caller.check()
