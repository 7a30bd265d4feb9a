"""The worker with a real Redis: a whole run computed, and jobs that outlive every way to die, ending exactly once."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import rasterio
import redis
import worker_jobs
from conftest import SAMPLE_TREE, RedisServer, wait_until
from rq import Queue
from rq.job import Job
from rq.registry import StartedJobRegistry
from wepppy import prep as prep_module
from wepppy import status_messenger
from wepppy.prep import RedisPrep
from wepppy.rq import recovery
from wepppy.rq.jobs import LOCK_FILE, TASKS
from wepppy.rq.project import create_run_directory
from wepppy.rq.worker import MOST_KILLS, RESULT_TTL
from wepppy.sample_data import read_marker

LAUNCHER = SAMPLE_TREE.parent / "python" / "rq-worker.py"
HEALTH = SAMPLE_TREE.parent / "python" / "worker-health.py"
RUNID = "rain-on-hills"
pytestmark = pytest.mark.timeout(180)


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
        told = [json.loads(text) for channel, text in self.read() if channel == f"{RUNID}:rq"]
        return [entry["status"] for entry in told if entry["job"] == job.id]

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

    @property
    def log(self) -> str:
        return (self.folder / "pool.log").read_text()

    def environment(self, **settings: str) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(SAMPLE_TREE), str(Path(__file__).parent)]),
            "RQ_WORKER_HEALTH_FILE": str(self.folder / "health"),
            "RQ_WORKER_COUNT": "1",
            **settings,
        }

    def start(self, **settings: str) -> subprocess.Popen[bytes]:
        with (self.folder / "pool.log").open("ab") as log:
            pool = subprocess.Popen(
                [sys.executable, str(LAUNCHER), "default", "batch"],
                env=self.environment(**settings),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pools.append(pool)
        return pool

    def health(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(HEALTH)], env=self.environment(), capture_output=True, text=True, check=False
        )

    def workers(self) -> list[int]:
        found = self.queue.connection.smembers("rq:workers")
        return sorted(int(self.queue.connection.hget(key, "pid") or 0) for key in found)

    def started(self, job: Job) -> int:
        """Wait until the job's function runs and return the process id of its work-horse."""
        wait_until(lambda: alive(self.horse(job)), f"the job starting\n{self.log}")
        return self.horse(job)

    def horse(self, job: Job) -> int:
        log = self.folder / "wc1/runs" / RUNID[:2] / RUNID / "starts"
        return int(log.read_text().split()[-1]) if log.exists() else 0

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
            os.killpg(
                pool.pid, signal.SIGKILL
            )  # its workers bind themselves to it, its session holds the rest
            pool.wait()
    watcher.close()
    connection.close()


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


def checklist(fields: dict[str, str]) -> dict[str, bool]:
    """The preflight service's rules, as the contract words them."""

    def at(task: str) -> int:
        return int(fields.get(f"timestamps:{task}", -1))

    channels, watershed = at("build_channels"), at("abstract_watershed")
    inputs = max(at("build_landuse"), at("build_soils"), at("build_climate"))
    return {
        "channels": channels >= 0,
        "outlet": max(at("set_outlet"), at("find_outlet")) > channels,
        "subcatchments": watershed > channels,
        "landuse": at("build_landuse") > watershed,
        "soils": at("build_soils") > max(watershed, at("build_landuse")),
        "climate": at("build_climate") > watershed,
        "wepp": at("run_wepp_watershed") > inputs,
        "rusle": at("build_rusle") > max(at("build_climate"), at("run_wepp_watershed")),
    }


