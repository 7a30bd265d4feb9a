"""Owns the end of what a task left that died: called first by every task that changes the stack, and by the guard."""

from __future__ import annotations

import time
from dataclasses import replace

from scripts import journal, revive, takeback
from scripts.clock import Clock, SystemClock
from scripts.compose import Compose
from scripts.console import Console
from scripts.credentials import Credentials
from scripts.probe import Ask, ask
from scripts.quiesce import WORKER_SECONDS


def recover(
    compose: Compose, console: Console, *, clock: Clock | None = None, asking: Ask = ask, seen: bool = True
) -> bool:
    """Finishes what the journal names; True when there was something. To be called with the project's lock held.

    seen: a person sees what the console says. What cannot be taken back from a move's source is then only told; else it
    is left to the next task.

    Raises StackError when it cannot be finished yet; the journal stays then, and the next task tries again.
    """
    entry = journal.read(compose)
    if entry is None or compose.runner.dry:
        return False
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.began))
    console.say(f"{entry.task} of {began} (process {entry.process}) did not end well: finishing what it left")
    clock = clock or SystemClock()
    revive.settle(compose, entry.stopping, WORKER_SECONDS)
    if entry.rotation and not entry.rotation.settled:
        _take_back(compose, console, entry, entry.rotation, clock)
    for problem in revive.start(compose, console, entry.running, clock, asking=asking):
        # It was started as it was found; that it is not well is for its owner to see, not to bar every task.
        console.warn(f"not back: {problem}; see `invoke compose-logs`, then `invoke compose-up`")
    if entry.move and not takeback.attempt(compose, console, entry.move) and not seen:
        journal.write(compose, replace(entry, running=(), stopping=(), rotation=None))
    else:
        journal.remove(compose)
    console.say("all that ran before runs again")
    return True


def _take_back(
    compose: Compose, console: Console, entry: journal.Entry, rotation: journal.Rotation, clock: Clock
) -> None:
    """Takes a change of the password back; the services that may have seen the new one are stopped."""
    credentials = Credentials(compose, console, clock)
    readers = credentials.readers()
    credentials.take_back(rotation)
    seen = [each.name for each in entry.running if each.service in readers]
    here = {each.name for each in compose.engine.containers(compose.project) if each.state == "running"}
    if stale := [name for name in seen if name in here]:
        compose.engine.stop(stale, WORKER_SECONDS)
