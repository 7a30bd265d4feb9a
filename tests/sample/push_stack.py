"""The watcher of run ends with everything around it that is real, and the jobs that tests play to it."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

import redis
from conftest import PostgresServer, RedisServer
from push_service import Browser, PushService, encode, message
from py_vapid import Vapid02
from wepppy.microservices import webpush_store
from wepppy.microservices.webpush_watch import Watcher

RUNID = "amber-creek-000001"


class Stack:
    """What the tests turn: the two servers, a push service, a browser, and how far the watcher's clock is ahead."""

    def __init__(
        self, redis_server: RedisServer, postgres_server: PostgresServer, service: PushService
    ) -> None:
        self.redis_server = redis_server
        self.postgres_server = postgres_server
        self.service = service
        self.browser = Browser()
        self.key = Vapid02.from_raw(encode(os.urandom(31) + b"\x01").encode())
        self.ahead = 0.0

    def subscribe(self, name: str = "one") -> str:
        endpoint = self.service.endpoint(name)
        keys = self.browser.subscription(endpoint)["keys"]
        webpush_store.add(RUNID, endpoint, keys["p256dh"], keys["auth"])
        return endpoint

    def enqueue(self, job: str) -> None:
        """Record the run's job as the web application does."""
        with redis.Redis.from_url(self.redis_server.url(0)) as client:
            client.hset(RUNID, mapping={"rq:run_project": job, "attrs:loaded": "true"})
        self.state(job, "started")

    def state(self, job: str, status: str, at: datetime | None = None) -> None:
        """Write a job's state as rq does."""
        with redis.Redis.from_url(self.redis_server.url(9)) as client:
            fields = {"status": status}
            if status in ("finished", "failed"):
                fields["ended_at"] = (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            client.hset(f"rq:job:{job}", mapping=fields)

    def end(self, job: str, status: str = "finished") -> None:
        """Play a job from its beginning to its end."""
        self.enqueue(job)
        self.state(job, status)

    def statuses(self) -> list[str]:
        """Return the run status in every push that arrived, decrypted."""
        return [message(self.browser, push)["status"] for push in self.service.pushes]

    def watcher(self) -> Watcher:
        """Return a watcher; a test has it look."""
        return Watcher(self.key, clock=lambda: time.time() + self.ahead)