def test_a_run_is_computed_from_elevation_to_report(stack: Stack, run_folder: Path, geodata: Path) -> None:
    stack.start()
    job = stack.queue.enqueue("wepppy.rq.jobs.run_project", RUNID, job_timeout=300)
    stack.ended(job, "finished")
    wait_until(lambda: "finished" in stack.events.statuses(job), "the event")
    assert stack.events.statuses(job) == ["started", "finished"]
    assert stack.events.texts()[-1] == "run_project COMPLETED"
    told = [text.partition(":")[0] for text in stack.events.texts()]
    assert list(dict.fromkeys(told)) == [*(task for task, _, _ in TASKS), "run_project COMPLETED"]

    fields = RedisPrep(RUNID).fields()
    assert all(checklist(fields).values()), fields
    assert {value for name, value in fields.items() if name.startswith("locked:")} == {"false"}
    assert fields["locked:watershed.nodb"] == "false"

    job.refresh()
    assert job.meta["runid"] == RUNID
    assert job.meta["pid"] > 0
    remaining = stack.queue.connection.ttl(job.key)
    assert RESULT_TTL - 120 < remaining <= RESULT_TTL
    assert "run_project COMPLETED" in (run_folder / "rq.log").read_text()
    report = json.loads((run_folder / "report.json").read_text())
    assert report == job.return_value()
    assert report["job"] == job.id
    assert not list(run_folder.rglob(".part-*"))
    check_outputs(run_folder, geodata, report)


def check_outputs(folder: Path, geodata: Path, report: dict[str, Any]) -> None:
    with rasterio.open(geodata / "ned1/2016/.vrt") as source, rasterio.open(folder / "dem/dem.tif") as dem:
        window = source.window(*dem.bounds).round_offsets().round_lengths()
        assert np.array_equal(source.read(1, window=window), dem.read(1))  # cropped, not resampled
        shape, area = dem.shape, abs(dem.transform.a * dem.transform.e)
    with rasterio.open(folder / "watershed/subcatchments.tif") as dataset:
        labels = dataset.read(1)
    assert labels.shape == shape
    table = pyarrow.parquet.read_table(folder / "watershed/subcatchments.parquet").to_pydict()
    assert table["subcatchment"] == sorted(set(np.unique(labels).tolist()) - {0})
    counted = np.bincount(labels.ravel())[1:] * area / 1e4
    assert np.allclose(table["area_ha"], counted)
    assert report["results"]["watershed"]["area_ha"] == pytest.approx(counted.sum(), abs=0.01)
    with rasterio.open(folder / "watershed/contributing_area.tif") as dataset:
        assert dataset.read(1)[labels > 0].max() / 1e4 == pytest.approx(counted.sum(), rel=1e-6)
    with rasterio.open(folder / "wepp/output/soil_loss.tif") as dataset:
        loss = dataset.read(1, masked=True)
    assert loss.min() >= 0
    assert loss.mean() == pytest.approx(report["results"]["soil_loss"]["mean_t_ha_yr"], rel=1e-3)
    hillslopes = pyarrow.parquet.read_table(folder / "wepp/output/hillslopes.parquet").to_pydict()
    volume = np.dot(hillslopes["runoff_mm"], hillslopes["area_ha"]) * 10
    assert report["results"]["runoff"]["discharge_m3"] == pytest.approx(volume, rel=1e-6)
    with (folder / "wepp/output/channels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["discharge_m3"]) == pytest.approx(volume, rel=1e-5)
    outlet = pyarrow.parquet.read_table(folder / "wepp/output/outlet.parquet").to_pydict()
    assert sum(outlet["discharge_m3"]) == pytest.approx(volume, rel=1e-6)
    shapes = json.loads((folder / "watershed/channels.geojson").read_text())
    assert len(shapes["features"]) == len(rows)
    assert "<h1>Rain</h1>" in (folder / "report.html").read_text()


def test_a_run_ends_with_the_same_files_after_its_process_was_killed_half_way(
    stack: Stack, run_folder: Path, tmp_path: Path
) -> None:
    stack.start()
    job = stack.queue.enqueue("wepppy.rq.jobs.run_project", RUNID, job_timeout=300)
    wait_until(lambda: any("build_channels" in text for text in stack.events.texts()), "the first step")
    os.kill(job.get_meta(refresh=True)["pid"], signal.SIGKILL)
    stack.ended(job, "finished")
    wait_until(lambda: "finished" in stack.events.statuses(job), "the event")
    assert stack.events.statuses(job) == ["started", "requeued", "started", "finished"]
    assert stack.events.texts().count("run_project COMPLETED") == 1
    assert all(checklist(RedisPrep(RUNID).fields()).values())
    interrupted = {path: path.read_bytes() for path in run_folder.rglob("*.tif")}
    again = stack.queue.enqueue("wepppy.rq.jobs.run_project", RUNID, job_timeout=300)
    stack.ended(again, "finished")
    assert {path: path.read_bytes() for path in run_folder.rglob("*.tif")} == interrupted
    assert not list(run_folder.rglob(".part-*"))


def test_a_killed_work_horse_costs_one_try_and_the_job_ends_once(
    stack: Stack, release: Callable[[], None]
) -> None:
    stack.start()
    job = stack.queue.enqueue("worker_jobs.wait_for_release", RUNID)
    first = stack.started(job)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: worker_jobs.starts(RUNID) == 2, "a second try")
    release()
    stack.ended(job, "finished")
    wait_until(lambda: "finished" in stack.events.statuses(job), "the event")
    assert stack.events.statuses(job) == ["started", "requeued", "started", "finished"]
    assert job.return_value() == "released"
    assert worker_jobs.starts(RUNID) == 2


