"""Work by so many threads at a time and with so many waiting; more is refused with a time to retry."""

from __future__ import annotations

import threading

from wepppy.webservices.refusals import Refusal


class BoundedWork:
    """A context in which at most `workers` threads are, and before which at most `waiting` wait.

    Of a service's 40 threads for work (anyio's default) the two together must leave some, to refuse with.
    """

    def __init__(self, workers: int, waiting: int) -> None:
        self._places = threading.BoundedSemaphore(workers + waiting)
        self._turn = threading.BoundedSemaphore(workers)

    def __enter__(self) -> None:
        """Wait for a turn. Raises Refusal 503 when every place is taken."""
        if not self._places.acquire(blocking=False):
            raise Refusal("The service is busy. Try again in a moment.", 503)
        self._turn.acquire()

    def __exit__(self, *_: object) -> None:
        """Let the next one in."""
        self._turn.release()
        self._places.release()
