"""The real worker's jobs reach a browser: the two sides agree on what a run's end looks like."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from conftest import PostgresServer, RedisServer
from flask import Flask
from push_service import PushService
from push_stack import RUNID, Stack
from rq import Queue

WORK = """
from rq import Queue
from wepppy.config.redis_settings import RedisDB, redis_client
from wepppy.rq import WepppyRqWorker

connection = redis_client(RedisDB.RQ, decode_responses=False)
WepppyRqWorker([Queue("default", connection=connection)], connection=connection).work(burst=True)
"""


@pytest.fixture
def stack(site: Flask, redis_env: RedisServer, postgres_env: PostgresServer) -> Iterator[Stack]:
    with psycopg.connect(postgres_env.url) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO run (runid, config) VALUES (%s, 'sample')", (RUNID,))
    connection.close()
    with PushService() as service:
        made = Stack(redis_env, postgres_env, service)
        yield made


@pytest.mark.parametrize(("function", "status"), [("os.path.basename", "finished"), ("os.stat", "failed")])
def test_the_end_of_a_real_workers_job_is_sent(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, status: str
) -> None:
    monkeypatch.setenv("WEBPUSH_ALLOW_INSECURE", "true")
    stack.subscribe()
    with (
        redis.Redis.from_url(stack.redis_server.url(9)) as jobs,
        redis.Redis.from_url(stack.redis_server.url(0)) as hashes,
    ):
        job = Queue("default", connection=jobs).enqueue_call(function, args=(RUNID,), result_ttl=604_800)
        hashes.hset(RUNID, "rq:run_project", job.id)
        watcher = stack.watcher()
        watcher.look()
        assert stack.statuses() == []
        subprocess.run(
            [sys.executable, "-c", WORK], cwd=tmp_path, env=dict(os.environ), check=True, capture_output=True
        )
        watcher.look()
    assert stack.statuses() == [status]
