"""What Compose tells while it starts containers, turned into progress."""

from __future__ import annotations

import re

from scripts.base.console import Progress

# What Compose says of a container when it does not draw: " Container wepppy-redis-1  Healthy".
COMPOSE_LINE = re.compile(r"\s*Container (?P<name>\S+)\s+(?P<state>[A-Z][a-z]+)\s*$")
STATE_WORDS = {
    "Creating": "waiting",
    "Created": "waiting",
    "Recreate": "waiting",
    "Recreated": "waiting",
    "Waiting": "starting",
    "Starting": "starting",
    "Started": "starting",
    "Running": "running",
    "Healthy": "healthy",
    "Exited": "done",
    "Error": "failed",
}
UNDER_WAY, ARRIVED = ("waiting", "starting"), ("running", "healthy", "done")


class Follower:
    """Turns Compose's lines into progress. names: container -> service."""

    def __init__(self, names: dict[str, str], progress: Progress) -> None:
        self.names = names
        self.progress = progress
        self._reached: dict[str, str] = {}

    def line(self, line: str) -> None:
        """Moves the progress on by one line of Compose's own."""
        match = COMPOSE_LINE.match(line)
        service = self.names.get(match["name"]) if match else None
        state = STATE_WORDS.get(match["state"]) if match else None
        # Each dependent waits for a service anew; that is no step back for the service.
        if service and state and not (state in UNDER_WAY and self._reached.get(service) in ARRIVED):
            self._reached[service] = state
            self.progress.update(service, state)
