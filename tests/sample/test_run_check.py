"""`flask runs-check`: runs that one store knows and another does not, after a restore of the database alone."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import PASSWORD, subscribed_runs
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete
from test_weppcloud_accounts import log_in
from test_weppcloud_runs import make_run
from wepppy.config.redis_settings import RedisDB, redis_client
from wepppy.config.run_paths import get_wd
from wepppy.microservices import webpush_store
from wepppy.prep import RedisPrep
from wepppy.weppcloud.models import Run, db


def check(site: Flask, *options: str, status: int = 0) -> dict[str, Any]:
    """Run the command and return what its last line says."""
    result = site.test_cli_runner().invoke(args=["runs-check", *options])
    assert result.exit_code == status, (result.output, result.exception)
    last: dict[str, Any] = json.loads(result.output.splitlines()[-1])
    return last


def found(site: Flask, *options: str) -> dict[str, Any]:
    answer: dict[str, Any] = check(site, *options)["answer"]
    return answer


def forget_row(site: Flask, runid: str, *, seconds_ago: float = 3600) -> Path:
    """What a restore to an earlier moment does to a run that was made after it."""
    with site.app_context():
        db.session.execute(delete(Run).where(Run.runid == runid))
        db.session.commit()
    folder = get_wd(runid)
    moment = time.time() - seconds_ago
    os.utime(folder / "ron.nodb", (moment, moment))
    return folder


def test_a_site_that_fits_together_has_nothing_to_reconcile(site: Flask, owner: FlaskClient) -> None:
    RedisPrep(make_run(owner)).timestamp("fetch_dem")
    # Hashes of others are none of runs.
    redis_client(RedisDB.LOCK).hset("somebody:else", "field", "1")
    assert found(site, "--fix") == {
        "rows": 1, "folders": 1, "without_row": [], "without_folder": [], "only_in_redis": [],
        "fixed": {"adopted": 0, "set_aside": 0, "rows_removed": 0, "hashes_removed": 0, "left": []},
    }  # fmt: skip
    assert redis_client(RedisDB.LOCK).exists("somebody:else")


def test_a_run_on_disk_gets_its_row_again_and_keeps_its_files_and_checklist(
    site: Flask, owner: FlaskClient
) -> None:
    runid = make_run(owner, name="North fork", public=False)
    RedisPrep(runid).timestamp("fetch_dem")
    folder = forget_row(site, runid)
    (stray,) = found(site)["without_row"]
    assert (stray["runid"], stray["name"], stray["public"], stray["problem"]) == (
        runid, "North fork", False, "",
    )  # fmt: skip
    # A look changes nothing.
    assert found(site)["rows"] == 0
    before = sorted(folder.iterdir())
    assert found(site, "--fix")["fixed"]["adopted"] == 1
    with site.app_context():
        run = db.session.query(Run).filter_by(runid=runid).one()
        assert (run.name, run.config, run.public, run.owner_id) == ("North fork", "sample", False, None)
        assert run.date_created.isoformat() == stray["created"]
    assert sorted(folder.iterdir()) == before
    assert redis_client(RedisDB.LOCK).hexists(runid, "timestamps:fetch_dem")
    assert found(site)["without_row"] == []


def test_a_run_that_is_just_being_made_is_left_alone(site: Flask, owner: FlaskClient) -> None:
    runid = make_run(owner)
    forget_row(site, runid, seconds_ago=1)
    assert found(site, "--fix")["fixed"]["adopted"] == 0


def test_runs_without_a_row_can_be_moved_aside_instead(site: Flask, owner: FlaskClient) -> None:
    runid = make_run(owner)
    folder = forget_row(site, runid)
    (folder / "report.json").write_text("{}")
    assert found(site, "--fix", "--aside")["fixed"]["set_aside"] == 1
    assert not folder.exists()
    (kept,) = folder.parents[2].glob(f"runs-set-aside/*/{runid}/report.json")
    assert kept.read_text() == "{}"
    assert found(site)["without_row"] == []


@pytest.mark.parametrize("text", [None, "{", '{"runid": "another", "config": "a", "extent": [0, 0, 1, 1]}'])
def test_a_folder_of_which_no_row_can_be_made_is_moved_aside(
    site: Flask, owner: FlaskClient, text: str | None
) -> None:
    folder = forget_row(site, make_run(owner))
    moment = time.time() - 3600
    if text is None:
        (folder / "ron.nodb").unlink()
        os.utime(folder, (moment, moment))
    else:
        (folder / "ron.nodb").write_text(text)
        os.utime(folder / "ron.nodb", (moment, moment))
    (stray,) = found(site)["without_row"]
    assert stray["problem"]
    fixed = found(site, "--fix")["fixed"]
    assert (fixed["adopted"], fixed["set_aside"]) == (0, 1)
    assert len(list(folder.parents[2].glob(f"runs-set-aside/*/{folder.name}"))) == 1


def test_rows_and_hashes_of_runs_that_are_gone_are_removed(site: Flask, owner: FlaskClient) -> None:
    kept, gone = make_run(owner), make_run(owner)
    RedisPrep(gone).timestamp("fetch_dem")
    for runid in (kept, gone):
        assert webpush_store.add(runid, "https://push.example/one", "key", "secret")
    shutil.rmtree(get_wd(gone))
    client = redis_client(RedisDB.LOCK)
    client.hset("calm-fern-000000", mapping={"attrs:loaded": "true", "timestamps:fetch_dem": "1"})
    told = found(site)
    assert (told["without_folder"], told["only_in_redis"]) == ([gone], ["calm-fern-000000"])
    assert "no files" in owner.get("/").text
    fixed = found(site, "--fix")["fixed"]
    assert (fixed["rows_removed"], fixed["hashes_removed"]) == (1, 1)
    assert not client.exists(gone, "calm-fern-000000")
    assert subscribed_runs() == [kept]
    assert kept in owner.get("/").text
    assert gone not in owner.get("/").text


def test_rows_are_not_removed_where_the_volume_of_the_runs_is_away(
    site: Flask, owner: FlaskClient, data_env: Path
) -> None:
    runid = make_run(owner)
    (data_env / "wc1").rename(data_env / "elsewhere")
    refused = check(site, "--fix", status=4)["refused"]
    assert "holds no run at all, and the database holds 1" in refused
    (data_env / "elsewhere").rename(data_env / "wc1")
    assert found(site)["rows"] == 1
    assert runid in owner.get("/").text


def test_the_list_tells_administrators_of_runs_that_are_not_in_it(site: Flask, owner: FlaskClient) -> None:
    forget_row(site, make_run(owner))
    administrator = site.test_client()
    assert log_in(administrator, PASSWORD) == 200
    assert "1 run is on disk and not in the database" in administrator.get("/").text
    forget_row(site, make_run(owner))
    # The names of all runs are read once a minute, not for every view.
    assert "1 run is on disk and not in the database" in administrator.get("/").text
    assert found(site, "--fix")["fixed"]["adopted"] == 2
    assert "on disk" not in administrator.get("/").text
    assert "on disk" not in owner.get("/").text
    assert "on disk" not in site.test_client().get("/").text
