"""Subscriptions to the ends of runs: the table `webpush_subscription` in Postgres."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg

from wepppy.config.database import database_url

CONNECT_SECONDS = 3
STATEMENT_MILLISECONDS = 5000
MAX_PER_RUN = 200


@dataclass(frozen=True)
class Subscription:
    """A browser's subscription to a run; keys in base64url as the browser sent them."""

    id: int
    runid: str
    endpoint: str
    p256dh: str
    auth: str
    created: datetime


class TooManySubscriptionsError(Exception):
    """The run has `MAX_PER_RUN` subscriptions already."""


class Store:
    """Subscriptions in Postgres, over a connection for each statement: there are few, and none outlives a restart.

    Every method blocks, may be called from any thread, and raises psycopg.Error when Postgres does not answer.
    """

    def __init__(self) -> None:
        # However many callers there are, they take one connection of the server's.
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raise psycopg.Error unless subscriptions can be read."""
        self._run("SELECT 1 FROM webpush_subscription LIMIT 1")

    def config_of(self, runid: str) -> str | None:
        """Return the configuration name of a run, None if there is no such run."""
        rows = self._run("SELECT config FROM run WHERE runid = %s", (runid,))
        return str(rows[0][0]) if rows else None

    def add(self, runid: str, endpoint: str, p256dh: str, auth: str) -> bool:
        """Keep a subscription and return whether it is new. Raises TooManySubscriptionsError."""
        # The time of a known subscription stays: it may still be owed a message of a run that has ended since.
        rows = self._run(
            "INSERT INTO webpush_subscription (runid, endpoint, p256dh, auth) "
            "SELECT %(runid)s, %(endpoint)s, %(p256dh)s, %(auth)s "
            "WHERE (SELECT count(*) FROM webpush_subscription WHERE runid = %(runid)s) < %(most)s "
            "OR EXISTS (SELECT 1 FROM webpush_subscription WHERE runid = %(runid)s AND endpoint = %(endpoint)s) "
            "ON CONFLICT (runid, endpoint) DO UPDATE SET p256dh = EXCLUDED.p256dh, auth = EXCLUDED.auth "
            "RETURNING xmax = 0",
            {"runid": runid, "endpoint": endpoint, "p256dh": p256dh, "auth": auth, "most": MAX_PER_RUN},
        )
        if not rows:
            raise TooManySubscriptionsError
        return bool(rows[0][0])

    def remove(self, runid: str, endpoint: str) -> bool:
        """Remove one subscription and return whether there was one."""
        sql = "DELETE FROM webpush_subscription WHERE runid = %s AND endpoint = %s RETURNING id"
        return bool(self._run(sql, (runid, endpoint)))

    def remove_endpoint(self, endpoint: str) -> None:
        """Remove all subscriptions of a browser that its push service reports as gone."""
        self._run("DELETE FROM webpush_subscription WHERE endpoint = %s", (endpoint,))

    def of_run(self, runid: str) -> list[Subscription]:
        """Return the subscriptions of one run."""
        rows = self._run(
            "SELECT id, runid, endpoint, p256dh, auth, created FROM webpush_subscription WHERE runid = %s ORDER BY id",
            (runid,),
        )
        return [Subscription(*row) for row in rows]

    def runids(self) -> list[str]:
        """Return every run that has subscriptions."""
        return [str(row[0]) for row in self._run("SELECT DISTINCT runid FROM webpush_subscription")]

    def _run(
        self, sql: LiteralString, values: Sequence[Any] | dict[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        with (
            self._lock,
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
