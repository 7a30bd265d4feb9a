"""The web application while Redis or Postgres is away, and after they are back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from conftest import PASSWORD, SAMPLE_TREE, PostgresServer, RedisServer, free_port, wait_until
from flask import Flask, Response


def test_health_is_ok_while_everything_answers(site: Flask) -> None:
    answer = site.test_client().get("/health")
    assert (answer.status_code, answer.mimetype, answer.get_json()) == (200, "application/json", "OK")
    assert "Set-Cookie" not in answer.headers


def test_health_names_redis_while_it_is_gone_and_recovers(site: Flask, redis_server: RedisServer) -> None:
    client = site.test_client()
    headers = {"X-CSRFToken": client.get("/api/csrf-token").get_json()["Content"]["csrf_token"]}
    account = {"email": "admin@example.org", "password": PASSWORD}
    assert client.post("/api/login", json=account, headers=headers).status_code == 200
    redis_server.stop()
    try:
        answer = client.get("/health")
        assert answer.status_code == 503
        assert answer.get_json()["error"]["code"] == "unhealthy"
        assert list(answer.get_json()["error"]["details"]) == ["redis"]
        assert PASSWORD not in answer.text
        action = client.post("/api/runs", json={})
        assert action.status_code == 503
        assert set(action.get_json()["error"]) == {"message", "code"}
    finally:
        redis_server.start()
    assert client.get("/health").status_code == 200
    assert client.get("/api/runs").status_code == 200


def test_the_login_form_is_not_shown_while_nobody_can_log_in(site: Flask, redis_server: RedisServer) -> None:
    client = site.test_client()
    assert client.get("/login").status_code == 200
    redis_server.stop()
    try:
        page = client.get("/login", headers={"Accept": "text/html"})
        assert (page.status_code, page.mimetype) == (503, "text/html")
        assert "redis does not answer" in page.text
    finally:
        redis_server.start()
    assert client.get("/login").status_code == 200


def test_health_names_postgres_while_it_is_gone_and_recovers(
    site: Flask, postgres_server: PostgresServer
) -> None:
    client = site.test_client()
    assert client.get("/api/runs").status_code == 200
    postgres_server.stop()
    try:
        answer = client.get("/health")
        assert answer.status_code == 503
        assert list(answer.get_json()["error"]["details"]) == ["postgres"]
        listing = client.get("/api/runs")
        assert listing.status_code == 503
        assert listing.get_json()["error"]["code"] == "postgres_unavailable"
        assert len(listing.get_json()["error_id"]) == 32
        assert "psycopg" not in listing.text
        page = client.get("/", headers={"Accept": "text/html"})
        assert page.status_code == 503
        assert page.mimetype == "text/html"
    finally:
        postgres_server.start()
    assert client.get("/health").status_code == 200
    assert client.get("/api/runs").status_code == 200


def test_an_answer_that_is_complete_is_sent_though_postgres_goes_away_behind_it(
    site: Flask, postgres_server: PostgresServer
) -> None:
    stopped = []

    @site.after_request
    def stop_once(response: Response) -> Response:
        if not stopped:
            stopped.append(True)
            postgres_server.stop()
        return response

    try:
        answer = site.test_client().get("/api/runs")
        assert (answer.status_code, answer.get_json()["Content"]["runs"]) == (200, [])
        assert site.test_client().get("/api/runs").status_code == 503
    finally:
        postgres_server.start()
    assert site.test_client().get("/api/runs").status_code == 200


def test_health_tells_that_the_tables_are_missing(site: Flask, postgres_server: PostgresServer) -> None:
    postgres_server.new_database(postgres_server.database)
    answer = site.test_client().get("/health")
    assert answer.status_code == 503
    assert "tables" in answer.get_json()["error"]["details"]["postgres"]


def test_health_tells_that_a_column_is_missing(site: Flask) -> None:
    from wepppy.weppcloud.models import db

    def rename(old: str, new: str) -> None:
        with site.app_context(), db.engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE run RENAME {old} TO {new}")

    rename("name", "elsewhere")
    try:
        answer = site.test_client().get("/health")
    finally:
        rename("elsewhere", "name")
    assert answer.status_code == 503
    assert "columns" in answer.get_json()["error"]["details"]["postgres"]


def test_a_server_that_hangs_is_reported_in_time(site: Flask, redis_server: RedisServer) -> None:
    import signal

    assert redis_server.process is not None
    redis_server.process.send_signal(signal.SIGSTOP)
    try:
        answer = site.test_client().get("/health")
        assert answer.status_code == 503
        assert list(answer.get_json()["error"]["details"]) == ["redis"]
    finally:
        redis_server.process.send_signal(signal.SIGCONT)


@pytest.fixture
def gunicorn(site: Flask, site_env: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The application under the server that the stack runs it with; the value is its address."""
    address = f"127.0.0.1:{free_port()}"
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "wepppy.weppcloud.app:app",
        "--bind",
        address,
        "--threads",
        "4",
    ]
    with (tmp_path / "gunicorn.log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**site_env, "PYTHONPATH": str(SAMPLE_TREE)}, stderr=log, cwd=tmp_path
        )

    def answers() -> bool:
        try:
            return httpx.get(f"http://{address}/health").status_code == 200
        except httpx.TransportError:
            return False

    wait_until(answers, "the application answering")
    yield f"http://{address}"
    process.terminate()
    process.wait(timeout=30)


def test_a_login_and_its_run_outlive_restarts_of_redis_and_postgres(
    gunicorn: str, redis_server: RedisServer, postgres_server: PostgresServer
) -> None:
    with httpx.Client(base_url=gunicorn, timeout=30) as client:

        def post(path: str, body: dict[str, object]) -> httpx.Response:
            csrf = client.get("/api/csrf-token").json()["Content"]["csrf_token"]
            return client.post(path, json=body, headers={"X-CSRFToken": csrf})

        assert post("/api/login", {"email": "admin@example.org", "password": PASSWORD}).status_code == 200
        runid = post("/api/runs", {"name": "outlives"}).json()["Content"]["runid"]
        redis_server.stop()
        postgres_server.stop()
        assert client.get("/health").status_code == 503
        postgres_server.start()
        redis_server.start()
        listed = client.get("/api/runs").json()["Content"]["runs"]
        assert [(run["runid"], run["mine"]) for run in listed] == [(runid, True)]
        assert post(f"/api/runs/{runid}/start", {}).status_code == 202
