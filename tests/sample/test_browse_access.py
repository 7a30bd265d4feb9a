"""Who may read which run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from conftest import RedisServer
from file_service import RUNID, URL, Answer, call, make_run

SECRETS = ["the active secret that is long enough", "an older secret that is long enough too"]


@pytest.fixture
def denylist(data_env: Path, redis_env: RedisServer, monkeypatch: pytest.MonkeyPatch) -> RedisServer:
    from wepppy.microservices import browse_access

    make_run(data_env, public=False)
    monkeypatch.setenv("WEPP_AUTH_JWT_SECRETS", ", ".join(SECRETS))
    monkeypatch.delenv("WEPP_AUTH_JWT_SECRETS_FILE", raising=False)
    browse_access._denylist.cache_clear()
    return redis_env


def token(secret: str = SECRETS[0], algorithm: str = "HS256", **changes: Any) -> str:
    claims = {
        "sub": "7", "token_class": "session", "aud": "rq-engine", "jti": "one", "exp": int(time.time()) + 600,
        "runid": RUNID, **changes,
    }  # fmt: skip
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, secret, algorithm)


def ask(bearer: str | None = None, path: str = "files", **headers: str) -> Answer:
    if bearer:
        headers["authorization"] = f"Bearer {bearer}"
    return call(f"{URL}/{path}", headers)


def test_a_private_run_needs_a_token(denylist: RedisServer) -> None:
    answer = ask()
    assert (answer.status, answer.json["error"]["code"]) == (404, "run_not_found")
    assert ask(path="download/notes.txt").status == 404


@pytest.mark.parametrize("bearer", [None, "x"])
@pytest.mark.parametrize("accept", ["*/*", "text/html,*/*"])
@pytest.mark.parametrize(
    "path", ["files", "browse/", "download/notes.txt", "gdalinfo/dem.tif", "aria2c.spec"]
)
def test_a_private_run_and_none_at_all_look_the_same(
    denylist: RedisServer, data_env: Path, path: str, accept: str, bearer: str | None
) -> None:
    private = ask(bearer, path, accept=accept)
    run = data_env / "wc1" / "runs" / RUNID[:2] / RUNID
    run.rename(run.with_name("elsewhere"))
    absent = ask(bearer, path, accept=accept)
    run.with_name("elsewhere").rename(run)
    assert private.status == 404
    assert absent == private


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"runid": None, "runs": ["other", RUNID]},
        {"runid": None, "roles": ["Admin"]},
        {"aud": ["x", "rq-engine"]},
    ],
)
def test_a_token_for_the_run_opens_it(denylist: RedisServer, claims: dict[str, Any]) -> None:
    assert ask(token(**claims)).status == 200
    assert ask(token(SECRETS[1], **claims)).status == 200
    assert ask(cookie=f"wepp_browse_jwt={token(**claims)}").status == 200


@pytest.mark.parametrize(
    "claims", [{"runid": "other"}, {"runid": None, "runs": RUNID}, {"runid": None, "roles": ["User"]}]
)
def test_a_token_for_something_else_opens_nothing(denylist: RedisServer, claims: dict[str, Any]) -> None:
    answer = ask(token(**claims))
    assert (answer.status, answer.json["error"]["code"]) == (404, "run_not_found")


@pytest.mark.parametrize(
    "bad",
    [
        token(exp=int(time.time()) - 1), token(exp=None), token(jti=None), token(jti=""), token(aud="query-engine"),
        token(aud=None), token("a secret that nobody configured here"),
        token("the active secret that is long enough", "HS512"),
        token("", "none"), "no.token.at-all", "x",
    ],
)  # fmt: skip
def test_a_token_that_is_not_valid_opens_nothing(denylist: RedisServer, bad: str) -> None:
    assert ask(bad).status == 404


def test_a_revoked_token_opens_nothing(denylist: RedisServer) -> None:
    import redis

    with redis.Redis.from_url(denylist.url(0)) as client:
        client.set("auth:jwt:revoked:one", "{}", ex=60)
    assert ask(token()).status == 404
    assert ask(token(jti="two")).status == 200


def test_while_the_denylist_is_away_tokens_open_nothing(denylist: RedisServer, data_env: Path) -> None:
    denylist.stop()
    try:
        answer = ask(token())
        assert (answer.status, answer.json["error"]["code"]) == (503, "token_check_unavailable")
        (data_env / "wc1" / "runs" / RUNID[:2] / RUNID / "PUBLIC").touch()
        assert ask(token()).status == 200
    finally:
        denylist.start()


def test_a_stale_cookie_does_not_lock_a_public_run(denylist: RedisServer, data_env: Path) -> None:
    (data_env / "wc1" / "runs" / RUNID[:2] / RUNID / "PUBLIC").touch()
    assert ask(cookie="wepp_browse_jwt=stale").status == 200


def test_only_root_reads_the_exception_logs(denylist: RedisServer) -> None:
    assert ask(token(), "download/exceptions.log").status == 403
    answer = ask(token(roles=["Root"]), "download/exceptions.log")
    assert (answer.status, answer.body) == (200, b"for the operators only")
    assert ask(token(roles=["Root"]), "download/_logs/access.log").status == 403


def test_without_a_secret_only_public_runs_are_open(
    denylist: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WEPP_AUTH_JWT_SECRETS")
    assert ask(token()).status == 404


def test_a_secret_file_that_is_gone_fails_the_health_check(
    denylist: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEPP_AUTH_JWT_SECRETS_FILE", "/no/such/file")
    answer = call("/health")
    assert (answer.status, answer.text) == (503, "the secret file of WEPP_AUTH_JWT_SECRETS can't be read")
    assert ask(token()).status == 503


def test_a_scenario_is_as_public_as_its_parent(denylist: RedisServer, data_env: Path) -> None:
    parent = data_env / "wc1" / "runs" / RUNID[:2] / RUNID
    scenario = parent / "_pups" / "omni" / "scenarios" / "thinned"
    scenario.mkdir(parents=True)
    (scenario / "ron.nodb").write_text("{}")
    runid = f"{RUNID};;omni;;thinned"
    url = f"/weppcloud/runs/{runid}/sample/files"
    assert call(url).status == 404
    assert call(url, {"cookie": f"wepp_browse_jwt={token(runid=runid)}"}).status == 200
    (parent / "PUBLIC").touch()
    assert call(url).status == 200


def test_the_websocket_services_are_told_who_may_read_a_run(denylist: RedisServer, data_env: Path) -> None:
    def answer(runid: str, **headers: str) -> tuple[int, bytes]:
        told = call(f"/access/{runid}", headers)
        return told.status, told.body

    assert answer(RUNID)[0] == 404
    assert answer(RUNID) == answer("no-such-run-000000")
    assert answer(RUNID, cookie=f"wepp_browse_jwt={token()}") == (204, b"")
    assert answer(RUNID, authorization=f"Bearer {token()}") == (204, b"")
    assert answer(RUNID, authorization=f"Bearer {token(runid='other')}")[0] == 404
    (data_env / "wc1" / "runs" / RUNID[:2] / RUNID / "PUBLIC").touch()
    assert answer(RUNID) == (204, b"")
