"""Starts a pool of RQ workers for the mounted source tree: `rq-worker.py QUEUE...`.

The tree provides `wepppy.config.redis_settings` (where Redis is) and `wepppy.rq.WepppyRqWorker`. The pool runs
in this process, so the Redis password is on no command line. Settings: RQ_WORKER_COUNT (2),
RQ_REDIS_WAIT_TIMEOUT_SECONDS (300), RQ_REDIS_WAIT_INTERVAL_SECONDS (1), RQ_REDIS_PROBE_CONNECT_TIMEOUT_SECONDS and
RQ_REDIS_PROBE_SOCKET_TIMEOUT_SECONDS (5), RQ_WORKER_STARTUP_DELAY_SECONDS (0), RQ_WORKER_HEALTH_FILE
(/tmp/rq-worker.health): what the pool finds out about its workers, for `worker-health.py`.
Exit codes of sysexits.h: 64 usage or settings, 69 Redis did not come, 77 Redis refused the password.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import redis
from rq.worker_pool import WorkerPool

EX_USAGE, EX_UNAVAILABLE, EX_NOPERM = 64, 69, 77
WORKER_CLASS = ("wepppy.rq", "WepppyRqWorker")
HEALTH_FILE = "/tmp/rq-worker.health"  # noqa: S108 - a container's own, and the only place it can write to
HEALTH_INTERVAL = 5.0  # s


class StartError(Exception):
    """The pool can't be started; carries the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class WatchedPool(WorkerPool):
    """A pool that writes down, every few seconds, how many of its workers are alive.

    A worker is alive when its process runs here and its entry in Redis, which every heartbeat prolongs, is there.
    The health check then only reads a file: it runs for ever, and loading a Redis client each time costs a quarter
    of a second of processor time.
    """

    health_file = Path(HEALTH_FILE)
    probe: redis.Redis
    _reported = float("-inf")
    _well = False

    def check_workers(self, respawn: bool = True) -> None:
        """Called by rq about once a second."""
        super().check_workers(respawn)
        # Until all is well each round is reported, so that a start is seen as soon as it succeeded.
        if not self._well or time.monotonic() - self._reported >= HEALTH_INTERVAL:
            self._report()
            self._reported = time.monotonic()

    def _report(self) -> None:
        try:
            alive = sum(self._is_registered(name) for name in list(self.worker_dict))
            text = f"{alive} of {self.num_workers} workers alive"
        except (redis.RedisError, OSError) as error:
            alive, text = 0, f"Redis does not answer: {type(error).__name__}"
        self._well = alive >= self.num_workers
        word = "ok" if self._well else "bad"
        temporary = self.health_file.with_name(f"{self.health_file.name}.{os.getpid()}")
        temporary.write_text(f"{word} {text}\n", encoding="utf-8")
        temporary.replace(self.health_file)

    def _is_registered(self, name: str) -> bool:
        host, death = self.probe.hmget(f"rq:worker:{name}", "hostname", "death")
        return death is None and host is not None and host.decode() == socket.gethostname()


def main(queues: list[str]) -> int:
    """Wait for Redis and run the pool until it is told to stop."""
    signal.signal(signal.SIGTERM, _leave)  # process 1 ignores what it has no handler for
    try:
        if not queues or any(not name or name.startswith("-") for name in queues):
            raise StartError("usage: rq-worker.py QUEUE...", EX_USAGE)
        count = int(_number("RQ_WORKER_COUNT", 2, least=1))
        connection = _connect()
        probe = _probe_of(connection)
        _wait_for(probe)
        time.sleep(_number("RQ_WORKER_STARTUP_DELAY_SECONDS", 0))
    except StartError as error:
        print(f"rq-worker: {error}", file=sys.stderr, flush=True)
        return error.code
    module, name = WORKER_CLASS
    worker_class = getattr(importlib.import_module(module), name)
    print(f"rq-worker: {count} workers for {', '.join(queues)}", flush=True)
    pool = WatchedPool(queues, connection=connection, num_workers=count, worker_class=worker_class)
    pool.probe = probe
    pool.health_file = Path(os.environ.get("RQ_WORKER_HEALTH_FILE", "").strip() or HEALTH_FILE)
    # Workers inherit this: until rq has handlers of its own, SIGTERM must simply end them.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    pool.start(burst=False, logging_level="INFO")
    pool.health_file.unlink(missing_ok=True)
    return 0


def _connect() -> redis.Redis:
    settings = importlib.import_module("wepppy.config.redis_settings")
    try:
        url: str = settings.redis_url(settings.RedisDB.RQ)
        return redis.Redis.from_url(url)
    except (ValueError, RuntimeError) as error:
        # A ValueError may quote the URL with the password in it.
        reason = str(error) if isinstance(error, RuntimeError) else "the Redis URL can't be understood"
        raise StartError(reason, EX_USAGE) from None


def _probe_of(connection: redis.Redis) -> redis.Redis:
    """Return a client of the same Redis that answers or gives up soon, and tries once."""
    options: dict[str, Any] = {
        **connection.connection_pool.connection_kwargs,
        "socket_connect_timeout": _number("RQ_REDIS_PROBE_CONNECT_TIMEOUT_SECONDS", 5, least=0.1),
        "socket_timeout": _number("RQ_REDIS_PROBE_SOCKET_TIMEOUT_SECONDS", 5, least=0.1),
        "retry": None,
    }
    kind = connection.connection_pool.connection_class
    return redis.Redis(connection_pool=redis.ConnectionPool(connection_class=kind, **options))


def _wait_for(probe: redis.Redis) -> None:
    """Return when Redis answers; loading its data set from disk does not count as an answer."""
    patience = _number("RQ_REDIS_WAIT_TIMEOUT_SECONDS", 300)
    pause = _number("RQ_REDIS_WAIT_INTERVAL_SECONDS", 1)
    deadline = time.monotonic() + patience
    said = ""
    while True:
        try:
            probe.ping()
        except redis.AuthenticationError:
            raise StartError("Redis refuses the password", EX_NOPERM) from None
        except (redis.RedisError, OSError) as error:
            reason = type(error).__name__
            if reason != said:
                said = reason
                print(f"rq-worker: waiting for Redis ({reason})", file=sys.stderr, flush=True)
            if time.monotonic() >= deadline:
                raise StartError(
                    f"Redis did not answer within {patience:g} s ({reason})", EX_UNAVAILABLE
                ) from None
            time.sleep(pause)
        else:
            return
        finally:
            probe.connection_pool.disconnect()


def _number(name: str, default: float, least: float = 0) -> float:
    text = os.environ.get(name, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not least <= value < float("inf"):
        raise StartError(f"{name}={text!r} is not a number of at least {least:g}", EX_USAGE)
    return value


def _leave(signum: int, frame: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
