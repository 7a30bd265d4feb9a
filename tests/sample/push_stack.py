"""The watcher of run ends with everything around it that is real, and the events that tests play to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import httpx
import redis
from conftest import PostgresServer, RedisServer
from push_service import Browser, PushService, encode, message
from wepppy.microservices import webpush
from wepppy.microservices.webpush_keys import VapidKey, parse_private_key
from wepppy.microservices.webpush_push import Pusher
from wepppy.microservices.webpush_store import Store
from wepppy.microservices.webpush_watch import Watcher

RUNID = "amber-creek-000001"


class Stack:
    """What the tests turn: the two servers, a push service, a browser, and the times the sender slept."""

    def __init__(
        self, redis_server: RedisServer, postgres_server: PostgresServer, service: PushService
    ) -> None:
        self.redis_server = redis_server
        self.postgres_server = postgres_server
        self.service = service
        self.browser = Browser()
        self.store = Store()
        self.key = VapidKey(
            parse_private_key(encode(os.urandom(31) + b"\x01")), "mailto:operator@example.org"
        )
        self.slept: list[float] = []

    def subscribe(self, name: str = "one") -> str:
        endpoint = self.service.endpoint(name)
        keys = self.browser.subscription(endpoint)["keys"]
        assert self.store.add(RUNID, endpoint, keys["p256dh"], keys["auth"])
        return endpoint

    def enqueue(self, job: str) -> None:
        """Note the run's job as the web application does."""
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

    def publish(self, job: str, status: str) -> int:
        """Publish the worker's event and return how many heard it."""
        with redis.Redis.from_url(self.redis_server.url(2)) as client:
            return int(client.publish(f"{RUNID}:rq", json.dumps({"job": job, "status": status})))

    def marks(self) -> dict[str, str]:
        """Return the marks of messages."""
        with redis.Redis.from_url(self.redis_server.url(0), decode_responses=True) as client:
            return {key: str(client.get(key)) for key in client.scan_iter("webpush:*")}

    def statuses(self) -> list[str]:
        """Return the run status in every push that arrived, decrypted."""
        return [message(self.browser, push)["status"] for push in self.service.pushes]

    async def sleep(self, seconds: float) -> None:
        """Stand in for the sender's pause."""
        self.slept.append(seconds)
        await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def watcher(self, sweep_seconds: float = 3600) -> AsyncIterator[Watcher]:
        connections = webpush.connect()
        async with httpx.AsyncClient(timeout=5) as client:
            pusher = Pusher(client, self.key, sleep=self.sleep, chance=lambda: 0.0)
            watcher = Watcher(connections, self.store, pusher, webpush.payload, sweep_seconds=sweep_seconds)
            task = asyncio.create_task(watcher.run())
            try:
                await until(lambda: watcher.listening)
                yield watcher
                assert not task.done()
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await connections.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds, for half a minute at most."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)
