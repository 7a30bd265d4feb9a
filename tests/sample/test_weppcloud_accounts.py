"""Logging in and out of the web application, and what keeps strangers from doing so."""

from __future__ import annotations

import re

import jwt
import pytest
import redis
from conftest import PASSWORD, RedisServer
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wepppy.weppcloud.accounts import hash_password, verify_password

EMAIL = "admin@example.org"


def token(client: FlaskClient) -> str:
    """Return the CSRF token of the client's session."""
    return str(client.get("/api/csrf-token").get_json()["Content"]["csrf_token"])


def log_in(client: FlaskClient, password: str = PASSWORD, email: str = EMAIL) -> int:
    """Log in by the JSON interface and return the status."""
    headers = {"X-CSRFToken": token(client)}
    return client.post("/api/login", json={"email": email, "password": password}, headers=headers).status_code


def session_keys(server: RedisServer) -> set[str]:
    """Return the sessions that Redis holds in the database made for them."""
    with redis.Redis.from_url(server.url(11), decode_responses=True) as client:
        return set(client.keys("session:*"))


def test_a_login_by_the_form_sticks_on_plain_http_behind_the_prefix(site: Flask) -> None:
    client = site.test_client(use_cookies=False)
    proxy = {
        "X-Forwarded-Prefix": "/weppcloud",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "localhost:8080",
    }
    page = client.get("/login?next=/weppcloud/runs/x/sample/", headers=proxy)
    field = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert field is not None
    assert 'action="/weppcloud/login"' in page.text
    form = {"csrf_token": field[1], "email": f" {EMAIL.upper()} ", "password": PASSWORD}
    form["next"] = "/weppcloud/runs/x/sample/"
    # The browser sees the application under the prefix and sends the cookie back to those addresses.
    answer = client.post("/login", data=form, headers={**proxy, "Cookie": cookie_of(page)})
    assert answer.status_code == 302
    assert answer.location == "/weppcloud/runs/x/sample/"
    set_cookie = answer.headers["Set-Cookie"]
    assert "Path=/weppcloud;" in set_cookie
    assert "HttpOnly" in set_cookie
    assert "SameSite=Lax" in set_cookie
    assert "Secure" not in set_cookie
    assert EMAIL in client.get("/", headers={**proxy, "Cookie": cookie_of(answer)}).text


def cookie_of(answer: object) -> str:
    """Return the `name=value` of the cookie that an answer sets."""
    return str(answer.headers["Set-Cookie"]).partition(";")[0]  # type: ignore[attr-defined]


def test_the_cookie_is_secure_when_the_visitor_came_by_https(site: Flask) -> None:
    answer = site.test_client().get("/", headers={"X-Forwarded-Proto": "https"})
    assert "; Secure" in answer.headers["Set-Cookie"]


def test_only_one_proxy_is_believed(site: Flask) -> None:
    with site.test_client() as client:
        from flask import request

        client.get("/health", headers={"X-Forwarded-For": "6.6.6.6, 10.0.0.9"})
        assert request.remote_addr == "10.0.0.9"