def test_a_killed_worker_takes_its_work_horse_along_and_another_worker_ends_the_job_once(
    stack: Stack, release: Callable[[], None]
) -> None:
    stack.start()
    job = stack.queue.enqueue("worker_jobs.wait_for_release", RUNID)
    horse = stack.started(job)
    os.kill(parent_of(horse), signal.SIGKILL)
    wait_until(lambda: not alive(horse), "the work-horse dying with its worker")
    wait_until(lambda: worker_jobs.starts(RUNID) == 2, f"a second try\n{stack.log}")
    release()
    stack.ended(job, "finished")
    wait_until(lambda: "finished" in stack.events.statuses(job), "the event")
    assert stack.events.statuses(job) == ["started", "requeued", "started", "finished"]
    assert len(StartedJobRegistry(queue=stack.queue).get_job_ids(cleanup=False)) == 0


def test_a_killed_pool_takes_all_along_and_the_next_pool_ends_the_job_once(
    stack: Stack, release: Callable[[], None]
) -> None:
    pool = stack.start()
    job = stack.queue.enqueue("worker_jobs.wait_for_release", RUNID)
    horse = stack.started(job)
    worker = parent_of(horse)
    os.killpg(pool.pid, signal.SIGKILL)
    pool.wait()
    wait_until(lambda: not alive(worker) and not alive(horse), "worker and work-horse dying with the pool")
    assert job.get_status() == "started"  # nobody was left to say otherwise
    stack.start()
    wait_until(lambda: worker_jobs.starts(RUNID) == 2, f"a second try\n{stack.log}")
    release()
    stack.ended(job, "finished")
    assert worker_jobs.starts(RUNID) == 2


def test_workers_whose_pool_was_killed_stop_by_themselves(stack: Stack) -> None:
    pool = stack.start()
    wait_until(lambda: len(stack.workers()) == 1, "a worker")
    worker = stack.workers()[0]
    pool.kill()
    pool.wait()
    wait_until(lambda: not alive(worker), "the worker stopping")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("function", ["kill_itself", "kill_its_worker"])
def test_a_job_that_always_gets_its_process_killed_is_given_up(stack: Stack, function: str) -> None:
    stack.start()
    job = stack.queue.enqueue(f"worker_jobs.{function}", RUNID)
    stack.ended(job, "failed")
    wait_until(lambda: "failed" in stack.events.statuses(job), "the event")
    assert worker_jobs.starts(RUNID) == MOST_KILLS + 1
    assert stack.events.statuses(job) == [*["started", "requeued"] * MOST_KILLS, "started", "failed"]
    assert job.get_meta(refresh=True)["exc_string"]
    assert stack.queue.count == 0
    assert len(StartedJobRegistry(queue=stack.queue).get_job_ids(cleanup=False)) == 0


