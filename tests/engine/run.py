"""One run of the sample, from its creation to its end, with everything that could be seen of it meanwhile."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import connect

from tests.engine.stack import Stack

# A 512 x 512 watershed takes seconds; a loaded machine gets minutes.
DEADLINE_SECONDS = 300.0
RECONNECT_SECONDS = 0.5


@dataclass
class Listener:
    """Collects the frames of one websocket and answers its pings, as the page does.

    With `reconnect` it also comes back by itself when the connection ends, until the test ends.
    """

    address: str
    reconnect: bool = False
    frames: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._open = threading.Event()
        threading.Thread(target=self._collect, daemon=True).start()
        assert self._open.wait(DEADLINE_SECONDS), f"{self.address} did not open"

    def _collect(self) -> None:
        self._collect_once()
        while self.reconnect:
            time.sleep(RECONNECT_SECONDS)
            with contextlib.suppress(OSError, WebSocketException):
                self._collect_once()

    def _collect_once(self) -> None:
        with connect(self.address, open_timeout=30) as socket, contextlib.suppress(ConnectionClosed):
            self.connections += 1
            self._open.set()
            socket.send(json.dumps({"type": "init"}))
            for text in socket:
                frame = json.loads(text)
                if frame["type"] == "ping":
                    socket.send(json.dumps({"type": "pong"}))
                with self._changed:
                    self.frames.append(frame)
                    self._changed.notify_all()

    def wait_for(self, wanted: Any, what: str) -> dict[str, Any]:
        """The first frame for which `wanted(frame)` holds; fails when none comes in time."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        with self._changed:
            while True:
                for frame in self.frames:
                    if wanted(frame):
                        return frame
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise AssertionError(f"{what} never came; the last frames were {self.frames[-5:]}")

    def wait_for_newest(self, wanted: Any, what: str) -> dict[str, Any]:
        """The newest frame once `wanted(frame)` holds for it, pings left aside."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        with self._changed:
            while True:
                told = [frame for frame in self.frames if frame["type"] != "ping"]
                if told and wanted(told[-1]):
                    return told[-1]
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise AssertionError(f"{what} never came; the last frames were {self.frames[-5:]}")

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """The frames of one type, in the order they came."""
        with self._changed:
            return [frame for frame in self.frames if frame["type"] == kind]


@dataclass
class FinishedRun:
    """A run that has ended: its name and what its two websockets said."""

    runid: str
    config: str
    job_id: str
    status: Listener
    preflight: Listener


def run_to_its_end(stack: Stack, name: str) -> FinishedRun:
    """Create a run, listen, start it, and wait until its log says that it is done and its checklist agrees."""
    created = stack.post("/weppcloud/api/runs", {"name": name})
    assert created.status == 201, created
    runid, config = created.content["runid"], created.content["config"]
    status = Listener(stack.websocket("status", f"{runid}:wepp"))
    preflight = Listener(stack.websocket("preflight", runid))
    preflight.wait_for(lambda frame: frame["type"] == "preflight", "the first checklist")
    started = stack.post(f"/weppcloud/api/runs/{runid}/start", {})
    assert started.status == 202, started
    job_id = started.content["job_id"]
    status.wait_for(
        lambda frame: (
            frame["type"] == "status" and "COMPLETED" in frame["data"] and "run_project" in frame["data"]
        ),
        "the message that the run is done",
    )
    preflight.wait_for(
        lambda frame: (
            frame["type"] == "preflight"
            and frame["checklist"]["wepp"]
            and not any(frame["lock_statuses"].values())
        ),
        "the ticked checklist with everything unlocked",
    )
    return FinishedRun(runid, config, job_id, status, preflight)