def test_behind_a_trusted_proxy_the_client_is_whom_that_one_names(
    site: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flask import request
    from wepppy.weppcloud.app import create_app

    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/8")
    with create_app().test_client() as client:
        client.get("/health", headers={"X-Forwarded-For": "6.6.6.6, 203.0.113.9, 10.0.0.9"})
        assert request.remote_addr == "203.0.113.9"


@pytest.mark.parametrize(
    ("seconds", "cached"),
    [("", "no-cache, max-age=0"), ("0", "no-cache, max-age=0"), ("300", "public, max-age=300")],
)
def test_scripts_and_styles_are_kept_for_the_time_of_the_setting(
    site: Flask, monkeypatch: pytest.MonkeyPatch, seconds: str, cached: str
) -> None:
    from wepppy.weppcloud.app import create_app

    monkeypatch.setenv("STATIC_MAX_AGE", seconds)
    client = create_app().test_client()
    assert client.get("/static/site.css").headers["Cache-Control"] == cached
    assert "Cache-Control" not in client.get("/login").headers


def test_the_session_cookie_is_signed_and_a_forged_one_opens_nothing(
    site: Flask, redis_server: RedisServer
) -> None:
    client = site.test_client()
    assert log_in(client) == 200
    cookie = client.get_cookie("session")
    assert cookie is not None
    sid = cookie.value.partition(".")[0]
    assert f"session:{sid}" in session_keys(redis_server)
    forger = site.test_client()
    forger.set_cookie("session", sid)
    assert EMAIL not in forger.get("/").text
    assert EMAIL in client.get("/").text


def test_nothing_that_redis_holds_is_ever_unpickled(site: Flask, redis_server: RedisServer) -> None:
    import pickle

    client = site.test_client()
    assert log_in(client) == 200
    [key] = session_keys(redis_server)
    with redis.Redis.from_url(redis_server.url(11)) as direct:
        direct.set(key, pickle.dumps({"_user_id": "x"}))
    answer = client.get("/")
    assert answer.status_code == 200
    assert EMAIL not in answer.text


def test_only_who_is_logged_in_has_a_session_in_redis(site: Flask, redis_server: RedisServer) -> None:
    for path in ("/", "/login", "/api/csrf-token", "/api/runs", "/runs/x/sample/"):
        site.test_client().get(path)
    client = site.test_client()
    created = client.post("/api/runs", json={}, headers={"X-CSRFToken": token(client)})
    assert created.status_code == 201
    assert session_keys(redis_server) == set()
    assert log_in(client) == 200
    [_] = session_keys(redis_server)
    assert client.post("/logout", headers={"X-CSRFToken": token(client)}).status_code == 302
    client.get("/login")
    assert session_keys(redis_server) == set()


def test_the_session_id_changes_at_login_and_the_old_one_is_worthless(
    site: Flask, redis_server: RedisServer
) -> None:
    client = site.test_client()
    assert log_in(client) == 200
    before, [key] = client.get_cookie("session"), session_keys(redis_server)
    assert log_in(client) == 200
    after = client.get_cookie("session")
    assert before is not None
    assert after is not None
    assert before.value != after.value
    assert key not in session_keys(redis_server)


def test_what_an_anonymous_cookie_says_is_signed_and_never_who_somebody_is(site: Flask) -> None:
    from flask.sessions import SecureCookieSessionInterface
    from wepppy.weppcloud.models import User, db

    client = site.test_client()
    with site.app_context():
        user = db.session.query(User).filter_by(email=EMAIL).one().get_id()
        signer = SecureCookieSessionInterface().get_signing_serializer(site)
        assert signer
        genuine = str(signer.dumps({"_user_id": user, "csrf_token": "x"}))
    for value in (genuine, genuine[:-1], "", "x.y", "{}"):
        client.set_cookie("session", value)
        answer = client.get("/")
        assert answer.status_code == 200
        assert EMAIL not in answer.text


def test_a_token_from_before_the_login_is_worth_nothing_after_it(site: Flask) -> None:
    client = site.test_client()
    early = token(client)
    assert log_in(client) == 200
    assert client.post("/api/runs", json={}, headers={"X-CSRFToken": early}).status_code == 400


def test_logging_out_ends_the_session_in_redis_and_the_tokens_given_to_the_browser(
    site: Flask, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "x" * 40
    monkeypatch.setenv("WEPP_AUTH_JWT_SECRETS", f"{secret},older")
    client = site.test_client()
    assert log_in(client) == 200
    headers = {"X-CSRFToken": token(client)}
    runid = client.post("/api/runs", json={"public": False}, headers=headers).get_json()["Content"]["runid"]
    client.get(f"/runs/{runid}/sample/")
    cookie = client.get_cookie("wepp_browse_jwt", path=f"/weppcloud/runs/{runid}/sample/")
    assert cookie is not None
    claims = jwt.decode(cookie.value, secret, algorithms=["HS256"], audience="rq-engine")
    assert claims["runid"] == runid
    names = (
        f"status/{runid}:wepp",
        f"preflight/{runid}",
        f"webpush/subscriptions/{runid}",
    )
    for name in names:
        shown = client.get_cookie("wepp_browse_jwt", path=f"/weppcloud-microservices/{name}")
        assert shown is not None
        assert shown.value == cookie.value
    assert set(claims["roles"]) == {"User", "Admin", "Root"}
    kept = client.get_cookie("session")
    assert client.post("/logout", headers=headers).status_code == 302
    with redis.Redis.from_url(redis_server.url(0)) as direct:
        assert direct.exists(f"auth:jwt:revoked:{claims['jti']}")
    assert kept is not None
    client.set_cookie("session", kept.value)
    assert EMAIL not in client.get("/").text


def test_a_visitor_without_an_account_gets_no_token(site: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEPP_AUTH_JWT_SECRETS", "x" * 40)
    client = site.test_client()
    headers = {"X-CSRFToken": token(client)}
    runid = client.post("/api/runs", headers=headers).get_json()["Content"]["runid"]
    client.get(f"/runs/{runid}/sample/")
    assert client.get_cookie("wepp_browse_jwt", path=f"/weppcloud/runs/{runid}/sample/") is None


@pytest.mark.parametrize(
    ("email", "password"),
    [(EMAIL, "wrong"), ("nobody@example.org", PASSWORD), ("", ""), ("x" * 300, PASSWORD)],
)
def test_a_wrong_pair_is_refused_without_telling_which_half_was_wrong(
    site: Flask, email: str, password: str
) -> None:
    client = site.test_client()
    headers = {"X-CSRFToken": token(client)}
    answer = client.post("/api/login", json={"email": email, "password": password}, headers=headers)
    assert answer.status_code == 401
    expected = {"code": "login_failed", "message": "The e-mail address or the password is wrong."}
    assert answer.get_json() == {"error": expected}


def test_a_deactivated_account_can_not_be_used(site: Flask) -> None:
    from sqlalchemy import update
    from wepppy.weppcloud.models import User, db

    client = site.test_client()
    assert log_in(client) == 200
    with site.app_context():
        db.session.execute(update(User).values(active=False))
        db.session.commit()
    assert EMAIL not in client.get("/").text
    assert log_in(site.test_client()) == 401


def test_guessing_is_stopped_after_ten_failures_even_with_the_right_password(site: Flask) -> None:
    client = site.test_client()
    assert [log_in(client, "wrong") for _ in range(10)] == [401] * 10
    assert log_in(client) == 429
    assert log_in(site.test_client()) == 429


def test_a_login_ends_the_count_of_failures_before_it(site: Flask) -> None:
    client = site.test_client()
    for _ in range(2):
        assert [log_in(client, "wrong") for _ in range(9)] == [401] * 9
        assert log_in(client) == 200


def test_who_guesses_locks_nobody_else_out(site: Flask) -> None:
    def from_address(address: str, password: str, email: str = EMAIL) -> int:
        client = site.test_client()
        client.environ_base["REMOTE_ADDR"] = address
        return log_in(client, password, email)

    for address in ("203.0.113.9", "2001:db8:0:1::1"):
        assert [from_address(address, "wrong") for _ in range(10)] == [401] * 10
        assert from_address(address, PASSWORD) == 429
    assert from_address("2001:db8:0:1::2", PASSWORD) == 429  # addresses of the same client
    for address in ("203.0.113.10", "2001:db8:0:2::1"):
        assert from_address(address, PASSWORD) == 200
    # The neighbour behind the same address, with an account of their own.
    run = site.test_cli_runner().invoke
    assert run(args=["set-user", "new@example.org"], input="long enough\n").exit_code == 0
    assert from_address("203.0.113.9", "long enough", "new@example.org") == 200


def test_one_address_has_a_hundred_guesses_at_all_accounts_together(
    site: Flask, redis_server: RedisServer
) -> None:
    assert log_in(site.test_client(), "wrong", "a@example.org") == 401
    with redis.Redis.from_url(redis_server.url(11), decode_responses=True) as direct:
        [counter] = direct.keys("LIMITS:*/100/*")
        direct.incrby(counter, 98)
    assert log_in(site.test_client(), "wrong", "b@example.org") == 401
    client = site.test_client()
    headers = {"X-CSRFToken": token(client)}
    answer = client.post("/api/login", json={"email": "c@example.org", "password": "x"}, headers=headers)
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 900
    assert answer.get_json()["error"]["message"].startswith("Too many failed logins. Try again in ")


def test_the_form_and_the_interface_count_the_same_failures(site: Flask) -> None:
    client = site.test_client()
    assert [log_in(client, "wrong") for _ in range(9)] == [401] * 9
    form = {"csrf_token": token(client), "email": f" {EMAIL.upper()}", "password": "wrong"}
    assert client.post("/login", data=form).status_code == 401
    assert client.post("/login", data=form).status_code == 429
    assert log_in(client) == 429


def test_a_post_without_the_token_changes_nothing(site: Flask) -> None:
    client = site.test_client()
    for path in ("/api/login", "/api/runs", "/api/runs/x/start"):
        answer = client.post(path, json={})
        assert answer.status_code == 400
        assert answer.get_json()["error"]["code"] == "csrf_failed"
    page = client.post("/runs/", data={"name": "x"}, headers={"Accept": "text/html"})
    assert page.status_code == 400
    assert page.mimetype == "text/html"
    assert client.get("/api/runs").get_json()["Content"]["total"] == 0


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example/", "/\\evil.example/", "javascript:alert(1)", "/\n/evil"],
)
def test_a_login_never_leads_to_another_site(site: Flask, target: str) -> None:
    client = site.test_client()
    assert log_in(client) == 200
    assert client.get("/login", query_string={"next": target}).location == "/"


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40), st.text(max_size=40))
def test_a_password_verifies_only_against_its_own_hash_and_salt(password: str, other: str) -> None:
    site = Flask("site")
    site.config["PASSWORD_SALT"] = "salt"
    with site.app_context():
        stored = hash_password(password)
        assert verify_password(stored, password)
        assert verify_password(stored, other) is (other == password)
        assert not verify_password(None, password)
        site.config["PASSWORD_SALT"] = "another salt"
        assert not verify_password(stored, password)


