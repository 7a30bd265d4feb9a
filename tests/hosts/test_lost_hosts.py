"""A worker host that is lost or cut off in the middle of runs: each run ends once, with the result that all have."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.stack import Stack
from tests.hosts.engines import Engine, run
from tests.hosts.test_worker_hosts import Invited

END_SECONDS = 900.0
RUNS = 10
# What tells one run's report from another's.
OWN = ("runid", "name", "job")


class Farm:
    """A main host and two worker hosts, which all compute."""

    def __init__(self, main: Stack, invited: list[Invited], runs: Path) -> None:
        self.main = main
        self.invited = invited
        self.runs = runs

    def start(self, count: int = RUNS) -> list[str]:
        """Creates runs and starts them; their ids."""
        found = []
        for number in range(count):
            created = self.main.post("/weppcloud/api/runs", {"name": f"run {number}"})
            assert created.status == 201, created
            runid = created.content["runid"]
            assert self.main.post(f"/weppcloud/api/runs/{runid}/start", {}).status == 202
            found.append(runid)
        return found

    def folder(self, runid: str) -> Path:
        return self.runs / runid[:2] / runid

    def log(self, runid: str) -> str:
        """What was logged into the run's folder."""
        path = self.folder(runid) / "rq.log"
        return path.read_text() if path.is_file() else ""

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

    def require_all_ended_once(self, runids: list[str]) -> None:
        """Every run has its report, all reports are the same, and none was completed twice."""
        self.wait_until("all runs end", lambda: all(self.ended(each) for each in runids))
        for each in runids:
            assert self.log(each).count("run_project COMPLETED") == 1, self.log(each)
        reports = [json.loads((self.folder(each) / "report.json").read_text()) for each in runids]
        told = {
            json.dumps({key: value for key, value in each.items() if key not in OWN}, sort_keys=True)
            for each in reports
        }
        assert len(told) == 1

    def ended(self, runid: str) -> bool:
        return "run_project COMPLETED" in self.log(runid)


@pytest.fixture(scope="module")
def farm(main: Stack, hosts: tuple[Engine, ...], image: str, shared: Path) -> Iterator[Farm]:
    """Both hosts have joined."""
    assert image
    invited: list[Invited] = []
    for each in hosts:
        folder = shared.parent / f"farm-{each.name}-{os.getpid()}"
        folder.mkdir()
        made = Invited(main, each, folder)
        made.join()
        invited.append(made)
    yield Farm(main, invited, shared / "wc1" / "runs")
    for made in invited:
        made.end()


def test_the_runs_of_a_host_that_is_lost_run_again_elsewhere_and_end_once(
    farm: Farm, record_property: Callable[[str, object], None]
) -> None:
    engine = farm.invited[0].host.engine
    runids = farm.start()
    farm.wait_for_jobs_of("one")
    engine.kill()
    lost = time.monotonic()
    try:
        farm.wait_until(
            "its jobs are queued again", lambda: any("queued again" in farm.log(each) for each in runids)
        )
        record_property("a lost host's jobs are queued again after", f"{time.monotonic() - lost:.1f} s")
        assert "no heartbeat" in farm.hosts()["one"]["wrong"]
        farm.require_all_ended_once(runids)
    finally:
        engine.start()
    farm.wait_until("it is back", lambda: not farm.hosts()["one"]["wrong"])
    farm.require_all_ended_once(farm.start(4))


def test_a_host_that_is_cut_off_for_a_minute_writes_over_nobodys_result(farm: Farm) -> None:
    engine = farm.invited[0].host.engine
    runids = farm.start()
    farm.wait_for_jobs_of("one")
    with engine.partition(farm.main.settings["WORKER_ADDRESS"], seconds=60):
        pass
    farm.require_all_ended_once(runids)
    farm.wait_until("it is well again", lambda: not farm.hosts()["one"]["wrong"])


def test_a_redis_that_is_killed_under_runs_on_three_hosts_loses_none(farm: Farm) -> None:
    runids = farm.start()
    farm.wait_for_jobs_of("one")
    redis = farm.main.compose("ps", "--quiet", "redis").stdout.strip()
    os.kill(int(run("docker", "inspect", "--format", "{{.State.Pid}}", redis).stdout), signal.SIGKILL)
    farm.require_all_ended_once(runids)
