"""The pool of workers that a launcher runs: how it is, as a file for the health check and in Redis for all hosts."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis
from rq.worker_pool import WorkerData, WorkerPool
from workerqueues import POOLS, QueueRules
from workerreaper import Reaper

HEALTH_INTERVAL = 5.0  # s
REAP_INTERVAL = 2.0  # s
RECORD_LIFE = 604_800  # s: a week after it was lost a pool is forgotten


class WatchedPool(WorkerPool):
    """A pool that writes how many of its workers are alive into a file every few seconds.

    A worker is alive when its process runs here and its entry in Redis, which every heartbeat prolongs, is there.
    The health check then only reads a file: it runs for ever, and loading a Redis client each time costs a quarter
    of a second of processor time.
    """

    def __init__(
        self,
        rules: QueueRules,
        *,
        count: int,
        probe: redis.Redis,
        health_file: Path,
        reaper: Reaper | None = None,
        clock: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        super().__init__(rules.names, num_workers=count, **options)
        self.rules = rules
        self.count = count
        self.probe = probe
        self.health_file = health_file
        self.reaper = reaper
        self.clock = clock
        self.record = f"wepp:pool:{rules.host}:{socket.gethostname()}"
        self.plan: list[tuple[str, ...]] = []
        self._process_id = os.getpid()
        self._reported = self._reaped = float("-inf")
        self._well = False
        self._said = ""
        # Names of workers: what each takes, and which were told to end.
        self._takes: dict[str, tuple[str, ...]] = {}
        self._retired: set[str] = set()

    def start(self, *arguments: Any, **options: Any) -> None:
        """Run until a signal ends it."""
        with suppress(redis.RedisError, OSError):
            self._look()
        super().start(*arguments, **options)
        with suppress(redis.RedisError, OSError):
            self.rules.close()
            if self.reaper:
                self.reaper.close()
            self.probe.delete(self.record)
            self.probe.srem(POOLS, self.record)

    def check_workers(self, respawn: bool = True) -> None:
        """Check the workers and write the health file; rq calls it about once a second."""
        super().check_workers(respawn)
        self._report_in_time()
        self._reap()

    def all_workers_have_stopped(self) -> bool:
        """Return whether none is left; rq calls it about once a second for a pool that was told to stop."""
        self._report_in_time()
        return bool(super().all_workers_have_stopped())

    def start_worker(
        self, count: int | None = None, burst: bool = True, _sleep: float = 0, **options: Any
    ) -> None:
        """Start a worker that the plan lacks; its name tells its host, unlike the one that rq would make up."""
        self._takes = {name: self._takes[name] for name in self.worker_dict}
        name = f"{self.rules.host}.{uuid4().hex}"
        self._takes[name] = next(iter((Counter(self.plan) - Counter(self._takes.values())).elements()))
        self._queue_names = list(self._takes[name])
        process = self.get_worker_process(name, burst=burst, _sleep=_sleep, **options)
        process.start()
        self.worker_dict[name] = WorkerData(name, process.pid, process)

    def request_stop(self, signum: int | None = None, frame: object = None) -> None:
        """Handle SIGTERM and SIGINT, also in a new worker process until it has handlers of its own."""
        if os.getpid() != self._process_id:
            # rq would stop the other workers from here.
            raise SystemExit(0)
        super().request_stop(signum, frame)

    def _report_in_time(self) -> None:
        # Until all is well each round is reported, so that a start is seen as soon as it succeeded.
        if not self._well or self.clock() - self._reported >= HEALTH_INTERVAL:
            self._report()
            self._reported = self.clock()

    def _report(self) -> None:
        try:
            self._look()
            alive = sum(map(self._is_registered, list(self.worker_dict)))
            well, workers = alive >= self.num_workers, f"{alive} of {self.num_workers}"
            trouble = (
                "it is being stopped" if self.status == self.Status.STOPPED else "not all workers are alive"
            )
            self._write_record(workers, "; ".join(filter(None, ["" if well else trouble, self.rules.note])))
        except (redis.RedisError, OSError) as error:
            self._write_health(False, f"Redis does not answer: {type(error).__name__}")
        else:
            self._write_health(well, "; ".join(filter(None, [f"{workers} workers alive", self.rules.note])))

    def _look(self) -> None:
        """Find out which queues may be taken, and tell workers to end that take others."""
        self.rules.look(name for worker in self.worker_dict for name in self._takes[worker])
        self.plan = self.rules.plan(self.count)
        self.num_workers = len(self.plan)
        if self.rules.note != self._said:
            self._said = self.rules.note
            self.log.warning(self._said or "All queues are taken")
        lacking = Counter(self.plan)
        for worker in list(self.worker_dict.values()):
            takes = self._takes[worker.name]
            if lacking[takes]:
                lacking[takes] -= 1
            elif worker.name not in self._retired and self.status != self.Status.STOPPED:
                self.log.warning(
                    "Worker %s is to end after its job: it takes %s", worker.name, ", ".join(takes)
                )
                self._retired.add(worker.name)
                self.stop_worker(worker, signal.SIGTERM)

    def _reap(self) -> None:
        """Look for jobs that hosts were lost with, and end those in a process of its own, which can be held up."""
        if self.reaper and self.clock() - self._reaped >= REAP_INTERVAL:
            self._reaped = self.clock()
            with suppress(redis.RedisError, OSError):
                lost = self.reaper.look()
                if lost:
                    get_context("fork").Process(target=self.reaper.end, args=(lost,)).start()

    def _write_health(self, well: bool, text: str) -> None:
        self._well = well
        temporary = self.health_file.with_name(f"{self.health_file.name}.{os.getpid()}")
        temporary.write_text(f"{'ok' if well else 'bad'} {text}\n", encoding="utf-8")
        temporary.replace(self.health_file)

    def _write_record(self, workers: str, note: str) -> None:
        """Write what this pool is, for the hosts that share its Redis."""
        fields = {
            "host": self.rules.host,
            "container": socket.gethostname(),
            "queues": ",".join(self.rules.allowed),
            "revision": self.rules.revision,
            "workers": workers,
            # Hosts' clocks differ.
            "heartbeat": self.probe.time()[0],
            "note": note,
        }
        with self.probe.pipeline() as pipeline:
            pipeline.sadd(POOLS, self.record)
            pipeline.hset(self.record, mapping=fields)
            pipeline.expire(self.record, RECORD_LIFE)
            pipeline.execute()

    def _is_registered(self, name: str) -> bool:
        host, death = self.probe.hmget(f"rq:worker:{name}", "hostname", "death")
        return death is None and host is not None and host.decode() == socket.gethostname()
