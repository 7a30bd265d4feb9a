"""The list of runs: searched, renamed, deleted, compared, exported."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from conftest import PostgresServer, logged_in, subscribed_runs
from flask import Flask
from flask.testing import FlaskClient
from test_weppcloud_accounts import log_in, token
from test_weppcloud_runs import make_run, post
from wepppy.config.redis_settings import RedisDB, redis_client
from wepppy.config.run_paths import get_wd
from wepppy.microservices import webpush_store
from wepppy.weppcloud.run_results import compare, digits, zipped


@pytest.fixture
def other(site: Flask) -> FlaskClient:
    return logged_in(site, "other@example.org")


def send(client: FlaskClient, runid: str, action: str, **form: object) -> int:
    """Rename or delete a run as the forms of the list do; return the status."""
    data = {"csrf_token": token(client), **form}
    return client.post(f"/runs/{runid}/sample/{action}", data=data).status_code


def found(client: FlaskClient, search: str) -> set[str]:
    listed = client.get("/api/runs", query_string={"search": search}).get_json()["Content"]["runs"]
    return {run["runid"] for run in listed}


def test_runs_are_found_by_name_id_and_for_users_by_owner(site: Flask, owner: FlaskClient) -> None:
    fork, burn = make_run(owner, name="North fork"), make_run(owner, name="100% burnt")
    assert found(owner, "NORTH") == {fork}
    assert found(owner, "100%") == {burn}  # not a wildcard
    assert found(owner, burn[3:]) == {burn}
    assert found(owner, "owner@example") == {fork, burn}
    assert found(site.test_client(), "owner@example") == set()
    page = owner.get("/?search=fork").text
    assert fork in page
    assert burn not in page
    assert "No run matches" in owner.get("/?search=nothing%00like this").text


def test_owners_addresses_are_not_for_the_public(site: Flask, owner: FlaskClient, other: FlaskClient) -> None:
    runid = make_run(owner)
    for path in ("/", f"/runs/{runid}/sample/"):
        assert "owner@example.org" in other.get(path).text
        assert "owner@example.org" not in site.test_client().get(path).text


def test_the_owner_renames_a_run_in_its_row_and_its_directory(owner: FlaskClient) -> None:
    runid = make_run(owner, name="Old")
    assert send(owner, runid, "rename", name=" New ") == 303
    assert owner.get(f"/api/runs/{runid}").get_json()["Content"]["name"] == "New"
    held = json.loads((get_wd(runid) / "ron.nodb").read_text())
    assert (held["name"], held["runid"]) == ("New", runid)
    assert send(owner, runid, "rename", name="x" * 101) == 400


def test_a_deleted_run_leaves_no_row_no_file_and_no_state(owner: FlaskClient) -> None:
    runid = make_run(owner)
    redis_client(RedisDB.LOCK).hset(runid, "timestamps:build_rusle", "1")
    folder = get_wd(runid)
    assert send(owner, runid, "delete") == 303
    assert owner.get(f"/api/runs/{runid}").status_code == 404
    assert not folder.exists()
    assert not list(folder.parent.glob(".deleted-*"))
    assert not redis_client(RedisDB.LOCK).exists(runid)
    assert found(owner, "") == set()


def test_a_deleted_run_leaves_no_push_subscription_and_no_result_of_its_job(
    owner: FlaskClient, postgres_env: PostgresServer
) -> None:
    from rq.job import Job, JobStatus

    runid, kept = make_run(owner), make_run(owner)
    for run in (runid, kept):
        assert webpush_store.add(run, "https://push.example/one", "key", "secret")
    _, started = post(owner, f"/api/runs/{runid}/start")
    jobs = redis_client(RedisDB.RQ, decode_responses=False)
    job = Job.fetch(started["Content"]["job_id"], connection=jobs)
    job.set_status(JobStatus.FINISHED)
    assert send(owner, runid, "delete") == 303
    assert subscribed_runs() == [kept]
    assert not Job.exists(job.id, connection=jobs)


def test_a_run_that_is_being_computed_is_not_deleted(owner: FlaskClient) -> None:
    runid = make_run(owner)
    post(owner, f"/api/runs/{runid}/start")
    assert send(owner, runid, "delete") == 409
    assert get_wd(runid).is_dir()
    assert found(owner, runid) == {runid}


def test_a_run_stays_whole_when_the_database_refuses_to_delete_it(
    owner: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wepppy.weppcloud.models import db

    runid = make_run(owner)

    def refuse() -> None:
        raise RuntimeError("the database refuses")

    with monkeypatch.context() as patched:
        patched.setattr(db.session, "commit", refuse)
        assert send(owner, runid, "delete") == 500
    assert (get_wd(runid) / "ron.nodb").exists()
    assert found(owner, runid) == {runid}


def test_others_neither_rename_nor_delete_a_run_and_nobody_one_without_owner(
    site: Flask, owner: FlaskClient, other: FlaskClient
) -> None:
    stranger, admin = site.test_client(), site.test_client()
    assert log_in(admin) == 200
    theirs, nobodys, private = make_run(owner), make_run(stranger), make_run(owner, public=False)
    for client in (other, stranger):
        for runid, expected in ((theirs, 403), (nobodys, 403), (private, 404)):
            assert send(client, runid, "rename", name="x") == expected
            assert send(client, runid, "delete") == expected
            assert get_wd(runid).is_dir()
        assert "Rename or delete" not in client.get("/").text
    assert send(admin, nobodys, "delete") == 303


def test_two_runs_are_compared_and_an_unseen_one_is_not(owner: FlaskClient, other: FlaskClient) -> None:
    first, second = make_run(owner, name="Before"), make_run(owner, name="After")
    private = make_run(owner, public=False)
    for runid, loss in ((first, 2.0), (second, 3.0)):
        results = {"soil_loss": {"mean_t_ha_yr": loss}, "landuse": {"shrub": 0.25}}
        (get_wd(runid) / "report.json").write_text(json.dumps({"results": results}))
    page = other.get(f"/compare?run={first}&run={second}").text
    for text in ("Before", "After", "t/(ha yr)", "+1", "+50.0", "Land cover: shrub"):
        assert text in page
    assert other.get(f"/compare?run={first}&run={private}").status_code == 404
    assert other.get(f"/compare?run={first}").status_code == 400


@pytest.mark.parametrize("content", [b"", b"[]", b'{"results": 5}', b"\xff", b'{"results": {"runoff": 3}}'])
def test_a_damaged_report_compares_as_none(owner: FlaskClient, content: bytes) -> None:
    runid = make_run(owner)
    (get_wd(runid) / "report.json").write_bytes(content)
    assert owner.get(f"/compare?run={runid}&run={runid}").status_code == 200


def test_differences_have_signs_and_numbers_three_digits() -> None:
    rows = {
        row.title: row for row in compare({"runoff": {"runoff_mm": 231.04}}, {"runoff": {"runoff_mm": 200}})
    }
    assert (rows["Runoff"].difference, rows["Runoff"].percent) == ("-31", "-13.4\u202f%")
    assert rows["Soil loss"].difference == "\u2013"
    covers = {
        row.title: row
        for row in compare({"landuse": {"shrub": 0.25, "crops": 0.5}}, {"landuse": {"shrub": 0.5}})
    }
    assert covers["Land cover: shrub"].difference == "+25"
    assert covers["Land cover: crops"].second == "0"
    [unknown] = [row for row in compare({}, {"landuse": {"shrub": 1.0}}) if "shrub" in row.title]
    assert (unknown.first, unknown.second) == ("\u2013", "100")  # what was not computed is not zero
    texts = [digits(value) for value in (None, 0.0, 0.0012345, 1.714, 38_569_602.7, 0.311, 100.0)]
    assert texts == ["\u2013", "0", "0.00123", "1.71", "38\u202f600\u202f000", "0.311", "100"]


def test_the_archive_holds_the_runs_files_and_nothing_hidden_or_linked(
    owner: FlaskClient, tmp_path: Path
) -> None:
    runid = make_run(owner)
    folder = get_wd(runid)
    (folder / "wepp/output").mkdir(parents=True)
    big = bytes(range(256)) * 4000
    (folder / "wepp/output/loss.bin").write_bytes(big)
    (folder / ".run.lock").touch()
    (folder / ".secret").mkdir()
    (folder / ".secret/x").touch()
    (folder / "_logs").mkdir()
    (folder / "_logs/x").touch()
    (tmp_path / "outside").write_text("outside")
    (folder / "link").symlink_to(tmp_path / "outside")
    answer = owner.get(f"/runs/{runid}/sample/export.zip")
    assert answer.mimetype == "application/zip"
    assert f'filename="{runid}.zip"' in answer.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
        assert archive.read(f"{runid}/wepp/output/loss.bin") == big
    assert names == {f"{runid}/{name}" for name in ("PUBLIC", "ron.nodb", "wepp/output/loss.bin")}
    assert len(list(zipped(folder))) > 3  # in pieces


def test_a_private_run_is_exported_by_its_owner_alone(
    site: Flask, owner: FlaskClient, other: FlaskClient
) -> None:
    runid = make_run(owner, public=False)
    for client, status in ((owner, 200), (other, 404), (site.test_client(), 404)):
        assert client.get(f"/runs/{runid}/sample/export.zip").status_code == status
