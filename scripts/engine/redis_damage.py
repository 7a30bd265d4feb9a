"""Recognise in its log that Redis refuses its files, as after a power loss."""

from __future__ import annotations

import re

from scripts.engine.compose import Compose

SERVICE = "redis"
FIX = "run `invoke redis-repair`: it keeps the files, repairs a copy and says what is lost"
LOG_LINES = 40
# What Redis (and its entry point) say of files that they do not start with.
DAMAGED = re.compile(
    r"(?:Bad file format|Unknown command .*|Error|Unexpected end of file) reading (?:from )?the append only file"
    r"|Invalid AOF manifest|Unable to obtain the AOF file|AOF .*doesn't exist|Redis would start empty"
    r"|Wrong RDB checksum|Internal error in RDB|RDB CRC error|Wrong signature trying to load DB"
    r"|Short read or OOM loading DB|Fatal error loading the DB"
)


def complaint(compose: Compose) -> str:
    """Return what Redis says of damaged files, the last line of it; empty when it runs or failed for another reason."""
    for each in compose.containers([SERVICE]):
        if not each.fine:
            lines = compose.engine.log_tail(each.id, LOG_LINES).splitlines()
            return next((line.strip() for line in reversed(lines) if DAMAGED.search(line)), "")
    return ""
