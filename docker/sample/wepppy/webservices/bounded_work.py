"""Work by so many threads at a time and with so many waiting; more is refused with a time to retry."""

from __future__ import annotations

import threading

RETRY_AFTER_SECONDS = 5


class BusyError(Exception):
    """All places are taken; worth another try after RETRY_AFTER_SECONDS."""


class BoundedWork:
    """A context in which at most `workers` threads are, and before which at most `waiting` wait.

    Of a service's 40 threads for work (anyio's default) the two together must leave some, to refuse with.
    """

    def __init__(self, workers: int, waiting: int) -> None:
        self._places = threading.BoundedSemaphore(workers + waiting)
        self._turn = threading.BoundedSemaphore(workers)

    def __enter__(self) -> None:
        """Wait for a turn. Raises BusyError when every place is taken."""
        if not self._places.acquire(blocking=False):
            raise BusyError("The service is busy. Try again in a moment.")
        self._turn.acquire()

    def __exit__(self, *_: object) -> None:
        """Let the next one in."""
        self._turn.release()
        self._places.release()
