"""Notice that a run ended, and notify each subscriber once.

What is true is the job itself: its hash `rq:job:<id>` in database 9 keeps `status` and `ended_at` for a week. The
worker's event on `<runid>:rq` is only a hint to look at once, so a lost event costs time and never a message: after
every (re)subscription, and every `SWEEP_SECONDS`, the watcher looks at the last jobs (`rq:<task>` in the run's hash,
database 0) of all runs with subscriptions. It subscribes BEFORE it looks, so no end falls in between.

What was sent is a key per job, outcome and subscription, `webpush:<job>:<status>:<id>`, in database 0:
`SET NX` with a short life claims the message (two processes never send the same one), the outcome (`sent`,
`gone`, ...) replaces it for longer than a job is kept. It lies in Redis and not in Postgres because it is worth
exactly as much as the job's state: a Redis that lost the one has lost the other. A process that dies between the
push service's answer and the outcome repeats one message; the push `Topic` and the notification's `tag` make the
second replace the first. The opposite order could lose it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import anyio.to_thread
import psycopg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from wepppy.config.run_paths import get_wd
from wepppy.microservices.webpush_push import Outcome, Pusher
from wepppy.microservices.webpush_store import Store, Subscription

PATTERN = "*:rq"
ENDED = frozenset({"finished", "failed"})
SWEEP_SECONDS = 60.0
CLAIM_SECONDS = 60
KEEP_SECONDS = 8 * 24 * 3600  # jobs are kept for seven days
RECHECKS = 6  # an event may come a moment before the job's hash changes
FIRST_RECHECK = 0.25
BATCH = 200
# A subscription of the second in which the run ends means that end.
GRACE = timedelta(seconds=5)

_log = logging.getLogger(__name__)
Message = Callable[[str, str, str], bytes]  # run id, configuration, status -> payload


@dataclass(frozen=True)
class End:
    """How and when a job ended."""

    status: str
    at: datetime


@dataclass(frozen=True)
class Connections:
    """The Redis databases the watcher uses: Pub/Sub (its reads wait for ever), run hashes and marks, jobs."""

    events: Redis
    runs: Redis
    jobs: Redis

    async def close(self) -> None:
        """Close them all."""
        for client in (self.events, self.runs, self.jobs):
            await client.aclose()


class Watcher:
    """Listens for events and polls jobs until cancelled. `listening`: events arrive."""

    def __init__(
        self,
        redis: Connections,
        store: Store,
        pusher: Pusher,
        message: Message,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        sweep_seconds: float = SWEEP_SECONDS,
    ) -> None:
        self.listening = False
        self._redis = redis
        self._store = store
        self._pusher = pusher
        self._message = message
        self._sleep = sleep
        self._sweep_seconds = sweep_seconds
        self._look = asyncio.Event()
        self._settled: dict[
            tuple[str, str], None
        ] = {}  # job, status: every subscriber was notified; oldest first
        self._unwritten: dict[str, Outcome] = {}  # outcomes that Redis could not take yet
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending: set[str] = set()

    async def run(self) -> None:
        """Work until cancelled; claims of messages under way are given back then."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen())
                group.create_task(self._sweep_for_ever())
        finally:
            while self._tasks:
                # More than once: a library that is just tidying up after a request may swallow a cancellation.
                for task in self._tasks:
                    task.cancel()
                await asyncio.wait(set(self._tasks), timeout=0.5)

    async def ping(self) -> None:
        """Raise RedisError or OSError unless Redis answers."""
        await self._redis.runs.ping()

    async def _listen(self) -> None:
        pause = 0.25
        while True:
            try:
                async with self._redis.events.pubsub() as channel:
                    await channel.psubscribe(PATTERN)
                    async for event in channel.listen():
                        if event["type"] == "psubscribe":  # also after redis-py reconnected by itself
                            self.listening, pause = True, 0.25
                            self._look.set()
                        elif event["type"] == "pmessage":
                            self._hint(event["channel"], event["data"])
            except (RedisError, OSError) as error:
                _log.warning("events do not arrive: %s", type(error).__name__)
            finally:
                self.listening = False
            await self._sleep(pause)
            pause = min(5.0, pause * 2)

    def _hint(self, channel: str, data: str) -> None:
        try:
            event = json.loads(data)
            job, status = event["job"], event["status"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return  # not ours
        if isinstance(job, str) and status in ENDED:
            self._start(self._follow(channel.rpartition(":")[0], job))

    async def _follow(self, runid: str, job: str) -> None:
        """Look at one job until it is settled; if it does not end, or something is down, leave it to the sweep."""
        pause = FIRST_RECHECK
        for _ in range(RECHECKS):
            try:
                ends = await self._ends([job])
                if job in ends:
                    await self._notify(runid, job, ends[job])
                    return
            except (RedisError, OSError, psycopg.Error) as error:
                _log.warning("the end of a job can't be looked at now: %s", type(error).__name__)
                self._look.set()
                return
            await self._sleep(pause)
            pause *= 2

    async def _sweep_for_ever(self) -> None:
        pause = 1.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._sweep_seconds):
                    await self._look.wait()
            self._look.clear()
            try:
                await self.sweep()
                pause = 1.0
            except (RedisError, OSError, psycopg.Error) as error:
                _log.warning("runs can't be looked at now: %s", type(error).__name__)
                await self._sleep(pause)
                pause = min(30.0, pause * 2)
                self._look.set()

    async def sweep(self) -> None:
        """Look at the jobs of every run that has subscribers. Raises RedisError, psycopg.Error."""
        for key, outcome in list(self._unwritten.items()):
            await self._redis.runs.set(key, outcome, ex=KEEP_SECONDS)
            self._unwritten.pop(key, None)
        runids = await anyio.to_thread.run_sync(self._store.runids)
        for start in range(0, len(runids), BATCH):
            owners = await self._jobs_of(runids[start : start + BATCH])
            for job, end in (await self._ends(owners)).items():
                if (job, end.status) not in self._settled:
                    await self._notify(owners[job], job, end)

    async def _jobs_of(self, runids: list[str]) -> dict[str, str]:
        """Return job id -> run id for the last jobs of some runs."""
        known = [(runid, key) for runid in runids if (key := _key_of(runid)) is not None]
        async with self._redis.runs.pipeline(transaction=False) as pipeline:
            for _, key in known:
                pipeline.hgetall(key)
            hashes = await pipeline.execute(raise_on_error=False)
        owners: dict[str, str] = {}
        for (runid, _), fields in zip(known, hashes, strict=True):
            if isinstance(fields, dict):  # anything else is a key of another type
                owners |= {job: runid for name, job in fields.items() if name.startswith("rq:") and job}
        return owners

    async def _ends(self, jobs: Iterable[str]) -> dict[str, End]:
        """Return how those of the jobs ended that have ended and will not be tried again."""
        listed = list(jobs)
        async with self._redis.jobs.pipeline(transaction=False) as pipeline:
            for job in listed:
                pipeline.hmget(f"rq:job:{job}", "status", "ended_at")
            answers = await pipeline.execute()
        ends = {}
        for job, (status, ended) in zip(listed, answers, strict=True):
            if status in ENDED:
                ends[job] = End(status, _moment(ended))
        return ends

    async def _notify(self, runid: str, job: str, end: End) -> None:
        """Start a message to every subscriber who has not been notified yet."""
        subscriptions = await anyio.to_thread.run_sync(self._store.of_run, runid)
        config = await anyio.to_thread.run_sync(self._store.config_of, runid) if subscriptions else None
        settled = True
        for subscription in subscriptions:
            key = f"webpush:{job}:{end.status}:{subscription.id}"
            if end.at < subscription.created - GRACE or key in self._unwritten:
                continue
            if key in self._sending:
                settled = False
            elif await self._redis.runs.set(key, f"claimed {uuid.uuid4().hex}", nx=True, ex=CLAIM_SECONDS):
                settled = False
                payload = self._message(runid, config or "", end.status)
                self._sending.add(key)
                self._start(self._send(key, subscription, payload))
            elif str(await self._redis.runs.get(key) or "claimed").startswith("claimed"):
                settled = False  # another process is at it, or died at it: look again later
        if settled:
            self._settled[(job, end.status)] = None
            if len(self._settled) > 10_000:
                self._settled.pop(next(iter(self._settled)))

    async def _send(self, key: str, subscription: Subscription, payload: bytes) -> None:
        async def waiting(seconds: float) -> None:
            # If this fails the claim runs out: at worst another process takes the message over.
            with contextlib.suppress(RedisError, OSError):
                await self._redis.runs.expire(key, int(seconds) + CLAIM_SECONDS)

        try:
            outcome = await self._pusher.push(subscription, payload, waiting)
        except asyncio.CancelledError:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await self._redis.runs.delete(key)
            raise
        else:
            self._unwritten[key] = outcome
            _log.info("run %s: notification %s is %s", subscription.runid, subscription.id, outcome)
            try:
                if outcome == "gone":
                    await anyio.to_thread.run_sync(self._store.remove_endpoint, subscription.endpoint)
                await self._redis.runs.set(key, outcome, ex=KEEP_SECONDS)
                self._unwritten.pop(key, None)
            except (RedisError, OSError, psycopg.Error):
                self._look.set()  # the sweep writes it
        finally:
            self._sending.discard(key)

    def _start(self, work: Awaitable[None]) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _key_of(runid: str) -> str | None:
    try:
        return get_wd(runid).name
    except ValueError:
        return None


def _moment(text: str | None) -> datetime:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return datetime.now(UTC)  # without a time no subscriber is left out
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
