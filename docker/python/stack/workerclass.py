"""What the workers of a launcher do beyond the tree's own class."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from typing import Any

import redis
from rq.worker import Worker

RECONNECT_INTERVAL = 5.0  # s
LOOK_INTERVAL = 1  # s
SIGN_INTERVAL = 5.0  # s


class EndedWithoutRedisError(Exception):
    """A worker was signalled to end while it waits for a Redis that went away."""


class PollingWorker(Worker):
    """A worker that, between two jobs, checks every second whether it was suspended or signalled to end.

    rq waits minutes for a job, learns of a suspension only after it, and ends at once when a signal arrives. Redis may
    have answered by then, and that job is in no list any more (with several queues rq's intermediate queue does not
    hold it). This one ends between two polls instead: a job that was handed out is done first.
    """

    # It connects to a Redis that was away within seconds of its return; rq doubles the wait up to a minute.
    max_connection_wait_time = RECONNECT_INTERVAL
    _waits = False
    _at_leisure = False
    _next_sign = 0.0  # s of the monotonic clock

    def dequeue_job_and_maintain_ttl(self, timeout: int | None, max_idle_time: int | None = None) -> Any:
        """Return the next job and its queue, None when it is to end; called by rq for each."""
        self._waits = True
        found = None
        while not found:
            # rq's own loop waits for a Redis that went away.
            with suppress(redis.ConnectionError, redis.TimeoutError):
                self.check_for_suspension(burst=False)
            if self._stop_requested:
                return None
            with suppress(EndedWithoutRedisError):
                found = super().dequeue_job_and_maintain_ttl(LOOK_INTERVAL, LOOK_INTERVAL)
        self._waits = False
        return found

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Send a heartbeat; rq calls it for each poll, so most are left out: Redis logs each on its disk."""
        now = time.monotonic()
        if self._waits and now < self._next_sign:
            return
        try:
            super().heartbeat(timeout, pipeline)
        except (redis.ConnectionError, redis.TimeoutError):
            if self._waits and self._stop_requested:
                raise EndedWithoutRedisError from None
            raise
        self._next_sign = now + SIGN_INTERVAL

    def set_state(self, state: str, pipeline: Any = None) -> None:
        """Publish the state where it changed; rq calls it for each poll."""
        if state != self.get_state():
            super().set_state(state, pipeline)

    def request_stop(self, signum: int, frame: object) -> None:
        """Handle SIGTERM, at which the job may take all its time, and SIGINT, at which the whole pool ends."""
        self._at_leisure = signum == signal.SIGTERM
        super().request_stop(signum, frame)
        if self._at_leisure:
            # rq would kill the job at another signal.
            signal.signal(signal.SIGINT, self.request_stop)

    def handle_warm_shutdown_request(self) -> None:
        """Prepare for the end of the pool."""
        if not self._at_leisure:
            super().handle_warm_shutdown_request()

    def _shutdown(self) -> None:
        """Handle the signals that end a worker after its job."""
        self._stop_requested = True
        if self.scheduler:
            self.stop_scheduler()
