"""Work off the event loop, in so many threads and with so many waiting; more is refused with a time to retry."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

Result = TypeVar("Result")
RETRY_AFTER_SECONDS = 5


class BusyError(Exception):
    """All threads work and the queue is full; worth another try after RETRY_AFTER_SECONDS."""


class BoundedWork:
    """`workers` threads of their own and `waiting` places before them. For the event loop's thread alone."""

    def __init__(self, workers: int, waiting: int) -> None:
        self._limiter = anyio.CapacityLimiter(workers)
        self._places = workers + waiting
        self._taken = 0

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return what `work` returns, done in a thread. Raises BusyError when every place is taken."""
        if self._taken >= self._places:
            raise BusyError("The service is busy. Try again in a moment.")
        self._taken += 1
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._limiter)
        finally:
            self._taken -= 1
