"""Stores and workers that break under load: every job ends once, every page gets the last state, all by itself."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.engine.flights import land_all, redis, take_off, until, visitors
from tests.engine.run import Listener
from tests.engine.stack import Stack

WORKERS = 2
# Whatever the moment, all workers are in the middle of something and others wait.
RUNS = 2 * WORKERS + 1
# How long a store may take to be noticed, gone or back.
NOTICE_SECONDS = 30.0


def started_at(stack: Stack, *services: str) -> list[str]:
    """When the containers of these services started: a fault must not be fixed by starting them anew."""
    containers = stack.compose("ps", "--quiet", *services).stdout.split()
    form = "{{.Name}} {{.State.StartedAt}}"
    inspected = subprocess.run(
        ["docker", "inspect", "--format", form, *containers], capture_output=True, text=True, check=True
    )
    return sorted(inspected.stdout.splitlines())


def worker_entries(stack: Stack) -> set[str]:
    """Names of the workers' own keys in Redis, without those of what they execute."""
    return {key for key in redis(stack, "keys", "rq:worker:*").split() if key.count(":") == 2}


def gone(stack: Stack) -> dict[str, str]:
    """What /weppcloud/health says is gone, by name."""
    reply = stack.get("/weppcloud/health")
    assert reply.status in (200, 503), reply
    if reply.status == 200:
        assert reply.body.strip() == b'"OK"'
        return {}
    details: dict[str, str] = json.loads(reply.body)["error"]["details"]
    return details


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_redis_comes_back_under_load_and_no_job_and_no_final_state_is_lost(own: Stack, end: str) -> None:
    others = started_at(own, "weppcloud", "rq-worker", "status", "preflight")
    with visitors(own) as statuses:
        flights = take_off(own, RUNS)
        # A crash costs Redis what it was told within the last second (appendfsync everysec). That the runs
        # were started at all must be older than that; what they did since may be lost and must be made good.
        redis(own, "waitaof", "1", "0", "5000")
        own.compose(end, "redis")
        own.compose("start", "redis")
        land_all(own, flights)
    assert set(statuses) <= {200, 503}
    assert statuses[200]
    # The services held on to their clients all the while, and none of them had to be started anew.
    assert [flight.preflight.connections for flight in flights] == [1] * RUNS
    assert [flight.status.connections for flight in flights] == [1] * RUNS
    assert others == started_at(own, "weppcloud", "rq-worker", "status", "preflight")


def test_workers_that_are_killed_lose_no_job_and_end_none_twice(own: Stack) -> None:
    before = started_at(own, "rq-worker")
    flights = take_off(own, RUNS)
    # All processes but the container's first, as the kernel does it when memory runs out; that one ends with them.
    own.compose("exec", "-T", "rq-worker", "sh", "-c", "kill -9 -1", check=False)
    land_all(own, flights)
    assert before != started_at(own, "rq-worker")


def test_workers_whose_entries_redis_lost_write_them_again_and_a_job_runs(own: Stack) -> None:
    before = started_at(own, "rq-worker")
    lost = worker_entries(own)
    assert len(lost) >= WORKERS
    redis(own, "del", *lost)
    until(lambda: worker_entries(own) == lost, "the same workers")
    check = ["grep", "^ok", "/tmp/rq-worker.health"]
    until(lambda: own.compose("exec", "-T", "rq-worker", *check, check=False).returncode == 0, "health")
    land_all(own, take_off(own, 1))
    assert before == started_at(own, "rq-worker")


def test_compose_up_succeeds_when_it_starts_what_others_were_unhealthy_without(own: Stack) -> None:
    state = ["ps", "--format", "{{.Health}}", "rq-worker"]
    own.compose("stop", "redis")
    until(lambda: own.compose(*state).stdout.strip() == "unhealthy", "workers that are unhealthy")
    own.invoke("compose-up")
    assert own.compose(*state).stdout.strip() == "healthy"


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_postgres_comes_back_under_load_and_was_unavailable_at_most(own: Stack, end: str) -> None:
    others = started_at(own, "weppcloud", "rq-worker", "webpush")
    with visitors(own) as statuses:
        flights = take_off(own, RUNS)
        own.compose(end, "postgres")
        own.compose("start", "postgres")
        land_all(own, flights)
        until(lambda: not gone(own), "health", NOTICE_SECONDS)
    assert set(statuses) <= {200, 503}
    assert statuses[200]
    made = own.post("/weppcloud/api/runs", {"name": "after the restart"})
    assert made.status == 201
    assert others == started_at(own, "weppcloud", "rq-worker", "webpush")


