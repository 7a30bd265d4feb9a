"""Hosts that compute for a main host: how they are invited and join, and runs that are spread over all of them."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.engine.lifetime import own_stack
from tests.engine.stack import ROOT, Command, Stack
from tests.hosts.engines import Engine, load
from tests.hosts.site import NAME, MainHost

UID = GID = 1000
END_SECONDS = 900.0
RUNS, SERIAL = 12, "fork-archive"
# What tells one run's report from another's.
OWN = ("runid", "name", "job")
# As `start_run` of the sample does.
ENQUEUE = """
import sys
from redis import Redis
from rq import Queue
from wepppy.config.redis_settings import RedisDB, redis_url
queue = Queue(sys.argv[1], connection=Redis.from_url(redis_url(RedisDB.RQ)))
for runid in sys.argv[2:]:
    queue.enqueue_call("wepppy.rq.jobs.run_project", args=(runid,), timeout=3600, meta={"runid": runid})
"""


@contextmanager
def shared_folder(name: str) -> Iterator[Path]:
    """A folder of runs and one of geodata in a folder that hosts mount; removed at the end."""
    folder = ROOT / ".docker-data" / f"{name}-{os.getpid()}"
    for each in ("wc1", "geodata"):
        (folder / each).mkdir(parents=True)
        os.chown(folder / each, UID, GID)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def build_images(stack: Stack) -> list[str]:
    """Build the images of a stack on this machine; return the names of those that its services have."""
    stack.invoke("compose-build", timeout=1500)
    model = json.loads(stack.invoke("compose-config", "--json").stdout)
    return sorted({each["image"] for each in model["services"].values() if not each.get("profiles")})


def production(shared: Path) -> dict[str, str]:
    """Settings of a stack in production whose folders are those that all hosts mount."""
    return {
        "COMPOSE_FILE": "docker/docker-compose.prod.yml",
        "COMPOSE_PROFILES": "",
        "SITE_ADDRESS": NAME,
        "RUN_LIMIT_PER_CLIENT": "1000/minute",
        "RUN_LIMIT_PER_ADDRESS": "1000/minute",
        "WC1_DIR": str(shared / "wc1"),
        "GEODATA_DIR": str(shared / "geodata"),
    }


@contextmanager
def main_host(engine: Engine, shared: Path) -> Iterator[MainHost]:
    """A stack in production on a host, open to others at its address, with the folders that all of them mount."""
    settings = production(shared) | {"WORKER_ADDRESS": engine.address}
    with own_stack(Stack, "main", **settings) as built:
        with built.env_file.open("a") as file:
            file.write(f"RQ_EXACTLY_ONE={SERIAL}\n")
        load(build_images(built), engine)
        stack = MainHost(built.env_file, node=engine.address, engine=engine)
        stack.invoke("compose-up", "--no-build")
        yield stack
        # Before its folders go.
        engine.kill()


@dataclass
class WorkerHost:
    """A host that computes: its engine, and the `.env` of its own that `worker-join` writes."""

    engine: Engine
    stack: Stack

    def invoke(self, *arguments: str, check: bool = True) -> Command:
        """Run a task as on that host."""
        name = self.stack.env_file.parent.name
        return self.stack.invoke(
            *arguments, check=check, DOCKER_HOST=self.engine.url, COMPOSE_PROJECT_NAME=name
        )


class Invited:
    """A host with an invitation that nobody used yet. folder: where what it gets will lie, and its Compose project."""

    def __init__(self, main: MainHost, engine: Engine, folder: Path, queues: str = "default") -> None:
        folder.mkdir(exist_ok=True)
        self.main = main
        self.host = WorkerHost(engine, Stack(folder / ".env"))
        done = main.invoke("worker-invite", f"--host={engine.name}", f"--queues={queues}", "--json")
        answer = json.loads(done.stdout)
        self.file = Path(answer["file"])
        self.phrase = folder / "passphrase"
        self.phrase.write_text(answer["passphrase"])

    def join(self, *, check: bool = True) -> Command:
        """Joins, and returns what was said."""
        words = ("worker-join", str(self.file), f"--passphrase-file={self.phrase}", "--json")
        return self.host.invoke(*words, check=check)

    def end(self) -> None:
        """Takes everything of it away."""
        self.host.invoke("compose-down", "--timeout=1", check=False)
        self.main.invoke("worker-leave", f"--host={self.host.engine.name}", "--now", check=False)
        self.file.unlink(missing_ok=True)
        shutil.rmtree(self.phrase.parent, ignore_errors=True)


class Farm:
    """A main host and two worker hosts, which all compute."""

    def __init__(self, main: MainHost, runs: Path) -> None:
        self.main = main
        self.invited: dict[str, Invited] = {}
        self.runs = runs
        self.started: list[str] = []
        self.serial: list[str] = []
        # What a run comes to where no other host has joined.
        self.expected = ""

    def create(self, count: int) -> list[str]:
        """Creates runs; their ids."""
        found = []
        for number in range(count):
            created = self.main.post("/weppcloud/api/runs", {"name": f"run {number}"})
            assert created.status == 201, created
            found.append(created.content["runid"])
        return found

    def enqueue(self, queue: str, runids: Sequence[str]) -> None:
        """Puts the computation of runs on a queue."""
        self.in_main(ENQUEUE, queue, *runids)

    def in_main(self, program: str, *arguments: str) -> None:
        """Runs a program in Python among the web application's modules."""
        self.main.compose("exec", "-T", "weppcloud", "python", "-c", program, *arguments)

    def start(self, count: int = RUNS) -> list[str]:
        """Creates runs and has them computed, of each four one by the queue with one consumer; their ids."""
        found = self.create(count)
        serial = found[::4]
        self.enqueue(SERIAL, serial)
        for runid in found:
            if runid not in serial:
                assert self.main.post(f"/weppcloud/api/runs/{runid}/start", {}).status == 202
        self.started += found
        self.serial += serial
        return found

    def engine(self, host: str) -> Engine:
        return self.invited[host].host.engine

    def folder(self, runid: str) -> Path:
        return self.runs / runid[:2] / runid

    def log(self, runid: str) -> str:
        """What was logged into the run's folder."""
        path = self.folder(runid) / "rq.log"
        return path.read_text() if path.is_file() else ""

    def report(self, runid: str) -> str:
        """What the run came to, without what tells it from others."""
        told = json.loads((self.folder(runid) / "report.json").read_text())
        return json.dumps({key: value for key, value in told.items() if key not in OWN}, sort_keys=True)

    def hosts(self) -> dict[str, dict[str, Any]]:
        """What `invoke workers` tells, by host."""
        answer = json.loads(self.main.invoke("workers", "--json", check=False).stdout)
        return {each["host"]: each for each in answer["hosts"]}

    def wait_until(self, what: str, condition: Callable[[], bool], seconds: float = END_SECONDS) -> float:
        """Returns after how many seconds it was so."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < seconds, f"{what}: {self.hosts()}"
            time.sleep(0.2)
        return time.monotonic() - began

    def wait_for_jobs_of(self, host: str) -> None:
        self.wait_until(f"{host} computes", lambda: bool(self.hosts()[host]["jobs"]))

    def wait_until_told(self, host: str, what: str = "no heartbeat") -> None:
        self.wait_until(f"{what!r} is told of {host}", lambda: what in self.hosts()[host]["wrong"], 60)

    def wait_until_well(self) -> None:
        self.wait_until("all are well", lambda: not any(each["wrong"] for each in self.hosts().values()))

    def require_all_ended_once(self, runids: list[str]) -> None:
        """Every run has the report that a run on one host has, and none was completed twice."""
        self.wait_until("all runs end", lambda: all(self.ended(each) for each in runids))
        for each in runids:
            assert self.log(each).count("run_project COMPLETED") == 1, self.log(each)
            assert self.report(each) == self.expected

    def ended(self, runid: str) -> bool:
        return "run_project COMPLETED" in self.log(runid)
