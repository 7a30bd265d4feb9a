"""Answer the tasks about worker hosts with one JSON document: `worker_host.py QUESTION ...`.

revision: of the code that this container runs.
check PATH FILE SHA256 ...: for each shared folder whether FILE is there and holds what has that checksum, the folder's
owner, whether it can be written to, and how much room there is (bytes).
list: what runs where: pools of workers, queues, jobs. Redis is that of the tree's `wepppy.config.redis_settings`.
own HOST QUEUE...: give queues of which exactly one may be consumer to a host; `release HOST` takes them back, and
forgets the host's pools.
prove QUEUE: have a job run by whoever listens to QUEUE and say in which container it ran.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import shutil
import socket
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workerqueues import POOLS
from workerrevision import revision

PROOF_SECONDS = 60.0
PAUSE_SECONDS = 0.1
OWNER = "wepp:queue-owner:"


def check(path: str, file: str, sha256: str) -> dict[str, Any]:
    """Return what a worker would find in a shared folder."""
    folder = Path(path)
    found: dict[str, Any] = {"path": path, "same": False, "why": ""}
    try:
        status = folder.stat()
        found |= {"uid": status.st_uid, "gid": status.st_gid, "free": shutil.disk_usage(folder).free}
        found["same"] = hashlib.sha256((folder / file).read_bytes()).hexdigest() == sha256
    except OSError as error:
        found["why"] = f"{error.filename}: {error.strerror}"
    found["writable"] = ""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        found["writable"] = error.strerror or type(error).__name__
    return found


def own_revision() -> str:
    """Return which code runs here, as the launcher of workers tells it."""
    tree = Path(redis_settings().__file__).parents[2]
    return revision(tree, Path(sysconfig.get_path("purelib")))


def redis_settings() -> Any:
    """Return the tree's module."""
    return importlib.import_module("wepppy.config.redis_settings")


def connect() -> Any:
    """Return the queues' Redis."""
    import redis

    settings = redis_settings()
    return redis.Redis.from_url(settings.redis_url(settings.RedisDB.RQ))


def list_all(connection: Any) -> dict[str, Any]:
    """Return pools as their launchers wrote them, queues with what waits in them, jobs that run with their worker."""
    from rq import Queue
    from rq.registry import StartedJobRegistry

    records = (connection.hgetall(name) for name in sorted(connection.smembers(POOLS)))
    pools = [{key.decode(): value.decode() for key, value in each.items()} for each in records if each]
    jobs = []
    queues = {queue.name: queue.count for queue in Queue.all(connection=connection)}
    for name in queues:
        for job_id in StartedJobRegistry(name, connection=connection).get_job_ids():
            worker = connection.hget(f"rq:job:{job_id}", "worker_name")
            jobs.append({"id": job_id, "queue": name, "worker": worker.decode() if worker else ""})
    seconds, _ = connection.time()
    return {"now": seconds, "pools": pools, "queues": queues, "jobs": jobs}


def release(connection: Any, host: str) -> None:
    """Forget a host: the queues that were given to it, and what its pools wrote."""
    owned = [key for key in connection.scan_iter(f"{OWNER}*") if connection.get(key) == host.encode()]
    pools = [key for key in connection.smembers(POOLS) if key.startswith(f"wepp:pool:{host}:".encode())]
    if pools:
        connection.srem(POOLS, *pools)
    if owned or pools:
        connection.delete(*owned, *pools)


def prove(connection: Any, name: str) -> dict[str, Any]:
    """Return in which container a job of that queue ran; `refused` when none did within a minute."""
    from rq import Queue

    job = Queue(name, connection=connection).enqueue(
        socket.gethostname, result_ttl=300, ttl=int(PROOF_SECONDS)
    )
    deadline = time.monotonic() + PROOF_SECONDS
    while time.monotonic() < deadline:
        status = job.get_status(refresh=True)
        if status is not None and str(getattr(status, "value", status)) in ("finished", "failed"):
            break
        time.sleep(PAUSE_SECONDS)
    result = job.latest_result()
    if result is None or result.return_value is None:
        with contextlib.suppress(Exception):
            job.delete()
        return {"refused": f"no worker ran a job of the queue {name} within {PROOF_SECONDS:.0f} s"}
    return {"container": result.return_value}


def main(arguments: Sequence[str]) -> int:
    """Print the answer; return the exit code."""
    command, rest = arguments[0] if arguments else "", arguments[1:]
    if command == "check" and rest and len(rest) % 3 == 0:
        answer: dict[str, Any] = {
            "folders": [check(*rest[number : number + 3]) for number in range(0, len(rest), 3)],
            "revision": own_revision(),
        }
    elif command == "list" and not rest:
        answer = list_all(connect())
    elif command == "own" and len(rest) > 1:
        connect().mset({OWNER + queue: rest[0] for queue in rest[1:]})
        answer = {}
    elif command == "release" and len(rest) == 1:
        release(connect(), rest[0])
        answer = {}
    elif command == "prove" and len(rest) == 1:
        answer = prove(connect(), rest[0])
    elif command == "revision" and not rest:
        answer = {"revision": own_revision()}
    else:
        print(__doc__, file=sys.stderr)
        return 64
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
