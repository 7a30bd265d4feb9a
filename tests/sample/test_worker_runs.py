"""A whole run computed by a worker on a real Redis: its files, its checklist, and what interrupts it."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import rasterio
import redis
from conftest import wait_until
from rq.job import Job
from wepppy.prep import RedisPrep
from wepppy.rq.jobs import LOCK_FILE, TASKS
from wepppy.rq.worker import RESULT_TTL
from worker_stack import RUNID, Stack

pytest_plugins = ["worker_stack"]
pytestmark = pytest.mark.timeout(180)


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
    reported = [text.partition(":")[0] for text in stack.events.texts()]
    assert list(dict.fromkeys(reported)) == [*(task for task, _, _ in TASKS), "run_project COMPLETED"]

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
    reported = report["results"]["soil_loss"]["mean_t_ha_yr"]
    assert loss.mean(dtype=np.float64) == pytest.approx(reported, rel=1e-3)
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
    assert report["name"] == "Rain"
    assert report["note"].startswith("A sample, not the WEPP model")
    assert any("MUSLE, Williams (1975)" in method for method in report["methods"])


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
    RedisPrep(RUNID).timestamp("build_rusle")
    redis.Redis.from_url(stack.server.url(0)).hdel(
        RUNID, "timestamps:build_rusle"
    )  # forgotten in the crash that cost the answer
    stack.start()
    stack.queue.enqueue_job(job)
    stack.ended(job, "finished")
    assert "timestamps:build_rusle" in RedisPrep(RUNID).fields()
    assert job.return_value() == {"job": job.id, "results": {}}
    assert not (run_folder / "dem").exists()
