"""Start a pool of RQ workers for the mounted source tree: `rq-worker.py QUEUE...`.

The tree provides `wepppy.config.redis_settings` (where Redis is) and `wepppy.rq.WepppyRqWorker`. The pool runs
in this process, so the Redis password is on no command line. Settings: RQ_WORKER_COUNT (2), WORKER_HOST (main): the
name by which the hosts that share this Redis know this one, RQ_REDIS_WAIT_TIMEOUT_SECONDS (300),
RQ_REDIS_WAIT_INTERVAL_SECONDS (1), RQ_REDIS_PROBE_CONNECT_TIMEOUT_SECONDS and RQ_REDIS_PROBE_SOCKET_TIMEOUT_SECONDS
(5), RQ_WORKER_STARTUP_DELAY_SECONDS (0), RQ_WORKER_HEALTH_FILE (/tmp/rq-worker.health): what the pool finds out about
its workers, for the container's health check; RQ_EXACTLY_ONE and WORKER_SAME_REVISION (none): queues, separated by
commas, that workerqueues.py describes; RQ_JOB_MEMORY (none): what a process of a job may take, as `2g`;
RQ_WORKER_STOP_GRACE (120s): a job has half of it when the pool is stopped.
Exit codes of sysexits.h: 64 usage or settings, 69 Redis did not come, 77 Redis refused the password.
"""

from __future__ import annotations

import importlib
import os
import re
import signal
import socket
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any, NoReturn

import redis
from workerclass import PollingWorker, bytes_of, hand_back_after
from workerlease import LeasedRedis
from workernames import NamesFirst
from workerpool import WatchedPool
from workerqueues import MAIN, QueueRules, queues_of
from workerreaper import Reaper
from workerrevision import revision

EX_USAGE, EX_UNAVAILABLE, EX_NOPERM = 64, 69, 77
WORKER_CLASS = ("wepppy.rq", "WepppyRqWorker")
HEALTH_FILE = "/tmp/rq-worker.health"  # noqa: S108 - a container's own, and the only place it can write to
HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def main(queues: list[str]) -> int:
    """Wait for Redis and run the pool until a signal stops it."""
    # Process 1 ignores what it has no handler for.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(0))
    if not queues or any(not name or name.startswith("-") for name in queues):
        _refuse("usage: rq-worker.py QUEUE...", EX_USAGE)
    count = int(_number("RQ_WORKER_COUNT", 2, least=1))
    host = os.environ.get("WORKER_HOST", "").strip() or MAIN
    if not HOST.fullmatch(host):
        _refuse(f"WORKER_HOST={host!r} is not a name of letters, digits, dots, dashes", EX_USAGE)
    for name, check in {"RQ_JOB_MEMORY": bytes_of, "RQ_WORKER_STOP_GRACE": hand_back_after}.items():
        try:
            check(os.environ.get(name, ""))
        except ValueError as error:
            _refuse(str(error), EX_USAGE)
    connection = _connect(socket_connect_timeout=5, socket_timeout=PollingWorker.connection_timeout)
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
    settings = importlib.import_module("wepppy.config.redis_settings")
    code = revision(Path(settings.__file__).parents[2], Path(sysconfig.get_path("purelib")))
    print(f"rq-worker: {count} workers for {', '.join(queues)} on {host}, revision {code}", flush=True)
    health_file = Path(os.environ.get("RQ_WORKER_HEALTH_FILE", "").strip() or HEALTH_FILE)
    rules = QueueRules(
        queues,
        probe,
        host=host,
        container=socket.gethostname(),
        revision=code,
        exactly_one=queues_of("RQ_EXACTLY_ONE"),
        same_revision=queues_of("WORKER_SAME_REVISION"),
    )
    pool = WatchedPool(
        rules,
        count=count,
        connection=connection,
        reaper=Reaper(probe, found, rules.consumer) if host == MAIN else None,
        # The tree's, made so that no job is lost when it ends and none begins while suspended.
        worker_class=type(name, (NamesFirst, PollingWorker, found), {}),
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


def _connect(**options: Any) -> LeasedRedis:
    settings = importlib.import_module("wepppy.config.redis_settings")
    try:
        return LeasedRedis.from_url(settings.redis_url(settings.RedisDB.RQ), **options)
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
