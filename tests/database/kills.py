"""How a task, a client, the server, its container or the sidecar is killed at a chosen moment of a task's life.

A moment is a line of the task's output and a part of the time until the next one, both measured in one run that is
left alone; so moments fall evenly over everything the task does, on a fast machine and on a slow one. Programs that do
not run all the time (clients, the program at the database) are killed at moments at which they ran in the measured run.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from tests.database.busy import busy_with_roles
from tests.database.migrate.bare import BareServer
from tests.database.programs import CLIENTS
from tests.database.running import Running
from tests.database.stack import LightStack
from tests.database.watch import Watch

PROGRAMS = {"client": CLIENTS, "program": ("wepp-backup",)}
# Who is killed, in the order of their turns: a tenth of a sweep meets the first ones. A rollback has no client.
VICTIMS = {
    "restore": ("client", "server", "container", "task", "program", "sidecar"),
    "rollback": ("program", "server", "task", "container", "sidecar"),
    "rotate": ("client", "task", "server", "container"),
    "backup": ("client", "server", "task", "container"),
    "migrate": ("client", "source", "task", "server", "container", "program"),
    "migrate-live": ("program", "source", "server", "task", "client", "container"),
}
# A client may come a little later than in the measured run.
STRIKE_SECONDS = 60.0
LOOK_SECONDS = 0.01
# What runs no longer than that is killed at its start: nobody could aim at a part. Of a longer one the last part is
# left out, for the next time it may be over sooner.
SHORT_SECONDS = 0.3
AIMED_PART = 0.7
# The same for a whole run, whose end is the services' start.
AIMED_PART_OF_RUN = 0.9
# How often a kill is tried that misses, each time nearer to the operation's beginning: after the last clients, which
# run for milliseconds on a machine that is free and longer on one that is busy, there is nothing left to kill.
AIMS = 3


@dataclass(frozen=True)
class Kill:
    """One of a sweep: number so and so of `count` kills during the operation, tried `aim` times before."""

    operation: str
    victim: str
    number: int
    count: int
    aim: int = 0

    def __str__(self) -> str:
        return f"{self.operation}-{self.number}-{self.victim}"


def kills(counts: Mapping[str, int]) -> list[Kill]:
    """So many of each operation. Victims change places from round to round: each meets every part of the operation."""
    found = []
    for operation, count in counts.items():
        victims = VICTIMS[operation]
        for number in range(count):
            victim = victims[(number + number // len(victims)) % len(victims)]
            found.append(Kill(operation, victim, number, count))
    return found


@dataclass(frozen=True)
class Moment:
    """So many lines of output, then so much (0 to 1) of what the measured run took until the next line."""

    lines: int
    part: float


@dataclass(frozen=True)
class Turn:
    """After so many lines so many runs of programs have ended; then so many seconds of the next one, 0: at its start.

    Lives are counted from the line before: the first ones of a container may be over before anybody looks into it.
    """

    lines: int
    ended: int
    seconds: float


@dataclass
class Measured:
    """A run that nobody disturbed: times of its beginning, its lines and its end; when programs of a kind ran."""

    times: list[float]
    runs: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def moment(self, kill: Kill) -> Moment:
        """Somewhere, but always the same, in the kill's share of the whole time."""
        return self.at(self.times[-1] * AIMED_PART_OF_RUN * share_of(kill))

    def turn(self, kill: Kill) -> Turn:
        """The same in the share of the time in which programs of the victim's kind run."""
        runs = self.runs[kill.victim]
        weights = [max(end - begin, SHORT_SECONDS) for begin, end in runs]
        left = share_of(kill) * sum(weights)
        number = 0
        while number < len(runs) - 1 and left > weights[number]:
            left -= weights[number]
            number += 1
        begin, end = runs[number]
        line = self.at(begin).lines
        ended = sum(self.times[line] <= each < end for _, each in runs[:number])
        return Turn(
            line, ended, min(left, end - begin) * AIMED_PART if weights[number] > SHORT_SECONDS else 0.0
        )

    def at(self, when: float) -> Moment:
        """That time as a moment."""
        line = max(index for index, each in enumerate(self.times[:-1]) if each <= when)
        gap = self.gap(line)
        return Moment(line, (when - self.times[line]) / gap if gap else 0.0)

    def gap(self, line: int) -> float:
        """How long the next line took."""
        return self.times[line + 1] - self.times[line]


def share_of(kill: Kill) -> float:
    """A number between 0 and 1 in the kill's own part of that; before that where an earlier try has missed."""
    first = (kill.number + random.Random(kill.number).random()) / kill.count
    return first * (1 - kill.aim / AIMS)