@pytest.mark.parametrize("store", ["postgres", "redis"])
def test_health_names_a_store_that_is_gone_and_recovers_by_itself(own: Stack, store: str) -> None:
    others = started_at(own, "weppcloud", "rq-worker", "status", "preflight", "webpush")
    runid = own.post("/weppcloud/api/runs", {"name": store}).content["runid"]
    preflight = Listener(own.websocket("preflight", runid), reconnect=True)
    preflight.wait_for(lambda frame: frame["type"] == "preflight", "the first checklist")
    with visitors(own) as statuses:
        try:
            own.compose("stop", store)
            until(lambda: set(gone(own)) == {store}, f"health that names {store}", NOTICE_SECONDS)
            assert own.get("/weppcloud/api/runs").status == 503
        finally:
            own.compose("start", store)
        until(lambda: not gone(own), "health", NOTICE_SECONDS)
    assert set(statuses) <= {200, 503}
    started = own.post(f"/weppcloud/api/runs/{runid}/start", {})
    assert started.status == 202, started
    preflight.wait_for_newest(
        lambda frame: frame["type"] == "preflight" and frame["checklist"]["wepp"], "the final checklist"
    )
    assert others == started_at(own, "weppcloud", "rq-worker", "status", "preflight", "webpush")


def test_sockets_come_back_with_the_last_state_after_their_services_were_killed(own: Stack) -> None:
    flights = take_off(own, 2)
    own.compose("kill", "status", "preflight")
    own.compose("start", "status", "preflight")
    land_all(own, flights)
    for flight in flights:
        until(lambda page=flight.preflight: page.connections >= 2, "the page's return", NOTICE_SECONDS)
        until(lambda page=flight.status: page.connections >= 2, "the log's return", NOTICE_SECONDS)


def test_runs_that_are_computed_go_on_while_the_database_is_restored_and_each_ends_once(own: Stack) -> None:
    others = started_at(own, "weppcloud", "rq-worker", "status", "preflight", "postgres")
    with visitors(own) as statuses:
        flights = take_off(own, RUNS)
        own.invoke("db-backup")
        # Their rows are in the live database only, and will not be in the restored one.
        lost = take_off(own, RUNS // 2, wait=False)
        told = json.loads(own.invoke("db-restore", "--dump=latest", "--yes", "--json").stdout)
        land_all(own, flights)
    assert told["jobs_in_progress"] > 0
    assert told["missing_runs"]["count"] == len(lost)
    assert {*told["missing_runs"]["newest"]} == {flight.runid for flight in lost}
    assert set(statuses) <= {200, 503}
    assert statuses[200]
    assert [flight.preflight.connections for flight in flights] == [1] * RUNS
    for flight in lost:
        assert redis(own, "xlen", f"rq:results:{flight.job_id}") == "1"
        assert own.get(f"/weppcloud/api/runs/{flight.runid}").status == 404
        folder = f"/wc1/runs/{flight.runid[:2]}/{flight.runid}"
        report = json.loads(own.compose("exec", "-T", "rq-worker", "cat", f"{folder}/report.json").stdout)
        assert report["job"] == flight.job_id
    own.invoke("db-rollback", "--yes")
    for flight in lost:
        assert own.get(f"/weppcloud/api/runs/{flight.runid}").content["job"]["status"] == "finished"
    assert others == started_at(own, "weppcloud", "rq-worker", "status", "preflight", "postgres")
    print(f"pages during a restore: {dict(statuses)}, nobody let in for {told['seconds']['downtime']:.3f} s")


@pytest.mark.parametrize("flags", [(), ("--now",)], ids=["drained", "now"])
def test_runs_that_are_computed_while_the_password_is_changed_end_once(
    own: Stack, flags: tuple[str, ...]
) -> None:
    before, password = started_at(own, "weppcloud", "rq-worker"), own.secret("postgres_password")
    with visitors(own) as statuses:
        # Twice as many as are computed at a time.
        flights = take_off(own, 2 * WORKERS)
        told = own.invoke("db-rotate-password", "--yes", *flags)
        land_all(own, flights)
    assert own.secret("postgres_password") != password
    assert not set(before) & set(started_at(own, "weppcloud", "rq-worker"))
    assert ("waiting for" in told.stderr) == (not flags)
    assert set(statuses) <= {200, 502, 503}
    assert statuses[200]
