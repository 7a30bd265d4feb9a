"""The message to whoever monitors the backups: taken in the end, given up quietly, and never with its address."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from wepp_backup import webhook
from wepp_backup.events import Reporter
from wepp_backup.webhook import post, send

TOKEN = "s3cr3t-token"
MESSAGE = {"event": "backup", "ok": True, "rows": 7}


@pytest.fixture
def listening() -> Iterator[Callable[..., tuple[str, list[Any]]]]:
    """Start servers that answer with these statuses, the last one for ever; an address and what was posted there."""
    with ExitStack() as stack:

        def start(*statuses: int) -> tuple[str, list[Any]]:
            told: list[Any] = []

            class Handler(BaseHTTPRequestHandler):
                def do_POST(self) -> None:
                    told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                    self.send_response(statuses[min(len(told), len(statuses)) - 1])
                    self.end_headers()

                def log_message(self, *_: Any) -> None:
                    pass

            server = stack.enter_context(HTTPServer(("127.0.0.1", 0), Handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}/{TOKEN}", told

        yield start


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, none of which takes time."""
    made = list[float]()
    monkeypatch.setattr(webhook, "time", SimpleNamespace(sleep=made.append))
    return made


def said(address: str) -> str:
    """Post the message; return what was logged of that."""
    out = io.StringIO()
    post(address, MESSAGE, Reporter(out, as_json=False))
    return out.getvalue()


def test_the_message_is_posted_as_json_and_tried_again_until_it_is_taken(
    listening: Callable[..., tuple[str, list[Any]]], pauses: list[float]
) -> None:
    address, told = listening(502, 404, 204)
    assert said(address) == ""
    assert pauses == [1.0, 5.0]
    assert told == [MESSAGE] * 3


def test_an_address_that_nobody_answers_at_is_given_up_without_being_told(
    listening: Callable[..., tuple[str, list[Any]]], pauses: list[float]
) -> None:
    refusing, _ = listening(404)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{free.getsockname()[1]}/{TOKEN}"
    addresses = (refusing, gone, f"no address {TOKEN}", f"http://{TOKEN}.invalid/", f"file:///{TOKEN}", f"http://[{TOKEN}",
                 f"http://127.0.0.1:1/{TOKEN} \n")  # fmt: skip
    for address in addresses:
        pauses.clear()
        text = said(address)
        assert "BACKUP_HOOK_URL was not told: " in text
        assert TOKEN not in text
        assert pauses == [1.0, 5.0, 30.0]
    assert "it answered 404" in said(refusing)


def test_no_address_is_nobody(pauses: list[float]) -> None:
    assert said("") == ""
    assert pauses == []


def app(address: str, file: Path | str = "") -> Any:
    settings = SimpleNamespace(hook_url=address, hook_url_file=str(file), database="wepppy")
    return SimpleNamespace(
        settings=settings, report=Reporter(io.StringIO(), as_json=False), cleanup=ExitStack()
    )


def test_a_command_by_hand_tells_after_its_answer(
    listening: Callable[..., tuple[str, list[Any]]], tmp_path: Path
) -> None:
    address, told = listening(204)
    file = tmp_path / "address"
    file.write_text(f"{address}\n")
    asked = app("http://elsewhere", file)
    send(asked, "backup", ok=True, by_hand=True, rows=7, problem="")
    assert told == []
    asked.cleanup.close()
    assert told[0].pop("time").endswith("Z")
    assert told == [{"event": "backup", "ok": True, "database": "wepppy", "rows": 7}]


def test_a_server_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT", 0.5)
    monkeypatch.setattr(webhook, "PAUSES", (0.1, 0.1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        asked = app(f"http://127.0.0.1:{silent.getsockname()[1]}/{TOKEN}")
        began = time.monotonic()
        send(asked, "backup", ok=True, by_hand=False)  # returns while nobody has taken it
        assert time.monotonic() - began < 0.5
        send(asked, "backup", ok=True, by_hand=True)
        asked.cleanup.close()
        assert time.monotonic() - began < 30
    assert "BACKUP_HOOK_URL was not told" in asked.report.out.getvalue()


def test_an_address_file_that_cannot_be_read_is_logged(tmp_path: Path) -> None:
    asked = app("", tmp_path / "missing")
    send(asked, "backup", ok=True, by_hand=False)
    assert "BACKUP_HOOK_URL_FILE cannot be read" in asked.report.out.getvalue()
