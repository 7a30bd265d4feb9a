"""The state of a run in Redis: fields, order of timestamps, and the mirror that survives the loss of Redis."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import redis
from conftest import RedisServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wepppy import prep as prep_module
from wepppy import status_messenger
from wepppy.prep import RedisPrep
from wepppy.rq.project import create_run_directory

RUNID = "rain-1"


@pytest.fixture(autouse=True)
def fresh_clients() -> None:
    prep_module._client.cache_clear()
    status_messenger._client.cache_clear()


@pytest.fixture
def folder(redis_env: RedisServer, data_env: Path) -> Path:
    return create_run_directory(RUNID, "sample", "Rain", (-117.0, 46.7, -116.7, 46.9))


@pytest.fixture
def server(redis_env: RedisServer) -> redis.Redis:
    return redis.Redis.from_url(redis_env.url(0), decode_responses=True)


def test_fields_have_the_names_that_preflight_reads(folder: Path, server: redis.Redis) -> None:
    prep = RedisPrep(RUNID, clock=lambda: 1000.9)
    prep.timestamp("build_channels")
    prep.set_job("run_project", "job-7")
    prep.lock("watershed.nodb")
    assert server.hgetall(RUNID) == {
        "attrs:loaded": "true",
        "timestamps:build_channels": "1000",
        "last_modified": "1000",
        "rq:run_project": "job-7",
        "locked:watershed.nodb": "true",
    }
    prep.unlock("watershed.nodb")
    assert server.hget(RUNID, "locked:watershed.nodb") == "false"


def test_tasks_done_within_one_second_are_still_in_order(folder: Path) -> None:
    prep = RedisPrep(RUNID, clock=lambda: 5000.0)
    assert [prep.timestamp(task) for task in ("build_channels", "set_outlet", "build_landuse")] == [
        5000,
        5001,
        5002,
    ]
    assert RedisPrep(RUNID, clock=lambda: 6000.0).timestamp("build_channels") == 6000


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 50)), min_size=1, max_size=12))
def test_each_timestamp_is_later_than_all_before_whatever_the_clock_does(
    folder: Path, server: redis.Redis, calls: list[tuple[str, int]]
) -> None:
    server.delete(RUNID)
    (folder / "redisprep.dump").unlink(missing_ok=True)
    seen = [RedisPrep(RUNID, clock=lambda now=now: now).timestamp(task) for task, now in calls]
    assert seen == sorted(set(seen))
    assert all(recorded >= now for recorded, (_, now) in zip(seen, calls, strict=True))


def test_writers_at_the_same_time_never_share_a_second(folder: Path) -> None:
    recorded: list[int] = []

    def write(name: str) -> None:
        prep = RedisPrep(RUNID, clock=lambda: 100.0)
        recorded.extend(prep.timestamp(f"{name}-{number}") for number in range(20))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(recorded) == list(range(100, 180))


def test_the_mirror_holds_all_but_the_locks_and_comes_back_after_redis_lost_its_data(
    folder: Path, server: redis.Redis
) -> None:
    prep = RedisPrep(RUNID, clock=lambda: 100.0)
    prep.lock("wepp.nodb")
    prep.timestamp("build_channels")
    prep.set_job("run_project", "job-7")
    held = {name: value for name, value in server.hgetall(RUNID).items() if not name.startswith("locked:")}
    assert json.loads((folder / "redisprep.dump").read_text()) == held
    server.flushdb()
    assert RedisPrep(RUNID).fields() == held
    assert server.hgetall(RUNID) == held


def test_what_redis_holds_is_not_overwritten_by_an_older_mirror(folder: Path, server: redis.Redis) -> None:
    RedisPrep(RUNID, clock=lambda: 100.0).timestamp("build_channels")
    server.delete(RUNID)
    server.hset(RUNID, "timestamps:build_channels", 900)
    assert RedisPrep(RUNID).fields()["timestamps:build_channels"] == "900"


def test_what_redis_lost_in_a_crash_is_recorded_again_with_the_next_task(
    folder: Path, server: redis.Redis
) -> None:
    prep = RedisPrep(RUNID, clock=lambda: 100.0)
    prep.timestamp("build_channels")
    prep.timestamp("set_outlet")
    before = server.hgetall(RUNID)
    server.hdel(RUNID, "timestamps:build_channels", "timestamps:set_outlet")  # the last second before a crash
    prep.timestamp("build_landuse")
    fields = server.hgetall(RUNID)
    assert fields == before | {"timestamps:build_landuse": "102", "last_modified": "102"}
    prep.clear_timestamps(["set_outlet"])
    prep.timestamp("build_soils")
    assert "timestamps:set_outlet" not in server.hgetall(RUNID)


def test_what_redis_lost_at_the_very_end_comes_back_from_the_mirror(
    folder: Path, server: redis.Redis
) -> None:
    RedisPrep(RUNID, clock=lambda: 100.0).timestamp("build_rusle")
    before = server.hgetall(RUNID)
    server.hdel(RUNID, "timestamps:build_rusle")
    later = RedisPrep(RUNID, clock=lambda: 200.0)
    later.restore()
    assert server.hgetall(RUNID) == before
    later.timestamp("build_rusle")
    later.restore()  # what Redis holds is newer and stays
    assert server.hget(RUNID, "timestamps:build_rusle") == "200"


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"locked:x": "true"}'])
def test_a_damaged_mirror_counts_as_none(folder: Path, text: str) -> None:
    (folder / "redisprep.dump").write_text(text)
    assert RedisPrep(RUNID).fields() == {"attrs:loaded": "true"}


def test_a_run_without_a_directory_lives_in_redis_alone(redis_env: RedisServer, data_env: Path) -> None:
    RedisPrep("no-folder").timestamp("project_init")
    assert "timestamps:project_init" in RedisPrep("no-folder").fields()
    assert list((data_env / "wc1").iterdir()) == []


def test_locks_left_behind_are_cleared_together(folder: Path) -> None:
    prep = RedisPrep(RUNID)
    prep.lock("a.nodb")
    prep.lock("b.nodb")
    prep.unlock_all()
    assert {value for name, value in prep.fields().items() if name.startswith("locked:")} == {"false"}


@pytest.mark.parametrize("name", ["", "a:b", "a b", "ä", "a\n", "x/y"])
def test_names_that_would_break_the_hash_are_refused(folder: Path, name: str) -> None:
    prep = RedisPrep(RUNID)
    for method in (prep.timestamp, prep.lock, prep.unlock, lambda task: prep.set_job(task, "1")):
        with pytest.raises(ValueError, match="not a name"):
            method(name)


@pytest.mark.parametrize("runid", ["", "..", "a/b", "a\0b"])
def test_bad_run_ids_are_refused(redis_env: RedisServer, data_env: Path, runid: str) -> None:
    with pytest.raises(ValueError, match="run id"):
        RedisPrep(runid)


def test_a_message_reaches_the_channel_of_the_run(redis_env: RedisServer) -> None:
    with redis.Redis.from_url(redis_env.url(2), decode_responses=True) as client, client.pubsub() as watcher:
        watcher.subscribe(f"{RUNID}:wepp")
        assert watcher.get_message(timeout=5) is not None  # the confirmation
        assert status_messenger.publish(RUNID, "wepp", "ground is wet: ä") == 1
        message = watcher.get_message(timeout=5)
        assert message is not None
        assert (message["channel"], message["data"]) == (f"{RUNID}:wepp", "ground is wet: ä")


def test_a_message_that_nobody_can_carry_does_not_stop_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_HOST", "127.0.0.1")
    monkeypatch.setenv("REDIS_PORT", "1")
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert status_messenger.publish(RUNID, "wepp", "anybody?") == 0


def test_a_run_directory_appears_whole(data_env: Path) -> None:
    folder = create_run_directory("ab-12", "sample", 'A "name"', [-117, 46.7, -116.7, 46.9])
    assert folder == data_env / "wc1/runs/ab/ab-12"
    held = json.loads((folder / "ron.nodb").read_text())
    assert held["extent"] == [-117.0, 46.7, -116.7, 46.9]
    assert (held["runid"], held["config"], held["name"]) == ("ab-12", "sample", 'A "name"')
    assert (folder / "PUBLIC").exists()
    with pytest.raises(FileExistsError):
        create_run_directory("ab-12", "sample", "again", [-117, 46.7, -116.7, 46.9])
    assert json.loads((folder / "ron.nodb").read_text()) == held
    assert [path.name for path in folder.parent.iterdir()] == ["ab-12"]


@pytest.mark.parametrize(
    ("runid", "config", "extent"),
    [
        ("AB", "sample", (0, 0, 1, 1)),
        ("-a", "sample", (0, 0, 1, 1)),
        ("a;;b", "sample", (0, 0, 1, 1)),
        ("ab", "sam/ple", (0, 0, 1, 1)),
        ("ab", "sample", (1, 0, 0, 1)),
        ("ab", "sample", (0, 0, 1)),
        ("ab", "sample", (0, 0, 1, float("nan"))),
        ("ab", "sample", (0, 0, "x", 1)),
        ("ab", "sample", (0, -91, 1, 1)),
    ],
)
def test_bad_input_creates_no_run(data_env: Path, runid: str, config: str, extent: tuple[float, ...]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words differ, the kind matters
        create_run_directory(runid, config, "name", extent)
    assert list((data_env / "wc1").rglob("*")) == []
