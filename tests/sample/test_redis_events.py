"""What a Redis that others run is asked: does it tell of changes in the checklists?"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from conftest import RedisServer

PROGRAM = Path(__file__).parents[2] / "docker/python/stack/redis-events.py"


def ask(server: RedisServer, folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "redis_password"
    file.write_text(f"{server.password}\n")
    env = {"REDIS_HOST": server.host, "REDIS_PORT": str(server.port), "REDIS_PASSWORD_FILE": str(file)}
    return subprocess.run(
        [sys.executable, str(PROGRAM)], env={**os.environ, **env}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def client(redis_env: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_env.url(0), decode_responses=True) as made:
        yield made
        made.config_set("notify-keyspace-events", "Kh")


@pytest.mark.parametrize(
    ("setting", "answer"),
    [
        ("Kh", "on"), ("KA", "on"), ("KEA", "on"),
        ("", "off Kh"), ("Ex", "off xEKh"), ("K$", "off $Kh"), ("EA", "off AEK"),
    ],
)  # fmt: skip
def test_events_are_found_missing_and_the_setting_that_brings_them_keeps_what_others_use(
    client: redis.Redis, redis_env: RedisServer, tmp_path: Path, setting: str, answer: str
) -> None:
    client.config_set("notify-keyspace-events", setting)
    assert ask(redis_env, tmp_path).stdout.split() == answer.split()
    if answer != "on":
        client.config_set("notify-keyspace-events", answer.split()[1])
        assert ask(redis_env, tmp_path).stdout == "on\n"
    assert client.keys("wepp:events:*") == []


def test_a_role_that_may_not_read_the_settings_is_told_what_is_needed(
    client: redis.Redis, redis_env: RedisServer, tmp_path: Path
) -> None:
    client.config_set("notify-keyspace-events", "")
    client.execute_command("ACL", "SETUSER", "default", "-config")
    try:
        assert ask(redis_env, tmp_path).stdout == "off Kh\n"
    finally:
        client.execute_command("ACL", "SETUSER", "default", "+config")


def test_a_server_that_does_not_answer_is_an_error_and_no_answer(
    redis_env: RedisServer, tmp_path: Path
) -> None:
    silent = RedisServer(redis_env.folder, 1)
    done = ask(silent, tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