def test_an_exception_is_final_and_its_traceback_is_kept(stack: Stack) -> None:
    stack.start()
    job = stack.queue.enqueue("worker_jobs.fail", RUNID)
    stack.ended(job, "failed")
    wait_until(lambda: "failed" in stack.events.statuses(job), "the event")
    assert stack.events.statuses(job) == ["started", "exception", "failed"]
    meta = job.get_meta(refresh=True)
    assert "ZeroDivisionError: the ground is flat" in meta["exc_string"]
    assert "in fail" in meta["exc_string"]
    assert "ZeroDivisionError" in (worker_jobs.get_wd(RUNID) / "rq.log").read_text()
    assert worker_jobs.starts(RUNID) == 1


@pytest.mark.parametrize(
    ("extent", "reason"),
    [
        ((10.0, 10.0, 10.1, 10.1), "the extent covers less than"),
        ((-116.8, 46.8, -116.7999, 46.8001), "the extent"),
    ],
)
def test_a_run_that_cannot_be_computed_says_why_and_leaves_no_lock(
    stack: Stack, run_folder: Path, extent: tuple[float, ...], reason: str
) -> None:
    held = json.loads((run_folder / "ron.nodb").read_text())
    (run_folder / "ron.nodb").write_text(json.dumps({**held, "extent": extent}))
    stack.start()
    job = stack.queue.enqueue("wepppy.rq.jobs.run_project", RUNID)
    stack.ended(job, "failed")
    wait_until(lambda: "failed" in stack.events.statuses(job), "the event")
    assert stack.events.texts()[-1].startswith(f"run_project FAILED: {reason}")
    fields = RedisPrep(RUNID).fields()
    assert "true" not in {value for name, value in fields.items() if name.startswith("locked:")}
    assert not checklist(fields)["channels"]


def test_the_run_is_found_by_keyword_too(stack: Stack) -> None:
    stack.start()
    job = stack.queue.enqueue("worker_jobs.by_keyword", kwargs={"runid": RUNID})
    stack.ended(job, "finished")
    wait_until(lambda: "finished" in stack.events.statuses(job), "the event")
    assert job.get_meta(refresh=True)["runid"] == RUNID


def test_sigusr1_cancels_the_job(stack: Stack) -> None:
    stack.start()
    job = stack.queue.enqueue("worker_jobs.wait_for_release", RUNID)
    os.kill(stack.started(job), signal.SIGUSR1)
    stack.ended(job, "failed")
    wait_until(lambda: "canceled" in stack.events.statuses(job), "the event")
    assert stack.events.statuses(job) == ["started", "exception", "canceled"]
    assert "JobCancelledError" in job.get_meta(refresh=True)["exc_string"]


def test_a_stopped_pool_lets_its_job_end(stack: Stack, release: Callable[[], None]) -> None:
    pool = stack.start()
    job = stack.queue.enqueue("worker_jobs.wait_for_release", RUNID)
    stack.started(job)
    pool.terminate()
    wait_until(lambda: "Waiting for workers" in stack.log, "the pool waiting")
    release()
    assert pool.wait(timeout=60) == 0
    assert job.get_status() == "finished"
    assert stack.workers() == []


def test_a_stopped_pool_hands_back_a_job_that_takes_too_long(
    stack: Stack, release: Callable[[], None]
) -> None:
    pool = stack.start(RQ_WORKER_STOP_GRACE_SECONDS="0.1")
    job = stack.queue.enqueue("worker_jobs.wait_for_release", RUNID)
    stack.started(job)
    pool.terminate()
    assert pool.wait(timeout=60) == 0
    assert job.get_status() == "queued"
    assert stack.queue.job_ids == [job.id]
    assert job.get_meta(refresh=True)["kills"] == 0  # not the job's fault
    stack.start()
    release()
    stack.ended(job, "finished")
    wait_until(lambda: "finished" in stack.events.statuses(job), "the event")
    assert stack.events.statuses(job) == ["started", "requeued", "started", "finished"]


