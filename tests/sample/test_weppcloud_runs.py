"""Runs in the web application: made, listed, shown, started; and bad input to each of these."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import RedisServer
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_weppcloud_accounts import EMAIL, log_in, token
from wepppy.config.redis_settings import RedisDB, redis_client
from wepppy.config.run_paths import get_wd
from wepppy.weppcloud.rate_limits import limiter

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def post(client: FlaskClient, path: str, **body: object) -> tuple[int, dict[str, Any]]:
    """POST a JSON object with the token and return status and answer."""
    answer = client.post(path, json=body, headers={"X-CSRFToken": token(client)})
    return answer.status_code, answer.get_json()


def make_run(client: FlaskClient, **body: object) -> str:
    """Create a run and return its id."""
    status, answer = post(client, "/api/runs", **body)
    assert status == 201, answer
    return str(answer["Content"]["runid"])


def add_user(site: Flask, email: str) -> None:
    """Add an account with the password `secret`."""
    from wepppy.weppcloud.accounts import hash_password
    from wepppy.weppcloud.models import User, db

    with site.app_context():
        db.session.add(User(email=email, password=hash_password("secret")))
        db.session.commit()


def test_a_new_run_has_a_row_a_directory_and_the_landscapes_extent(site: Flask, data_env: Path) -> None:
    client = site.test_client()
    runid = make_run(client, name=" North fork ")
    folder = data_env / "wc1/runs" / runid[:2] / runid
    assert get_wd(runid) == folder
    assert json.loads((folder / "ron.nodb").read_text())["extent"] == [-116.9, 46.7, -116.7, 46.9]
    assert (folder / "PUBLIC").exists()
    shown = client.get(f"/api/runs/{runid}").get_json()["Content"]
    assert (shown["name"], shown["config"], shown["job"]) == ("North fork", "sample", None)
    page = client.get(f"/runs/{runid}/sample/")
    assert page.status_code == 200
    assert "North fork" in page.text
    assert 'data-extent="[-116.9, 46.7, -116.7, 46.9]"' in page.text


def test_the_form_makes_a_run_and_shows_it(site: Flask) -> None:
    client = site.test_client()
    answer = client.post("/runs/", data={"name": "<b>x</b>", "csrf_token": token(client)})
    assert answer.status_code == 303
    page = client.get(answer.location)
    assert "&lt;b&gt;x&lt;/b&gt;" in page.text
    assert "<b>x" not in page.text


def test_starting_a_run_puts_one_job_for_the_worker_on_the_queue(
    site: Flask, redis_server: RedisServer
) -> None:
    from rq import Queue

    client = site.test_client()
    runid = make_run(client)
    status, first = post(client, f"/api/runs/{runid}/start")
    assert status == 202
    again, second = post(client, f"/api/runs/{runid}/start")
    assert again == 200
    assert first["Content"]["job_id"] == second["Content"]["job_id"]
    queue = Queue("default", connection=redis_client(RedisDB.RQ, decode_responses=False))
    [job] = queue.jobs
    assert (job.func_name, job.args, job.meta) == ("wepppy.rq.jobs.run_project", (runid,), {"runid": runid})
    assert job.result_ttl == 604_800
    assert redis_client(RedisDB.LOCK).hget(runid, "rq:run_project") == job.id
    shown = client.get(f"/api/runs/{runid}").get_json()["Content"]
    assert shown["job"] == {"id": job.id, "status": "queued"}
    assert "queued" in client.get("/").text


def test_a_run_whose_job_ended_can_be_started_again(site: Flask) -> None:
    from rq.job import Job, JobStatus

    client = site.test_client()
    runid = make_run(client)
    _, first = post(client, f"/api/runs/{runid}/start")
    job = Job.fetch(first["Content"]["job_id"], connection=redis_client(RedisDB.RQ, decode_responses=False))
    job.set_status(JobStatus.FINISHED)
    assert client.get(f"/api/runs/{runid}").get_json()["Content"]["job"]["status"] == "finished"
    status, second = post(client, f"/api/runs/{runid}/start")
    assert status == 202
    assert second["Content"]["job_id"] != job.id


def test_many_starts_at_once_make_one_job(site: Flask) -> None:
    from concurrent.futures import ThreadPoolExecutor

    # Six windows of one browser.
    maker = site.test_client()
    runid = make_run(maker)
    cookie = maker.get_cookie("session")
    assert cookie is not None
    clients = [site.test_client() for _ in range(6)]
    for client in clients:
        client.set_cookie("session", cookie.value)
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda client: post(client, f"/api/runs/{runid}/start"), clients))
    assert sorted(status for status, _ in answers) == [200] * 5 + [202]
    assert len({answer["Content"]["job_id"] for _, answer in answers}) == 1
    assert redis_client(RedisDB.RQ).llen("rq:queue:default") == 1


def test_a_finished_run_stays_finished_after_its_job_was_forgotten(site: Flask) -> None:
    client = site.test_client()
    done, lost = make_run(client), make_run(client)
    for runid in (done, lost):
        post(client, f"/api/runs/{runid}/start")
    redis_client(RedisDB.LOCK).hset(done, "timestamps:build_rusle", "1")
    redis_client(RedisDB.RQ).flushdb()
    shown = [
        client.get(f"/api/runs/{runid}").get_json()["Content"]["job"]["status"] for runid in (done, lost)
    ]
    assert shown == ["finished", "forgotten"]
    assert post(client, f"/api/runs/{lost}/start")[0] == 202


def test_a_private_run_is_seen_and_started_only_by_its_owner_and_administrators(
    site: Flask, data_env: Path
) -> None:
    add_user(site, "owner@example.org")
    add_user(site, "other@example.org")
    owner, other, admin, stranger = (site.test_client() for _ in range(4))
    assert log_in(owner, "secret", "owner@example.org") == 200
    assert log_in(other, "secret", "other@example.org") == 200
    assert log_in(admin) == 200
    runid = make_run(owner, public=False)
    assert not (get_wd(runid) / "PUBLIC").exists()
    for client, may in ((owner, True), (admin, True), (other, False), (stranger, False)):
        expected = 200 if may else 404
        assert client.get(f"/api/runs/{runid}").status_code == expected
        assert client.get(f"/runs/{runid}/sample/").status_code == expected
        assert client.get("/api/runs").get_json()["Content"]["total"] == (1 if may else 0)
        assert (post(client, f"/api/runs/{runid}/start")[0] < 300) is may
    assert client.get("/").text.count(runid) == 0


def test_somebody_elses_public_run_is_seen_but_not_started(site: Flask) -> None:
    add_user(site, "owner@example.org")
    owner, stranger = site.test_client(), site.test_client()
    assert log_in(owner, "secret", "owner@example.org") == 200
    runid = make_run(owner)
    assert 'id="start"' in owner.get(f"/runs/{runid}/sample/").text
    page = stranger.get(f"/runs/{runid}/sample/")
    assert page.status_code == 200
    assert 'id="start"' not in page.text
    status, answer = post(stranger, f"/api/runs/{runid}/start")
    assert (status, answer["error"]["code"]) == (403, "forbidden")


def test_a_run_shared_with_somebody_is_theirs_to_see_and_start(site: Flask) -> None:
    from sqlalchemy import select
    from wepppy.weppcloud.models import Run, User, db

    for email in ("owner@example.org", "other@example.org"):
        add_user(site, email)
    owner, other = site.test_client(), site.test_client()
    assert log_in(owner, "secret", "owner@example.org") == 200
    assert log_in(other, "secret", "other@example.org") == 200
    runid = make_run(owner, public=False)
    with site.app_context():
        run = db.session.scalars(select(Run)).one()
        run.users.append(db.session.scalars(select(User).where(User.email == "other@example.org")).one())
        db.session.commit()
    assert other.get("/api/runs").get_json()["Content"]["total"] == 1
    assert post(other, f"/api/runs/{runid}/start")[0] == 202


def test_a_run_that_nobody_owns_is_started_by_the_browser_that_made_it_and_by_administrators(
    site: Flask,
) -> None:
    add_user(site, "other@example.org")
    maker, stranger, user, admin = (site.test_client() for _ in range(4))
    assert log_in(user, "secret", "other@example.org") == 200
    assert log_in(admin) == 200
    runid = make_run(maker)
    for client in (stranger, user):
        status, answer = post(client, f"/api/runs/{runid}/start")
        assert (status, answer["error"]["code"]) == (403, "forbidden")
        assert 'id="start"' not in client.get(f"/runs/{runid}/sample/").text
    assert 'id="start"' in maker.get(f"/runs/{runid}/sample/").text
    assert post(maker, f"/api/runs/{runid}/start")[0] == 202
    assert post(admin, f"/api/runs/{runid}/start")[0] == 200
    # Also after they have logged in.
    add_user(site, "maker@example.org")
    assert log_in(maker, "secret", "maker@example.org") == 200
    assert post(maker, f"/api/runs/{runid}/start")[0] == 200


def test_a_browser_remembers_so_many_runs_that_its_cookie_holds_them(site: Flask) -> None:
    from wepppy.weppcloud.run_access import MADE_KEPT

    client = site.test_client()
    made = [make_run(client) for _ in range(MADE_KEPT + 1)]
    cookie = client.get_cookie("session")
    assert cookie is not None
    assert len(cookie.value) < 4000  # what browsers keep (RFC 6265 section 6.1)
    assert post(client, f"/api/runs/{made[0]}/start")[0] == 403
    assert post(client, f"/api/runs/{made[-1]}/start")[0] == 202


def test_a_run_that_nobody_owns_is_never_private(site: Flask) -> None:
    client = site.test_client()
    runid = make_run(client, public=False)
    assert site.test_client().get(f"/api/runs/{runid}").get_json()["Content"]["public"] is True


def test_strangers_can_be_kept_from_making_runs(site: Flask) -> None:
    site.config["ANONYMOUS_CREATION"] = False
    client = site.test_client()
    status, answer = post(client, "/api/runs")
    assert (status, answer["error"]["code"]) == (401, "login_required")
    assert 'id="create"' not in client.get("/").text
    assert log_in(client) == 200
    assert EMAIL in client.get("/").text
    make_run(client)


def test_without_a_landscape_a_run_is_refused_and_leaves_nothing(site: Flask, data_env: Path) -> None:
    (data_env / "geodata/sample-data.json").unlink()
    client = site.test_client()
    status, answer = post(client, "/api/runs")
    assert (status, answer["error"]["code"]) == (503, "no_geodata")
    assert client.get("/api/runs").get_json()["Content"]["total"] == 0


def test_a_directory_without_a_row_is_not_left_behind_when_the_database_refuses(
    site: Flask, data_env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import OperationalError
    from wepppy.weppcloud.models import db

    client = site.test_client()
    csrf = token(client)

    def refuse() -> None:
        raise OperationalError("COMMIT", {}, Exception("server closed the connection"))

    monkeypatch.setattr(db.session, "commit", refuse)
    answer = client.post("/api/runs", json={}, headers={"X-CSRFToken": csrf})
    assert answer.status_code == 503
    assert answer.get_json()["error"]["code"] == "postgres_unavailable"
    assert [path for path in (data_env / "wc1").rglob("*") if path.is_file()] == []


def test_the_list_is_paged_newest_first(site: Flask) -> None:
    client = site.test_client()
    made = [make_run(client, name=str(number)) for number in range(5)]
    content = client.get("/api/runs?limit=2&page=2").get_json()["Content"]
    assert [run["runid"] for run in content["runs"]] == [made[2], made[1]]
    assert content["total"] == 5


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=", "limit=-1", "page=0", "page=9e9"]
)
def test_a_bad_page_is_refused(site: Flask, query: str) -> None:
    answer = site.test_client().get(f"/api/runs?{query}")
    assert answer.status_code == 400
    assert answer.get_json()["error"]["code"] == "validation_error"


@pytest.mark.parametrize("body", [b"[]", b"null", b"{", b'"x"', b"\xff", b"1"])
def test_a_body_that_is_no_object_is_refused(site: Flask, body: bytes) -> None:
    client = site.test_client()
    answer = client.post("/api/runs", data=body, headers={"X-CSRFToken": token(client)})
    assert answer.status_code == 400
    assert answer.get_json()["error"]["code"] == "validation_error"


def test_unknown_addresses_and_methods_have_the_shape_of_every_failure(site: Flask) -> None:
    client = site.test_client()
    answer = client.get("/api/nothing")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (404, "not_found")
    answer = client.delete("/api/runs", headers={"X-CSRFToken": token(client)})
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (405, "method_not_allowed")
    assert "GET" in answer.headers["Allow"]
    assert client.get("/nothing", headers={"Accept": "text/html"}).mimetype == "text/html"


def test_a_failure_of_the_program_shows_a_number_and_no_trace(
    site: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from wepppy.weppcloud import run_store

    def broken(_runids: list[str]) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(run_store, "job_states", broken)
    for path, accept in (("/api/runs", "application/json"), ("/", "text/html")):
        answer = site.test_client().get(path, headers={"Accept": accept})
        assert answer.status_code == 500
        assert "secret detail" not in answer.text
        assert "Traceback" not in answer.text
    error_id = site.test_client().get("/api/runs").get_json()["error_id"]
    assert any(error_id in record.getMessage() and record.exc_info for record in caplog.records)


def test_every_answer_carries_the_callers_correlation_id(site: Flask) -> None:
    client = site.test_client()
    assert client.get("/health", headers={"X-Correlation-ID": "abc-1"}).headers["X-Correlation-ID"] == "abc-1"
    made_up = client.get("/nothing", headers={"X-Correlation-ID": "<script>"}).headers["X-Correlation-ID"]
    assert made_up.isalnum()


def test_pages_run_no_foreign_or_inline_script(site: Flask) -> None:
    client = site.test_client()
    runid = make_run(client)
    page = client.get(f"/runs/{runid}/sample/", headers={"X-Forwarded-Prefix": "/weppcloud"})
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert "//" not in page.text.replace("<!doctype", "")
    assert 'src="/weppcloud/static/js/run.js"' in page.text
    assert client.get("/static/js/run.js").mimetype == "text/javascript"
    worker = client.get("/service-worker.js", headers={"X-Forwarded-Prefix": "/weppcloud"})
    assert worker.headers["Service-Worker-Allowed"] == "/weppcloud/"


any_text = st.text(st.characters(codec=None), max_size=120)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@FUZZ
@given(name=any_json, public=any_json)
def test_no_name_and_no_flag_breaks_the_making_of_a_run(site: Flask, name: object, public: object) -> None:
    client = site.test_client()
    answer = client.post(
        "/api/runs",
        data=json.dumps({"name": name, "public": public}),
        content_type="application/json",
        headers={"X-CSRFToken": token(client)},
    )
    assert answer.status_code in {201, 400}
    assert ("error" in answer.get_json()) is (answer.status_code == 400)


@FUZZ
@given(email=any_json, password=any_json)
def test_no_input_breaks_the_login(site: Flask, email: object, password: object) -> None:
    limiter.reset()
    client = site.test_client()
    answer = client.post(
        "/api/login",
        data=json.dumps({"email": email, "password": password}),
        content_type="application/json",
        headers={"X-CSRFToken": token(client)},
    )
    assert answer.status_code in {400, 401, 429}
    assert answer.get_json()["error"]["code"] in {"validation_error", "login_failed", "too_many_requests"}


@FUZZ
@given(runid=st.text(max_size=40), config=st.text(max_size=10))
def test_no_run_id_and_no_config_breaks_a_page(site: Flask, runid: str, config: str) -> None:
    from urllib.parse import quote

    client = site.test_client()
    for path in (
        f"/api/runs/{quote(runid, safe='')}",
        f"/runs/{quote(runid, safe='')}/{quote(config, safe='')}/",
    ):
        assert client.get(path).status_code in {200, 302, 308, 404}
    assert client.get("/", query_string={"page": config}).status_code == 200