def measure(stack: LightStack, operation: str, arguments: Sequence[str]) -> Measured:
    """A run that has to go well."""
    kinds = [kind for kind in PROGRAMS if kind in VICTIMS[operation]]
    with seen_at_work(stack, operation):
        return _measure(stack, operation, arguments, kinds)


def _measure(stack: LightStack, operation: str, arguments: Sequence[str], kinds: Sequence[str]) -> Measured:
    watches = {kind: watch_of(stack, kind) for kind in kinds}
    for watch in watches.values():
        watch.__enter__()
    try:
        run = Running(stack, *arguments)
        status = run.wait()
        ended = time.monotonic() - run.began
    finally:
        for watch in watches.values():
            watch.__exit__()
    assert status == 0, run.output
    runs = {}
    for kind, watch in watches.items():
        assert watch.runs, f"{operation} ran no {kind}: {run.output}"
        runs[kind] = sorted((begin - run.began, end - run.began) for begin, end in watch.runs)
    return Measured([0.0, *run.times, ended], runs)


def seen_at_work(stack: LightStack, operation: str) -> AbstractContextManager[None]:
    """Clients of the operation run long enough to be seen while the block runs."""
    return busy_with_roles(stack) if operation == "rotate" else nullcontext()


def watch_of(stack: LightStack, victim: str) -> Watch:
    """A watch for programs of that kind. Tasks run psql in the server's container, too."""
    return Watch(stack, PROGRAMS[victim], server=victim == "client")


def run_and_kill(
    stack: LightStack, source: BareServer | None, arguments: Sequence[str], kill: Kill, measured: Measured
) -> tuple[Running, bool]:
    """Runs the task to its end and kills meanwhile; the task, and whether something was hit while it was under way."""
    if kill.victim not in PROGRAMS:
        run = Running(stack, *arguments)
        wait_for(run, measured.moment(kill), measured)
        hit = kill_victim(stack, source, run, kill.victim)
        run.wait()
        return run, hit
    with seen_at_work(stack, kill.operation), watch_of(stack, kill.victim) as watch:
        run = Running(stack, *arguments)
        wait_for_turn(run, watch, measured.turn(kill))
        watch.strike()
        deadline = time.monotonic() + STRIKE_SECONDS
        while run.alive and not watch.struck(LOOK_SECONDS) and time.monotonic() < deadline:
            pass
        run.wait()
        return run, watch.struck(0)


def wait_for(run: Running, moment: Moment, measured: Measured) -> None:
    """Returns at the moment, or when the next line says that it has passed."""
    run.wait_for_lines(moment.lines)
    until = time.monotonic() + moment.part * measured.gap(moment.lines)
    while time.monotonic() < until and len(run.lines) <= moment.lines and run.alive:
        time.sleep(LOOK_SECONDS)


def wait_for_turn(run: Running, watch: Watch, turn: Turn) -> None:
    """Returns when it is that program's turn, or when the next line says that it has passed."""
    run.wait_for_lines(turn.lines)
    line = run.began + (run.times[turn.lines - 1] if turn.lines and len(run.times) >= turn.lines else 0.0)

    def since(moments: list[float]) -> int:
        return sum(each >= line for each in moments)

    def come() -> bool:
        return since(watch.starts) > turn.ended if turn.seconds else since(watch.ends) >= turn.ended

    while run.alive and not come() and len(run.lines) <= turn.lines:
        time.sleep(LOOK_SECONDS)
    until = time.monotonic() + turn.seconds
    while time.monotonic() < until and since(watch.ends) <= turn.ended and run.alive:
        time.sleep(LOOK_SECONDS)


def kill_victim(stack: LightStack, source: BareServer | None, run: Running, victim: str) -> bool:
    """Kills now, with a signal nobody can answer; False when it or the task had ended already."""
    under_way = run.alive
    if victim == "task":
        run.process.kill()
        return under_way
    if victim == "server":
        return kill_server(stack) and under_way
    if victim == "source":
        assert source
        source.kill()
        return under_way
    # The engine answers the name of a container that it killed.
    name = stack.container("postgres-backup" if victim == "sidecar" else "postgres")
    return stack.docker("kill", name, check=False).strip() == name and under_way


def kill_server(stack: LightStack) -> bool:
    """Kills the postmaster, which nobody inside its container may."""
    name = stack.container("postgres")
    number = int(stack.docker("inspect", "--format", "{{.State.Pid}}", name).strip() or 0)
    if not number:
        return False
    try:
        os.kill(number, signal.SIGKILL)
    except PermissionError:
        image = stack.docker("inspect", "--format", "{{.Image}}", name).strip()
        helper = ["run", "--rm", "--pid=host", "--user=0", "--entrypoint=kill", image, "-9", str(number)]
        stack.docker(*helper, check=False)
    except ProcessLookupError:
        return False
    return True
