"""Start a pool of RQ workers for the mounted source tree: `rq-worker.py QUEUE...`.

The tree provides `wepppy.config.redis_settings` (where Redis is) and `wepppy.rq.WepppyRqWorker`. The pool runs
in this process, so the Redis password is on no command line. Settings: RQ_WORKER_COUNT (2),
RQ_REDIS_WAIT_TIMEOUT_SECONDS (300), RQ_REDIS_WAIT_INTERVAL_SECONDS (1), RQ_REDIS_PROBE_CONNECT_TIMEOUT_SECONDS and
RQ_REDIS_PROBE_SOCKET_TIMEOUT_SECONDS (5), RQ_WORKER_STARTUP_DELAY_SECONDS (0), RQ_WORKER_HEALTH_FILE
(/tmp/rq-worker.health): what the pool finds out about its workers, for the container's health check.
Exit codes of sysexits.h: 64 usage or settings, 69 Redis did not come, 77 Redis refused the password.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import redis
from rq.worker import Worker
from rq.worker_pool import WorkerData, WorkerPool

EX_USAGE, EX_UNAVAILABLE, EX_NOPERM = 64, 69, 77
WORKER_CLASS = ("wepppy.rq", "WepppyRqWorker")
HEALTH_FILE = "/tmp/rq-worker.health"  # noqa: S108 - a container's own, and the only place it can write to
HEALTH_INTERVAL = 5.0  # s
# s for which a worker's entry may be missing: it is written after the start, and again while a job runs.
ENTRY_GRACE = 20.0
RECONNECT_INTERVAL = 5.0  # s
LOOK_INTERVAL = 1  # s
SIGN_INTERVAL = 5.0  # s


class WatchedPool(WorkerPool):
    """A pool that writes how many of its workers are alive into a file every few seconds, and replaces lost ones.

    A worker is alive when its process runs here and its entry in Redis, which every heartbeat prolongs, is there.
    The health check then only reads a file: it runs for ever, and loading a Redis client each time costs a quarter
    of a second of processor time.

    rq writes a worker's entry when the worker starts. When Redis loses it (it expires while Redis is away; an older
    snapshot is loaded), an idle worker never writes it again, so such a worker is told to end after its job.
    """

    def __init__(
        self,
        *arguments: Any,
        probe: redis.Redis,
        health_file: Path,
        clock: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.probe = probe
        self.health_file = health_file
        self.clock = clock
        self._process_id = os.getpid()
        self._reported = float("-inf")
        self._well = False
        # Names of workers: since when their entry is missing, and whether they were signalled to end for it.
        self._missing_since: dict[str, float] = {}
        self._signalled: set[str] = set()

    def check_workers(self, respawn: bool = True) -> None:
        """Check the workers and write the health file; rq calls it about once a second."""
        super().check_workers(respawn)
        # Until all is well each round is reported, so that a start is seen as soon as it succeeded.
        if not self._well or self.clock() - self._reported >= HEALTH_INTERVAL:
            self._report()
            self._reported = self.clock()

    def stop_worker(self, worker_data: WorkerData, sig: signal.Signals = signal.SIGINT) -> None:
        """Signal a worker to stop unless it was signalled before; rq calls it for each when the pool stops."""
        if worker_data.name in self._signalled:
            # A second signal would make rq kill the worker's job.
            self._signalled.remove(worker_data.name)
        else:
            super().stop_worker(worker_data, sig)

    def request_stop(self, signum: int | None = None, frame: object = None) -> None:
        """Handle SIGTERM and SIGINT, also in a new worker process until it has handlers of its own."""
        if os.getpid() != self._process_id:
            # rq would stop the other workers from here.
            raise SystemExit(0)
        super().request_stop(signum, frame)

    def _report(self) -> None:
        workers = list(self.worker_dict.values())
        try:
            missing = [each for each in workers if not self._is_registered(each.name)]
        except (redis.RedisError, OSError) as error:
            self._missing_since.clear()
            self._note(False, f"Redis does not answer: {type(error).__name__}")
            return
        alive = len(workers) - len(missing)
        self._note(alive >= self.num_workers, f"{alive} of {self.num_workers} workers alive")
        self._replace(missing)

    def _note(self, well: bool, text: str) -> None:
        self._well = well
        temporary = self.health_file.with_name(f"{self.health_file.name}.{os.getpid()}")
        temporary.write_text(f"{'ok' if well else 'bad'} {text}\n", encoding="utf-8")
        temporary.replace(self.health_file)

    def _replace(self, missing: list[WorkerData]) -> None:
        """Signal each worker whose entry has been missing for too long to end; rq starts another in its place."""
        now = self.clock()
        self._missing_since = {each.name: self._missing_since.get(each.name, now) for each in missing}
        self._signalled &= self.worker_dict.keys()
        for each in missing:
            overdue = now - self._missing_since[each.name] >= ENTRY_GRACE
            if overdue and each.name not in self._signalled and self.status != self.Status.STOPPED:
                self.log.warning(
                    "Worker %s (process %d) has no entry in Redis: it is told to end after its job, "
                    "then another is started",
                    each.name,
                    each.pid,
                )
                self._signalled.add(each.name)
                super().stop_worker(each, signal.SIGTERM)

    def _is_registered(self, name: str) -> bool:
        host, death = self.probe.hmget(f"rq:worker:{name}", "hostname", "death")
        return death is None and host is not None and host.decode() == socket.gethostname()


class EndedWithoutRedisError(Exception):
    """A worker was signalled to end while it waits for a Redis that went away."""


class PollingWorker(Worker):
    """A worker that, between two jobs, checks every second whether it was suspended or signalled to end.

    rq waits minutes for a job, learns of a suspension only after it, and ends at once when a signal arrives. Redis may
    have answered by then, and that job is in no list any more (with several queues rq's intermediate queue does not
    hold it). This one ends between two polls instead: a job that was handed out is done first.
    """

    # It connects to a Redis that was away within seconds of its return; rq doubles the wait up to a minute.
    max_connection_wait_time = RECONNECT_INTERVAL
    _waits = False
    _next_sign = 0.0  # s of the monotonic clock

    def dequeue_job_and_maintain_ttl(self, timeout: int | None, max_idle_time: int | None = None) -> Any:
        """Return the next job and its queue, None when it is to end; called by rq for each."""
        self._waits = True
        found = None
        while not found:
            # rq's own loop waits for a Redis that went away.
            with suppress(redis.ConnectionError, redis.TimeoutError):
                self.check_for_suspension(burst=False)
            if self._stop_requested:
                return None
            with suppress(EndedWithoutRedisError):
                found = super().dequeue_job_and_maintain_ttl(LOOK_INTERVAL, LOOK_INTERVAL)
        self._waits = False
        return found

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Send a heartbeat; rq calls it for each poll, so most are left out: Redis logs each on its disk."""
        now = time.monotonic()
        if self._waits and now < self._next_sign:
            return
        try:
            super().heartbeat(timeout, pipeline)
        except (redis.ConnectionError, redis.TimeoutError):
            if self._waits and self._stop_requested:
                raise EndedWithoutRedisError from None
            raise
        self._next_sign = now + SIGN_INTERVAL

    def set_state(self, state: str, pipeline: Any = None) -> None:
        """Publish the state where it changed; rq calls it for each poll."""
        if state != self.get_state():
            super().set_state(state, pipeline)

    def _shutdown(self) -> None:
        """Handle the signals that end a worker after its job."""
        self._stop_requested = True
        if self.scheduler:
            self.stop_scheduler()