def test_a_hash_that_an_earlier_version_stored_still_verifies() -> None:
    site = Flask("site")
    site.config["PASSWORD_SALT"] = "salt"
    stored = (
        "scrypt:32768:8:1$JbuX7eEsS5RUpj1M$"
        "f7df5f3343e36505cd80d88939da469411ffb8116e6f40dd7022b137a35b4f6f"
        "beb93c81880df0f44a39b5924532023b4dfdce7057f87a839a650d94c9ad11ce"
    )
    with site.app_context():
        assert verify_password(stored, "an old password")
        assert not verify_password(stored, "another")


def test_operators_make_accounts_and_change_passwords_without_showing_them(site: Flask) -> None:
    run = site.test_cli_runner().invoke
    made = run(args=["set-user", "New@Example.org", "--role", "Admin"], input="long enough\n")
    assert (made.exit_code, made.output) == (0, "new@example.org: made\n")
    client = site.test_client()
    assert log_in(client, "long enough", "new@example.org") == 200
    changed = run(args=["set-user", "new@example.org"], input="another one\n")
    assert changed.output == "new@example.org: password changed\n"
    assert "new@example.org" not in client.get("/").text
    assert log_in(site.test_client(), "long enough", "new@example.org") == 401
    assert log_in(site.test_client(), "another one", "new@example.org") == 200


@pytest.mark.parametrize(
    ("arguments", "password"),
    [(["nobody"], "long enough"), (["a@b.org", "--role", "King"], "long enough"), (["a@b.org"], "short")],
)
def test_a_bad_account_is_a_usage_error(site: Flask, arguments: list[str], password: str) -> None:
    result = site.test_cli_runner().invoke(args=["set-user", *arguments], input=f"{password}\n")
    assert result.exit_code == 2
    assert password not in result.output
