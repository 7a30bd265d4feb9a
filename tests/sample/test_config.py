"""Secrets, addresses of databases, run directories: where the services find what they need."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from conftest import PostgresServer, RedisServer
from hypothesis import given
from hypothesis import strategies as st
from wepppy.config.database import database_url
from wepppy.config.redis_settings import RedisDB, redis_client, redis_url
from wepppy.config.run_paths import get_wd
from wepppy.config.secrets import get_secret


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS", "RQ_REDIS", "SESSION_REDIS", "DATABASE"):
        monkeypatch.delenv(f"{name}_URL", raising=False)
    for name in (
        "SECRET",
        "SECRET_FILE",
        "REDIS_PASSWORD",
        "REDIS_PASSWORD_FILE",
        "REDIS_HOST",
        "REDIS_PORT",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOST", "PORT", "DB", "USER", "PASSWORD", "PASSWORD_FILE", "IDLE_IN_TX_TIMEOUT"):
        monkeypatch.delenv(f"POSTGRES_{name}", raising=False)
    for name in ("SQLALCHEMY_DATABASE_URI", "WC1_DIR", "GEODATA_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_a_secret_file_wins_over_the_variable_and_is_stripped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("  from file \n")
    monkeypatch.setenv("SECRET", "from variable")
    monkeypatch.setenv("SECRET_FILE", str(tmp_path / "secret"))
    assert get_secret("SECRET") == "from file"


def test_a_blank_file_name_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_FILE", "  ")
    monkeypatch.setenv("SECRET", " from variable ")
    assert get_secret("SECRET") == "from variable"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
def test_a_broken_secret_file_stops_the_service_even_if_the_variable_is_set(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("SECRET", "must not be used")
    monkeypatch.setenv("SECRET_FILE", str(path))
    with pytest.raises(RuntimeError, match="SECRET") as caught:
        get_secret("SECRET")
    assert "must not be used" not in str(caught.value)


def test_a_missing_secret_is_none_unless_it_is_required() -> None:
    assert get_secret("SECRET") is None
    with pytest.raises(RuntimeError, match="SECRET_FILE"):
        get_secret("SECRET", required=True)


def test_redis_urls_take_the_first_base_and_replace_only_its_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert redis_url(RedisDB.RQ) == "redis://localhost:6379/9"
    monkeypatch.setenv("SESSION_REDIS_URL", "redis://third:1/4")
    monkeypatch.setenv("RQ_REDIS_URL", "rediss://me@second:2/4?ssl_cert_reqs=none")
    monkeypatch.setenv("REDIS_PASSWORD", "a/b @:%")
    assert redis_url(RedisDB.STATUS) == "rediss://me:a%2Fb%20%40%3A%25@second:2/2?ssl_cert_reqs=none"
    monkeypatch.setenv("REDIS_URL", "redis://:own@first:3")
    assert redis_url(RedisDB.SESSION) == "redis://:own@first:3/11"


def test_a_client_reaches_its_own_database_with_an_awkward_password(redis_env: RedisServer) -> None:
    redis_client(RedisDB.RQ).set("where", "nine")
    with redis.Redis.from_url(redis_env.url(9), decode_responses=True) as direct:
        assert direct.get("where") == "nine"
    assert redis_client(RedisDB.LOCK).get("where") is None


def test_a_client_outlives_a_restart_of_redis(redis_env: RedisServer) -> None:
    client = redis_client(RedisDB.WD_CACHE)
    client.set("kept", "yes")
    redis_env.stop()
    redis_env.start()
    assert client.get("kept") == "yes"


def test_the_database_url_escapes_and_connects(postgres_env: PostgresServer) -> None:
    import psycopg

    with psycopg.connect(database_url()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        assert cursor.fetchone() == ("wepppy",)


def test_an_idle_transaction_timeout_reaches_the_server(
    postgres_env: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    monkeypatch.setenv("POSTGRES_IDLE_IN_TX_TIMEOUT", "47s")
    with psycopg.connect(database_url()) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        assert cursor.fetchone() == ("47s",)


def test_complete_urls_win_over_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert database_url() == "postgresql://wepppy@postgres:5432/wepppy"
    monkeypatch.setenv("DATABASE_URL", "postgresql://two/x")
    monkeypatch.setenv("SQLALCHEMY_DATABASE_URI", "postgresql://one/x")
    assert database_url() == "postgresql://one/x"


def test_a_plain_run_lives_under_its_first_two_characters_unless_only_the_older_place_has_it(
    data_env: Path,
) -> None:
    new, old = data_env / "wc1/runs/ab/abcd", data_env / "geodata/weppcloud_runs/abcd"
    assert get_wd("abcd") == new
    old.mkdir(parents=True)
    assert get_wd("abcd") == old
    new.mkdir(parents=True)
    assert get_wd("abcd") == new


@pytest.mark.parametrize(
    ("runid", "path"),
    [
        ("batch;;north;;r1", "batch/north/runs/r1"),
        ("batch;;north;;_base", "batch/north/_base"),
        ("culvert;;c1;;r1", "culverts/c1/runs/r1"),
        ("profile;;fork;;r1", "profile/fork/r1"),
        ("abcd;;omni;;wet", "runs/ab/abcd/_pups/omni/scenarios/wet"),
        ("abcd;;omni-contrast;;3", "runs/ab/abcd/_pups/omni/contrasts/3"),
        ("batch;;north;;r1;;omni;;wet", "batch/north/runs/r1/_pups/omni/scenarios/wet"),
    ],
)
def test_composite_ids_name_their_directories(runid: str, path: str, data_env: Path) -> None:
    assert get_wd(runid) == data_env / "wc1" / path


@pytest.mark.parametrize(
    "runid",
    ["", ".", "..", "..x", "a/b", "a\\b", "a\0b", "a;;", ";;omni;;x", "a;;omni;;..", "a;;b", "x" * 300],
)
def test_an_id_that_is_no_directory_name_is_refused(runid: str) -> None:
    with pytest.raises(ValueError, match="not a run id"):
        get_wd(runid)


@given(st.text(max_size=60))
def test_no_id_leads_out_of_the_data_volumes(runid: str) -> None:
    try:
        path = get_wd(runid)
    except ValueError:
        return
    assert path.is_absolute()
    assert ".." not in path.parts
    assert path.parts[1] in {"wc1", "geodata"}