def main(queues: list[str]) -> int:
    """Wait for Redis and run the pool until a signal stops it."""
    # Process 1 ignores what it has no handler for.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(0))
    if not queues or any(not name or name.startswith("-") for name in queues):
        _refuse("usage: rq-worker.py QUEUE...", EX_USAGE)
    count = int(_number("RQ_WORKER_COUNT", 2, least=1))
    connection = _connect()
    # It answers or gives up soon, and tries once.
    probe = _connect(
        socket_connect_timeout=_number("RQ_REDIS_PROBE_CONNECT_TIMEOUT_SECONDS", 5, least=0.1),
        socket_timeout=_number("RQ_REDIS_PROBE_SOCKET_TIMEOUT_SECONDS", 5, least=0.1),
        retry=None,
    )
    _wait_for(probe)
    time.sleep(_number("RQ_WORKER_STARTUP_DELAY_SECONDS", 0))
    module, name = WORKER_CLASS
    found = getattr(importlib.import_module(module), name)
    print(f"rq-worker: {count} workers for {', '.join(queues)}", flush=True)
    health_file = Path(os.environ.get("RQ_WORKER_HEALTH_FILE", "").strip() or HEALTH_FILE)
    pool = WatchedPool(
        queues,
        connection=connection,
        num_workers=count,
        # The tree's, made so that no job is lost when it ends and none begins while suspended.
        worker_class=type(name, (PollingWorker, found), {}),
        probe=probe,
        health_file=health_file,
    )
    # Workers inherit this: until rq has handlers of its own, SIGTERM must simply end them.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    pool.start(burst=False, logging_level="INFO")
    health_file.unlink(missing_ok=True)
    return 0


def _refuse(message: str, code: int) -> NoReturn:
    print(f"rq-worker: {message}", file=sys.stderr, flush=True)
    sys.exit(code)


def _connect(**options: Any) -> redis.Redis:
    settings = importlib.import_module("wepppy.config.redis_settings")
    try:
        return redis.Redis.from_url(settings.redis_url(settings.RedisDB.RQ), **options)
    except (ValueError, RuntimeError) as error:
        # A ValueError may quote the URL with the password in it.
        reason = str(error) if isinstance(error, RuntimeError) else "the Redis URL can't be understood"
        _refuse(reason, EX_USAGE)


def _wait_for(probe: redis.Redis) -> None:
    """Return when Redis answers; loading its data set from disk does not count as an answer."""
    limit = _number("RQ_REDIS_WAIT_TIMEOUT_SECONDS", 300)
    pause = _number("RQ_REDIS_WAIT_INTERVAL_SECONDS", 1)
    deadline = time.monotonic() + limit
    said = ""
    while True:
        try:
            probe.ping()
            return
        except redis.AuthenticationError:
            _refuse("Redis refuses the password", EX_NOPERM)
        except (redis.RedisError, OSError) as error:
            reason = type(error).__name__
        finally:
            probe.connection_pool.disconnect()
        if reason != said:
            said = reason
            print(f"rq-worker: waiting for Redis ({reason})", file=sys.stderr, flush=True)
        if time.monotonic() >= deadline:
            _refuse(f"Redis did not answer within {limit:g} s ({reason})", EX_UNAVAILABLE)
        time.sleep(pause)


def _number(name: str, default: float, least: float = 0) -> float:
    text = os.environ.get(name, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not least <= value < float("inf"):
        _refuse(f"{name}={text!r} is not a number of at least {least:g}", EX_USAGE)
    return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
