"""Workers whose container gets no names resolved: they take no job that would be lost at once."""

from __future__ import annotations

import logging
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.stack_script import load

names: Any = load("workernames")


class Worker:
    """A worker of which it counts how often it may take a job."""

    log = logging.getLogger("rq.worker")

    def __init__(self, **where: str) -> None:
        self.connection = SimpleNamespace(connection_pool=SimpleNamespace(connection_kwargs=where))
        self._stop_requested = False
        self.taken = 0

    def check_for_suspension(self, burst: bool) -> None:
        self.taken += 1


class NamesFirst(names.NamesFirst, Worker):  # type: ignore[misc]
    """As the launcher makes it."""


def away(*_: object) -> None:
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


def test_a_worker_takes_no_job_until_the_name_of_redis_is_resolved(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worker = NamesFirst(host="redis")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        assert worker.taken == 0
        pauses.append(seconds)
        if len(pauses) == 3:
            monkeypatch.setattr(names.socket, "getaddrinfo", lambda *_: [])

    monkeypatch.setattr(names.socket, "getaddrinfo", away)
    monkeypatch.setattr(names.time, "sleep", pause)
    worker.check_for_suspension(burst=False)
    assert (worker.taken, len(pauses)) == (1, 3)
    assert caplog.text.count("the name redis is not resolved") == 1


def test_a_worker_that_is_told_to_end_does_not_wait_for_names(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = NamesFirst(host="redis")
    monkeypatch.setattr(names.socket, "getaddrinfo", away)
    monkeypatch.setattr(names.time, "sleep", lambda _: setattr(worker, "_stop_requested", True))
    worker.check_for_suspension(burst=False)
    assert worker.taken == 1


def test_a_redis_at_a_socket_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names.socket, "getaddrinfo", away)
    worker = NamesFirst(path="/run/redis.sock")
    worker.check_for_suspension(burst=False)
    assert worker.taken == 1
