"""Runs that are under way while something breaks: watched as pages watch them, and accounted for afterwards."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.engine.run import DEADLINE_SECONDS, Listener
from tests.engine.stack import Stack

PAUSE_SECONDS = 0.2
# What the sample's computation has ticked when it is done.
TICKED = {"channels", "outlet", "subcatchments", "landuse", "soils", "climate", "wepp"}


@dataclass
class Flight:
    """A started run and the two websockets that its page holds open."""

    runid: str
    job_id: str
    status: Listener
    preflight: Listener

    def land(self, stack: Stack) -> None:
        """Wait for the final state; then: it arrived at the page, the job ended, and it ended once."""
        self.preflight.wait_for_newest(_is_final, f"the final checklist of {self.runid}")
        until(lambda: self._job(stack)["status"] == "finished", f"the end of the job of {self.runid}")
        assert self._job(stack)["id"] == self.job_id
        results = redis(stack, "xlen", f"rq:results:{self.job_id}")
        assert results == "1", f"{self.runid} has {results} results"
        report = stack.get(f"/weppcloud/runs/{self.runid}/sample/download/report.json")
        assert report.content["job"] == self.job_id

    def _job(self, stack: Stack) -> dict[str, Any]:
        reply = stack.get(f"/weppcloud/api/runs/{self.runid}")
        assert reply.status in (200, 503), reply
        return reply.content["job"] if reply.status == 200 else {"status": "unknown"}


def take_off(stack: Stack, count: int, *, wait: bool = True) -> list[Flight]:
    """Create `count` runs, watch them, start them all; wait: return once the first of them is being computed."""
    runids = [stack.post("/weppcloud/api/runs", {"name": "fault"}).content["runid"] for _ in range(count)]
    watched = [
        (
            Listener(stack.websocket("status", f"{runid}:wepp"), reconnect=True),
            Listener(stack.websocket("preflight", runid), reconnect=True),
        )
        for runid in runids
    ]
    flights = []
    for runid, (status, preflight) in zip(runids, watched, strict=True):
        started = stack.post(f"/weppcloud/api/runs/{runid}/start", {})
        assert started.status == 202, started
        flights.append(Flight(runid, started.content["job_id"], status, preflight))
    if wait:
        first = flights[0].status
        first.wait_for(lambda frame: "build_channels" in frame.get("data", ""), "the first step")
    return flights


def land_all(stack: Stack, flights: list[Flight]) -> None:
    """Every run ends, and ends once; no job is waiting, working or failed afterwards."""
    for flight in flights:
        flight.land(stack)
    until(lambda: redis(stack, "zcard", "rq:wip:default") == "0", "the end of all work")
    assert redis(stack, "llen", "rq:queue:default") == "0"
    assert redis(stack, "zcard", "rq:failed:default") == "0"


@contextlib.contextmanager
def visitors(stack: Stack) -> Iterator[Counter[int]]:
    """Ask for the list of runs, as a page and as JSON, the whole time; yields how often each status came."""
    seen: Counter[int] = Counter()
    ended = threading.Event()

    def visit() -> None:
        own = Stack(stack.env_file)  # cookies of its own
        while not ended.is_set():
            for path in ("/weppcloud/", "/weppcloud/api/runs"):
                try:
                    seen[own.get(path).status] += 1
                except (OSError, http.client.HTTPException):
                    seen[0] += 1
            ended.wait(PAUSE_SECONDS)

    thread = threading.Thread(target=visit)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def until(condition: Any, what: str, seconds: float = DEADLINE_SECONDS) -> None:
    """Wait until `condition()` holds; fails naming `what` when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} never came"
        time.sleep(PAUSE_SECONDS)


def redis(stack: Stack, *command: str, database: int = 9) -> str:
    """What redis-cli in the stack's own container answers."""
    ask = 'REDISCLI_AUTH=$(cat "$REDIS_PASSWORD_FILE") exec redis-cli -n "$0" "$@"'
    return stack.compose("exec", "-T", "redis", "sh", "-c", ask, str(database), *command).stdout.strip()


def _is_final(frame: dict[str, Any]) -> bool:
    if frame["type"] != "preflight":
        return False
    ticked = {key for key, value in frame["checklist"].items() if value}
    return ticked >= TICKED and not any(frame["lock_statuses"].values())