def test_a_job_lost_between_queue_and_registry_is_found(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = stack.queue.enqueue("worker_jobs.by_keyword", kwargs={"runid": RUNID})
    waiting = stack.queue.enqueue("worker_jobs.by_keyword", kwargs={"runid": RUNID})
    stack.queue.connection.lrem(stack.queue.key, 1, lost.id)  # what a worker does just before it dies
    assert recovery.requeue_lost_jobs(stack.queue) == []  # it might be on its way
    stack.queue.connection.delete("wepppy:rq:searching:default")
    assert recovery.requeue_lost_jobs(stack.queue) == []  # still in doubt
    monkeypatch.setattr(recovery, "_DOUBT", 0)
    assert recovery.requeue_lost_jobs(stack.queue) == []  # somebody else has just searched
    stack.queue.connection.delete("wepppy:rq:searching:default")
    assert recovery.requeue_lost_jobs(stack.queue) == [lost.id]
    assert sorted(stack.queue.job_ids) == sorted([waiting.id, lost.id])
    stack.start()
    stack.ended(lost, "finished")
    stack.ended(waiting, "finished")


def test_of_two_workers_that_find_an_abandoned_job_one_requeues_it(stack: Stack) -> None:
    job = stack.queue.enqueue("worker_jobs.by_keyword", kwargs={"runid": RUNID})
    stack.queue.connection.lrem(stack.queue.key, 1, job.id)
    registry = StartedJobRegistry(queue=stack.queue)
    stack.queue.connection.zadd(registry.key, {f"{job.id}:execution": time.time() - 1})
    first, second = (next(iter(recovery.abandoned_jobs(stack.queue))) for _ in range(2))
    assert recovery.requeue(stack.queue, first)
    assert not recovery.requeue(stack.queue, second)
    assert stack.queue.job_ids == [job.id]
    assert list(recovery.abandoned_jobs(stack.queue)) == []


def test_a_worker_on_another_host_is_given_its_time(stack: Stack) -> None:
    job = stack.queue.enqueue("worker_jobs.by_keyword", kwargs={"runid": RUNID})
    stack.queue.connection.lrem(stack.queue.key, 1, job.id)
    key = StartedJobRegistry(queue=stack.queue).key
    stack.queue.connection.zadd(key, {f"{job.id}:execution": time.time() + 30})
    stack.queue.connection.hset(job.key, mapping={"status": "started", "worker_name": "w"})
    dead = {"pid": 2**22 + 1}  # above the kernel's largest process id
    stack.queue.connection.hset("rq:worker:w", mapping={**dead, "hostname": "elsewhere"})
    assert list(recovery.abandoned_jobs(stack.queue)) == []
    stack.queue.connection.hset("rq:worker:w", mapping={**dead, "hostname": socket.gethostname()})
    assert [found.job.id for found in recovery.abandoned_jobs(stack.queue)] == [job.id]


def test_a_restart_of_redis_in_the_middle_of_a_run_loses_nothing(stack: Stack, run_folder: Path) -> None:
    stack.start()
    job = stack.queue.enqueue("wepppy.rq.jobs.run_project", RUNID, job_timeout=300)
    wait_until(lambda: any("build_channels" in text for text in stack.events.texts()), "the first step")
    stack.server.stop()
    stack.server.start()
    stack.ended(job, "finished", attempts=1200)
    assert all(checklist(RedisPrep(RUNID).fields()).values())
    assert json.loads((run_folder / "report.json").read_text())["job"] == job.id


def test_two_jobs_of_one_run_work_one_after_the_other(stack: Stack, run_folder: Path) -> None:
    with (run_folder / LOCK_FILE).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        stack.start()
        job = stack.queue.enqueue("wepppy.rq.jobs.run_project", RUNID, job_timeout=300)
        wait_until(lambda: any("waiting" in text for text in stack.events.texts()), "the job waiting")
        assert not (run_folder / "dem").exists()
    stack.ended(job, "finished")


def test_a_job_that_was_done_but_not_acknowledged_is_not_computed_again(
    stack: Stack, run_folder: Path
) -> None:
    job = Job.create("wepppy.rq.jobs.run_project", (RUNID,), connection=stack.queue.connection)
    (run_folder / "report.json").write_text(json.dumps({"job": job.id, "results": {}}))
    stack.start()
    stack.queue.enqueue_job(job)
    stack.ended(job, "finished")
    assert job.return_value() == {"job": job.id, "results": {}}
    assert not (run_folder / "dem").exists()


def test_health_follows_the_workers(stack: Stack) -> None:
    assert "not reported" in stack.health().stdout
    pool = stack.start(RQ_WORKER_COUNT="2")
    wait_until(lambda: stack.health().returncode == 0, "the pool being healthy")
    assert stack.health().stdout == "2 of 2 workers alive\n"
    for key in stack.queue.connection.smembers("rq:workers"):
        stack.queue.connection.delete(key)  # as when heartbeats stop coming and the entry expires
    wait_until(lambda: stack.health().returncode == 1, "the pool being unhealthy")
    old = time.time() - 60
    pool.send_signal(signal.SIGSTOP)
    os.utime(stack.folder / "health", (old, old))
    assert "ago" in stack.health().stdout
    assert stack.health().returncode == 1
    pool.send_signal(signal.SIGCONT)


def test_the_password_is_on_no_command_line_and_in_no_log(stack: Stack) -> None:
    stack.start()
    wait_until(lambda: stack.health().returncode == 0, "the pool being healthy")
    for pid in [stack.pools[0].pid, *stack.workers()]:
        assert stack.server.password.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert stack.server.password not in stack.log
    assert "p%40ss" not in stack.log


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "said"),
    [
        ([], {}, 64, "usage"),
        (["--help"], {}, 64, "usage"),
        (["default"], {"RQ_WORKER_COUNT": "0"}, 64, "RQ_WORKER_COUNT"),
        (["default"], {"RQ_WORKER_COUNT": "many"}, 64, "RQ_WORKER_COUNT"),
        (["default"], {"RQ_REDIS_WAIT_TIMEOUT_SECONDS": "-1"}, 64, "RQ_REDIS_WAIT_TIMEOUT_SECONDS"),
        (["default"], {"REDIS_URL": "redis://:hidden@host:port/0"}, 64, "URL"),
        (["default"], {"REDIS_URL": "carrier-pigeon://:hidden@host/0"}, 64, "URL"),
        (["default"], {"REDIS_PASSWORD_FILE": "/nowhere"}, 64, "REDIS_PASSWORD"),
        (["default"], {"REDIS_PORT": "1", "RQ_REDIS_WAIT_TIMEOUT_SECONDS": "0"}, 69, "did not answer"),
        (["default"], {"REDIS_PASSWORD": "wrong"}, 77, "password"),
    ],
)
def test_the_launcher_refuses_what_cannot_work(
    stack: Stack, arguments: list[str], settings: dict[str, str], code: int, said: str
) -> None:
    result = subprocess.run(
        [sys.executable, str(LAUNCHER), *arguments],
        env=stack.environment(**settings),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == code, result.stderr
    assert said in result.stderr
    assert "hidden" not in result.stderr
    assert "Traceback" not in result.stderr


def test_the_launcher_waits_for_redis_and_leaves_when_told(stack: Stack) -> None:
    pool = stack.start(REDIS_PORT="1")
    wait_until(lambda: "waiting for Redis" in stack.log, "the launcher waiting")
    pool.terminate()
    assert pool.wait(timeout=30) == 0
