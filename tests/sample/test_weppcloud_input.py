"""Anything at all sent to the web application: the right status and shape, no failure of the program, no leak."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from conftest import PASSWORD
from flask import Flask
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_weppcloud_accounts import EMAIL, token
from wepppy.weppcloud.rate_limits import limiter
from werkzeug.test import TestResponse

FUZZ = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
anything = st.text(max_size=60) | st.sampled_from(
    ["", "0", "1", "50", "-1", "1e3", "\0", "٣", "9" * 5000, "../..", "//[", "/\\evil.example", "%00"]
)
# What a header can carry at all: HTTP has no line breaks in values.
header = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=60)


def check(answer: TestResponse, statuses: set[int], data_env: Path) -> None:
    """A status that was meant, the shape of failures, and nothing of the machine's inside."""
    assert answer.status_code in statuses, (answer.status_code, answer.text[:300])
    if answer.status_code >= 400 and answer.mimetype == "application/json":
        body = answer.get_json()
        assert set(body) == {"error"}
        assert {"message", "code"} <= set(body["error"]) <= {"message", "code", "details"}
    for leak in ("Traceback", str(data_env), "site-packages", "psycopg"):
        assert leak not in answer.text


@FUZZ
@given(query=st.dictionaries(st.sampled_from(["limit", "page", "other"]), anything))
def test_no_query_breaks_the_list_of_runs(site: Flask, data_env: Path, query: dict[str, str]) -> None:
    clean = {name: value.encode("utf-8", "replace").decode() for name, value in query.items()}
    check(site.test_client().get("/api/runs", query_string=clean), {200, 400}, data_env)
    check(site.test_client().get("/", query_string=clean), {200}, data_env)


@FUZZ
@given(path=anything)
def test_no_run_id_breaks_a_start(site: Flask, data_env: Path, path: str) -> None:
    client = site.test_client()
    url = f"/api/runs/{quote(path, safe='', errors='replace')}/start"
    check(client.post(url, headers={"X-CSRFToken": token(client)}), {404, 405}, data_env)
    url = f"/runs/{quote(path, safe='', errors='replace')}/sample/delete"
    check(client.post(url, data={"csrf_token": token(client)}), {404, 405}, data_env)


@FUZZ
@given(
    body=st.binary(max_size=200), kind=st.sampled_from(["application/json", "text/plain", "", "a/b; c=\xe9"])
)
def test_no_body_breaks_any_of_the_interface(site: Flask, data_env: Path, body: bytes, kind: str) -> None:
    limiter.reset()
    client = site.test_client()
    headers = {"X-CSRFToken": token(client), "Content-Type": kind}
    for path, statuses in (
        ("/api/runs", {201, 400}),
        ("/api/login", {400, 401, 429}),
        ("/api/runs/none/start", {404}),
    ):
        check(client.post(path, data=body, headers=headers), statuses, data_env)


@FUZZ
@given(
    form=st.dictionaries(st.sampled_from(["email", "password", "next", "name", "public"]), anything),
    query=st.dictionaries(st.just("next"), anything),
)
@example(form={}, query={"next": "//["})
@example(form={"next": "//[", "email": "\0"}, query={})
def test_no_form_breaks_a_page(
    site: Flask, data_env: Path, form: dict[str, str], query: dict[str, str]
) -> None:
    limiter.reset()
    form = {name: value.encode("utf-8", "replace").decode() for name, value in form.items()}
    query = {name: value.encode("utf-8", "replace").decode() for name, value in query.items()}
    client = site.test_client()
    check(client.get("/login", query_string=query), {200}, data_env)
    sent = {**form, "csrf_token": token(client)}
    check(client.post("/login", data=sent, query_string=query), {400, 401, 429}, data_env)
    check(client.post("/runs/", data=sent), {303, 400}, data_env)


@FUZZ
@given(
    headers=st.dictionaries(
        st.sampled_from(
            ["X-CSRFToken", "Cookie", "X-Correlation-ID", "Accept", "Authorization", "Host", "X-Forwarded-Host",
             "X-Forwarded-Prefix", "X-Forwarded-For", "X-Forwarded-Proto", "If-None-Match", "Range"]
        ),
        header,
    )
)  # fmt: skip
@example(headers={"Host": "two..dots"})
def test_no_header_breaks_an_answer(site: Flask, data_env: Path, headers: dict[str, str]) -> None:
    for path, statuses in (
        ("/", {200, 400}),
        ("/api/runs", {200, 400}),
        ("/static/site.css", {200, 206, 304, 400, 416}),
    ):
        answer = site.test_client().get(path, headers=headers)
        if answer.status_code not in statuses:
            pytest.fail(f"{path} with {headers!r}: {answer.status_code} {answer.text[:300]}")
        assert "Traceback" not in answer.text
    answer = site.test_client().post("/api/runs", json={}, headers=headers)
    check(answer, {400}, data_env)


@pytest.mark.parametrize("wanted", ["//[", "//evil.example", "/\\evil.example", "https://evil.example/", "x"])
def test_a_login_leads_to_the_list_when_the_page_asked_for_is_no_page(site: Flask, wanted: str) -> None:
    client = site.test_client()
    form = {"email": EMAIL, "password": PASSWORD, "next": wanted, "csrf_token": token(client)}
    answer = client.post("/login", data=form)
    assert (answer.status_code, answer.location) == (302, "/")
