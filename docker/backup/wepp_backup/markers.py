"""Databases that this program has marked as its own: nothing without such a mark is ever dropped.

A staging database has two marks. CONNECTION_LIMIT is part of its CREATE DATABASE, so that there is no moment without a
mark; the comment comes a statement later and says of which live database it is. A kept database, which was live until a
switchover and waits for a rollback or for its end, has the comment only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from wepp_backup.events import refuse
from wepp_backup.server import LONGEST_NAME, Session, rows, shortened, value

STAGING, KEPT = "staging", "kept"
CONNECTION_LIMIT = 77657
PREFIX = "wepp-backup "
KEPT_NAME = "_before_%Y%m%d_%H%M%S"  # UTC
MARKED = """
SELECT datname::text, shobj_description(oid, 'pg_database'),
  CASE WHEN has_database_privilege(oid, 'CONNECT') THEN coalesce(pg_database_size(oid), -1) ELSE -1 END
FROM pg_database WHERE datname <> %s AND starts_with(shobj_description(oid, 'pg_database'), %s)"""


@dataclass(frozen=True)
class Marker:
    """What the comment on a database of this program says. comment: the database's own one, None when it had none."""

    kind: str  # STAGING or KEPT
    of: str  # exact name of the live database
    about: str = ""  # why it is there, for people
    made: str = ""  # when, in UTC by ISO 8601
    comment: str | None = None

    def text(self) -> str:
        """Return the comment that says this."""
        return PREFIX + json.dumps(asdict(self))


def parse(text: str | None) -> Marker | None:
    """Read the comment on a database; None when it is not one of this program's."""
    if text and text.startswith(PREFIX):
        with suppress(ValueError, TypeError):  # somebody else's words
            return Marker(**json.loads(text.removeprefix(PREFIX)))
    return None


class KeptDatabase(NamedTuple):
    """A kept database. bytes: -1 where the server does not tell. about: what replaced it, for people."""

    name: str
    since: str
    bytes: int
    about: str


def list_kept(session: Session, live: str) -> list[KeptDatabase]:
    """Return what is kept of the live database of exactly that name, the newest first."""
    found = []
    for name, comment, size in rows(session, MARKED, [live, PREFIX]):
        marker = parse(comment)
        if marker and (marker.kind, marker.of) == (KEPT, live):
            found.append(KeptDatabase(name, marker.made, size, marker.about))
    return sorted(found, key=lambda each: (each.since, each.name), reverse=True)


def choose(kept: Sequence[KeptDatabase], name: str) -> KeptDatabase:
    """Return the kept database of that name, or the newest when none is named. Raise Problem."""
    for each in kept:
        if name in ("", each.name):
            return each
    fix = "see `invoke db-prune --dry-run`, or restore a backup: invoke db-restore --dump=latest"
    raise refuse(f"no earlier database {name} is kept", fix)


def free_name(session: Session, live: str, when: datetime) -> str:
    """Return the name to keep the live database under: of this second, or of the next one that is not taken."""
    while True:
        tail = when.strftime(KEPT_NAME)
        name = shortened(live, LONGEST_NAME - len(tail)) + tail
        if not value(session, "SELECT count(*) FROM pg_database WHERE datname = %s", [name]):
            return name
        when += timedelta(seconds=1)
