"""What the tests of the worker share: a queue on a real Redis, pools of workers, and what the watchers hear."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import quick_launcher
import redis
import worker_jobs
from conftest import SAMPLE_TREE, RedisServer, wait_until
from rq import Queue
from rq.job import Job
from wepppy import prep as prep_module
from wepppy import status_messenger
from wepppy.rq.project import create_run_directory
from wepppy.sample_data import read_marker

LAUNCHER = SAMPLE_TREE.parent / "python" / "stack" / "rq-worker.py"
sys.path.insert(0, str(LAUNCHER.parent))
SKELETON = Path(__file__).parents[1] / "tree" / "skeleton"
# The container's health check, from the compose file.
HEALTH = re.search(
    r'test: \[CMD-SHELL, "(cat /tmp/rq-worker\.health;.*?)"\]',
    (SAMPLE_TREE.parent / "docker-compose.base.yml").read_text(),
    re.DOTALL,
)
RUNID = "rain-on-hills"


@dataclass
class Events:
    """What the watchers of all runs hear."""

    watcher: redis.client.PubSub
    heard: list[tuple[str, str]] = field(default_factory=list)

    def read(self) -> list[tuple[str, str]]:
        while (message := self.watcher.get_message(timeout=0.01)) is not None:
            if message["type"] == "pmessage":
                self.heard.append((message["channel"], message["data"]))
        return self.heard

    def statuses(self, job: Job) -> list[str]:
        reported = [json.loads(text) for channel, text in self.read() if channel == f"{RUNID}:rq"]
        return [entry["status"] for entry in reported if entry["job"] == job.id]

    def texts(self) -> list[str]:
        return [text for channel, text in self.read() if channel == f"{RUNID}:wepp"]


@dataclass
class Stack:
    """A queue, and pools of workers in their own process groups."""

    server: RedisServer
    folder: Path
    queue: Queue
    events: Events
    pools: list[subprocess.Popen[bytes]] = field(default_factory=list)
    # Whether workers have rq 1 and the plain class of a real tree, instead of what the sample has.
    plain: bool = False
    launcher: Path = LAUNCHER

    @property
    def tree(self) -> list[str]:
        return [str(SKELETON), "/opt/rq1"] if self.plain else [str(SAMPLE_TREE)]

    @property
    def log(self) -> str:
        return (self.folder / "pool.log").read_text()

    def environment(self, **settings: str) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*self.tree, str(Path(__file__).parent)]),
            "RQ_WORKER_COUNT": "1",
            **settings,
        }

    def start(self, *queues: str, host: str = "main", **settings: str) -> subprocess.Popen[bytes]:
        """Start a pool (of `default` and `batch`), as a host has one."""
        variables = {"WORKER_HOST": host, "RQ_WORKER_HEALTH_FILE": str(self.folder / f"health-{host}")}
        with (self.folder / "pool.log").open("ab") as log:
            pool = subprocess.Popen(
                [sys.executable, str(self.launcher), *(queues or ("default", "batch"))],
                env=self.environment(**variables, **settings),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pools.append(pool)
        return pool

    def health(self, host: str = "main") -> subprocess.CompletedProcess[str]:
        assert HEALTH
        check = " ".join(HEALTH[1].split()).replace(
            "/tmp/rq-worker.health", str(self.folder / f"health-{host}")
        )
        return subprocess.run(["sh", "-c", check], capture_output=True, text=True, check=False)

    def workers(self, host: str = "") -> list[int]:
        found = [key for key in self.queue.connection.smembers("rq:workers") if host.encode() in key]
        return sorted(int(self.queue.connection.hget(key, "pid") or 0) for key in found)

    def started(self, job: Job) -> int:
        """Wait until the job's function runs and return the process id of its work-horse."""
        wait_until(lambda: alive(self.horse(job)), f"the job starting\n{self.log}")
        return self.horse(job)

    def horse(self, job: Job) -> int:
        log = self.folder / "wc1/runs" / RUNID[:2] / RUNID / "starts"
        # It is there before anything is written into it.
        started = log.read_text().split() if log.exists() else []
        return int(started[-1]) if started else 0

    def make_plain(self) -> None:
        """Have a real tree's workers, which ask Redis for the folder of a run."""
        self.plain = True
        with redis.Redis.from_url(self.server.url(11)) as folders:
            folders.set(RUNID, str(worker_jobs.get_wd(RUNID)))

    def ended(self, job: Job, status: str, attempts: int = 600) -> None:
        wait_until(lambda: job.get_status() == status, f"the job ending as {status}\n{self.log}", attempts)


def alive(pid: int) -> bool:
    try:
        return pid > 0 and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def session_of(leader: int) -> list[int]:
    """Return the living processes that a pool started in its session, itself included."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = entry.read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(session) == leader and state not in "ZX":
            found.append(int(entry.parent.name))
    return found


def _is_gone(group: int) -> bool:
    """Kill what is left of a process group; return whether there was nothing."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def stack(redis_env: RedisServer, data_env: Path) -> Iterator[Stack]:
    prep_module._client.cache_clear()
    status_messenger._client.cache_clear()
    watcher = redis.Redis.from_url(redis_env.url(2), decode_responses=True).pubsub()
    watcher.psubscribe("*:*")
    connection = redis.Redis.from_url(redis_env.url(9))
    made = Stack(redis_env, data_env, Queue("default", connection=connection), Events(watcher))
    create_run_directory(RUNID, "sample", "Rain", (-117.0, 46.7, -116.7, 46.9))
    yield made
    for pool in made.pools:
        if pool.poll() is None:
            # A worker that it forks meanwhile escapes the first kill, and would take jobs of the next test.
            os.killpg(pool.pid, signal.SIGKILL)
            pool.wait()
            wait_until(partial(_is_gone, pool.pid), "the end of the pool's processes")
    watcher.close()
    connection.close()


@pytest.fixture
def soon_lost(stack: Stack) -> None:
    """Have pools whose workers count as lost sooner than the product's."""
    stack.launcher = Path(quick_launcher.__file__)


@pytest.fixture
def release() -> Callable[[], None]:
    return lambda: (worker_jobs.get_wd(RUNID) / "release").touch()


@pytest.fixture(scope="module")
def geodata(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("geodata")
    subprocess.run(
        [sys.executable, "-m", "wepppy.sample_data", "--geodata", str(folder)],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(SAMPLE_TREE)},
    )
    return folder


@pytest.fixture
def run_folder(stack: Stack, geodata: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run on the sample watershed."""
    monkeypatch.setenv("GEODATA_DIR", str(geodata))
    folder = worker_jobs.get_wd(RUNID)
    marker = read_marker(geodata)
    assert marker is not None
    held = json.loads((folder / "ron.nodb").read_text())
    (folder / "ron.nodb").write_text(json.dumps({**held, "extent": marker["run_extent"]}))
    return folder
