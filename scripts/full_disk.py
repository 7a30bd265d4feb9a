"""Owns how it is known that the stack's own database server was stopped by a disk that is full.

A server that cannot write its log gives up at once and cannot start again before there is room: its clients only hear
that it is gone. Why, it says in the container's log.
"""

from __future__ import annotations

import re

from scripts.compose import Compose
from scripts.sessions import DATABASE

# The system's words, or the server's own where a file took only a part of a page (mdextend in PostgreSQL's md.c).
GAVE_UP = re.compile(
    r"(?:PANIC|FATAL): +(.*(?:No space left on device|quota exceeded|wrote only \d+ of \d+ bytes).*)"
)
MEND = (
    "make room on that disk (docker system df; `invoke db-prune` once the server is back): "
    "it starts by itself within a minute, nothing is lost; then run this again"
)
# The engine waits up to a minute between two starts of a container that ends each time.
RESTART_SECONDS = 90


def complaint(compose: Compose, seconds: int = RESTART_SECONDS) -> str:
    """What the server said when a full disk stopped it within the last `seconds`; empty when none did."""
    if compose.setting("POSTGRES_HOST", DATABASE) != DATABASE:
        return ""
    for each in compose.engine.containers(compose.project):
        if each.service == DATABASE and not each.oneoff:
            found = GAVE_UP.findall(compose.engine.log_since(each.id, seconds))
            return found[-1].strip() if found else ""
    return ""


def holds_up(compose: Compose) -> str:
    """Why the server cannot start for now; empty when it runs, or when something else hinders it."""
    containers = compose.engine.containers(compose.project)
    if any(each.service == DATABASE and each.state == "restarting" for each in containers):
        return complaint(compose)
    return ""
