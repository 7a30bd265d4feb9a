"""Subscriptions to the ends of runs: the table `webpush_subscription` in Postgres.

Every function blocks, may be called from any thread, and raises psycopg.Error when Postgres does not answer.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg

from wepppy.config.database import database_url

CONNECT_SECONDS = 3
STATEMENT_MILLISECONDS = 5000
MAX_PER_RUN = 200
# However many callers there are, they take one connection of the server's.
_lock = threading.Lock()


@dataclass(frozen=True)
class Subscription:
    """A browser's subscription to a run; keys in base64url as the browser sent them."""

    id: int
    created: datetime
    runid: str
    config: str
    endpoint: str
    p256dh: str
    auth: str


def add(runid: str, endpoint: str, p256dh: str, auth: str) -> bool | None:
    """Keep a subscription and return whether it is new; None when the run has `MAX_PER_RUN` already."""
    rows = _execute(
        "INSERT INTO webpush_subscription (runid, endpoint, p256dh, auth) "
        "SELECT %(runid)s, %(endpoint)s, %(p256dh)s, %(auth)s "
        "WHERE (SELECT count(*) FROM webpush_subscription WHERE runid = %(runid)s) < %(most)s "
        "OR EXISTS (SELECT 1 FROM webpush_subscription WHERE runid = %(runid)s AND endpoint = %(endpoint)s) "
        "ON CONFLICT (runid, endpoint) DO UPDATE SET p256dh = EXCLUDED.p256dh, auth = EXCLUDED.auth, created = now() "
        "RETURNING xmax = 0",
        {"runid": runid, "endpoint": endpoint, "p256dh": p256dh, "auth": auth, "most": MAX_PER_RUN},
    )
    return bool(rows[0][0]) if rows else None


def remove(runid: str, endpoint: str) -> None:
    """Remove a browser's subscription to a run."""
    _execute("DELETE FROM webpush_subscription WHERE runid = %s AND endpoint = %s", [runid, endpoint])


def remove_unchanged(subscription: Subscription) -> None:
    """Remove a subscription unless it was made again since it was read."""
    values = [subscription.id, subscription.created]
    _execute("DELETE FROM webpush_subscription WHERE id = %s AND created = %s", values)


def subscriptions() -> list[Subscription]:
    """Return all subscriptions to runs that there are."""
    rows = _execute(
        "SELECT one.id, created, runid, config, endpoint, p256dh, auth "
        "FROM webpush_subscription AS one JOIN run USING (runid) ORDER BY one.id"
    )
    return [Subscription(*row) for row in rows]


def _execute(sql: LiteralString, values: list[Any] | dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    with (
        _lock,
        psycopg.connect(
            database_url(),
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
            application_name="webpush",
            options=f"-c statement_timeout={STATEMENT_MILLISECONDS}",
            tcp_user_timeout=STATEMENT_MILLISECONDS,
        ) as connection,
    ):
        cursor = connection.execute(sql, values)
        return cursor.fetchall() if cursor.description else []
