"""The pool of workers that a launcher runs: how it is, as a file for the health check and in Redis for all hosts."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis
from rq.worker_pool import WorkerData, WorkerPool

HEALTH_INTERVAL = 5.0  # s
# s for which a worker's entry may be missing: it is written after the start, and again while a job runs.
ENTRY_GRACE = 20.0
RECORD_LIFE = 604_800  # s: a week after it was lost a pool is forgotten


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
        host: str,
        revision: str,
        clock: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.probe = probe
        self.health_file = health_file
        self.host = host
        self.revision = revision
        self.record = f"wepp:pool:{host}:{socket.gethostname()}"
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

    def start_worker(
        self, count: int | None = None, burst: bool = True, _sleep: float = 0, **options: Any
    ) -> None:
        """Start a worker whose name tells its host, unlike the one that rq would make up."""
        name = f"{self.host}.{uuid4().hex}"
        process = self.get_worker_process(name, burst=burst, _sleep=_sleep, **options)
        process.start()
        self.worker_dict[name] = WorkerData(name, process.pid, process)

    def forget(self) -> None:
        """Remove the record of a pool that ended."""
        with suppress(redis.RedisError, OSError):
            self.probe.delete(self.record)

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
            alive = f"{len(workers) - len(missing)} of {self.num_workers}"
            well = len(workers) - len(missing) >= self.num_workers
            self._write_record(alive, "" if well else "not all workers are alive")
            self._note(well, f"{alive} workers alive")
        except (redis.RedisError, OSError) as error:
            self._missing_since.clear()
            self._note(False, f"Redis does not answer: {type(error).__name__}")
            return
        self._replace(missing)

    def _note(self, well: bool, text: str) -> None:
        self._well = well
        temporary = self.health_file.with_name(f"{self.health_file.name}.{os.getpid()}")
        temporary.write_text(f"{'ok' if well else 'bad'} {text}\n", encoding="utf-8")
        temporary.replace(self.health_file)

    def _write_record(self, workers: str, note: str) -> None:
        """Write what this pool is, for the hosts that share its Redis."""
        fields = {
            "host": self.host,
            "container": socket.gethostname(),
            "queues": ",".join(self._queue_names),
            "revision": self.revision,
            "workers": workers,
            # Hosts' clocks differ.
            "heartbeat": self.probe.time()[0],
            "note": note,
        }
        with self.probe.pipeline() as pipeline:
            pipeline.hset(self.record, mapping=fields)
            pipeline.expire(self.record, RECORD_LIFE)
            pipeline.execute()

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
