"""Hosts that are lost or cut off in the middle of runs: each run ends once, with the result that one host has."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hosts.engines import Engine
from tests.hosts.farm import SERIAL, Farm, Invited
from tests.hosts.site import MainHost

ALL_RUNS = 100


@pytest.fixture(scope="module")
def farm(main: MainHost, hosts: tuple[Engine, ...], image: str, shared: Path) -> Iterator[Farm]:
    """What a run comes to on the main host alone is known, and both others have joined."""
    assert image
    made = Farm(main, shared / "wc1" / "runs")
    runids = made.start(2)
    made.wait_until("runs end on one host", lambda: all(made.ended(each) for each in runids))
    made.expected = made.report(runids[0])
    try:
        for each, queues in zip(hosts, ("default", SERIAL), strict=True):
            made.invited[each.name] = Invited(
                main, each, shared.parent / f"{each.name}-{os.getpid()}", queues
            )
            made.invited[each.name].join()
        yield made
    finally:
        for invited in made.invited.values():
            invited.end()


@pytest.mark.parametrize("name", [pytest.param("workers", marks=pytest.mark.core), "serial"])
def test_the_runs_of_a_host_that_is_lost_run_again_and_end_once(
    farm: Farm, name: str, record_property: Callable[[str, object], None]
) -> None:
    engine = farm.engine(name)
    runids = farm.start()
    farm.wait_for_jobs_of(name)
    lost = time.monotonic()
    engine.kill()
    try:
        farm.wait_until(
            "its jobs are queued again", lambda: any("queued again" in farm.log(each) for each in runids)
        )
        record_property("a lost host's jobs are queued again after", f"{time.monotonic() - lost:.1f} s")
        farm.wait_until_told(name)
        # Nobody else may take the queue with one consumer.
        farm.require_all_ended_once([each for each in runids if name != "serial" or each not in farm.serial])
    finally:
        engine.start()
    farm.wait_until_well()
    farm.require_all_ended_once([*runids, *farm.start(4)])


@pytest.mark.parametrize(
    "directions",
    [{}, {"outgoing": False}, {"incoming": False}],
    ids=["both", "what comes in", "what goes out"],
)
def test_a_host_that_is_cut_off_for_a_minute_writes_over_nobodys_result(
    farm: Farm, directions: dict[str, bool]
) -> None:
    runids = farm.start()
    farm.wait_for_jobs_of("workers")
    with farm.engine("workers").partition(farm.main.settings["WORKER_ADDRESS"], **directions, seconds=60):
        farm.wait_until_told("workers")
    farm.require_all_ended_once(runids)
    farm.wait_until_well()


def test_a_host_whose_engine_is_killed_ends_its_runs_takes_no_more_and_is_told(farm: Farm) -> None:
    host = farm.invited["workers"].host
    runids = farm.start()
    farm.wait_for_jobs_of("workers")
    # Its containers run on, but nobody answers for names in them.
    host.engine.kill_engine()
    try:
        farm.wait_until_told("workers", "not all workers are alive")
        asked = host.invoke("worker-leave", check=False)
        assert "the container engine is not running" in asked.stderr
        farm.require_all_ended_once(runids)
    finally:
        host.engine.start()
    # It has stopped them; they are of no use to it.
    host.invoke("compose-up")
    farm.wait_until_well()
    farm.require_all_ended_once([*runids, *farm.start(4)])


def test_a_redis_that_is_killed_under_runs_on_three_hosts_loses_none(farm: Farm) -> None:
    runids = farm.start()
    farm.wait_for_jobs_of("workers")
    engine = farm.main.engine
    redis = farm.main.compose("ps", "--quiet", "redis").stdout.strip()
    number = engine.docker("inspect", "--format={{.State.Pid}}", redis).stdout.strip()
    engine.shell(f"kill -9 {number}")
    farm.require_all_ended_once(runids)


def test_a_hundred_runs_have_ended_once_with_one_hosts_result_whatever_was_lost(farm: Farm) -> None:
    farm.start(max(0, ALL_RUNS - len(farm.started)))
    farm.require_all_ended_once(farm.started)
    farm.wait_until_well()
