"""That no worker takes a job while names are not resolved: the job's process, which connects anew, reached nobody.

In a container the engine answers for names, and containers run on when their engine is killed.
"""

from __future__ import annotations

import logging
import socket
import time
from typing import Any

LOOK_INTERVAL = 1  # s


class NamesFirst:
    """Made part of a worker class, before others."""

    connection: Any
    log: logging.Logger
    _stop_requested: bool

    def check_for_suspension(self, burst: bool) -> None:
        """Wait until the name of Redis is resolved; called before each job.

        The worker's entry expires meanwhile, by which its host is told not to be well.
        """
        host = self.connection.connection_pool.connection_kwargs.get("host")
        said = ""
        while host and not self._stop_requested and (why := unresolved(host)):
            if why != said:
                said = why
                self.log.warning("No jobs are taken: the name %s is not resolved (%s)", host, why)
            time.sleep(LOOK_INTERVAL)
        super().check_for_suspension(burst)  # type: ignore[misc]


def unresolved(host: str) -> str:
    """Return why a name is not resolved; empty when it is."""
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        return str(error)
    return ""
