"""One run of the program at the database (docker/backup/wepp_backup), which does all work there.

It answers in JSON lines (progress, message, left, ready, lost, result, problem) and, where it says `ready`, waits for
one word. It runs in the backup service's container, or in one of its own that ends with it; when this process ends, its
input ends and it undoes what it prepared.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from scripts.base.clock import SYSTEM_CLOCK, Clock
from scripts.base.console import Console
from scripts.base.errors import ExitCode, StackError
from scripts.engine import database_server, sidecar
from scripts.engine.compose import ALL_PROFILES, Compose
from scripts.engine.runner import LineProcess

PROGRAM = ("wepp-backup", "--json")
# Makes the program wait for the word before its command begins.
HELD, BEGIN = "--held", "begin"
FULL_DISK = (
    "make room on that disk (docker system df; `invoke db-prune` once the server is back): "
    "it starts by itself within a minute, nothing is lost; then run this again"
)


class ProgramRun:
    """One command of the program, from its start to its result.

        with ProgramRun(compose, console, ["restore", "--dump", path]) as run:
            prepared = run.ready()
            run.send("switch")
            answer = run.result()

    options: further flags of `docker compose run`, such as `--volume`; a container of its own is made for them.
    service: whose container that is. Raise StackError for each problem that the program tells, with its own exit
    status, and when it `was_killed`: it ended without an answer.
    """

    def __init__(
        self,
        compose: Compose,
        console: Console,
        command: Sequence[str],
        *,
        options: Sequence[str] = (),
        service: str = sidecar.SERVICE,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.compose = compose
        self.console = console
        self.clock = clock
        self._began = clock.monotonic()
        self.was_killed = self._is_loss_shown = False
        started = None if options or service != sidecar.SERVICE else self._in_sidecar(command)
        self._process = started or self._start(
            compose.argv(
                "run", "--rm", "--no-deps", "-T", *options, service, *PROGRAM, *command, profiles=ALL_PROFILES
            )
        )
        self.send = self._process.send

    def _in_sidecar(self, command: Sequence[str]) -> LineProcess | None:
        """Start the command in the service's own container; None where that is not as the settings say.

        The program starts while Compose renders the model by which that is told, and does nothing until it is.
        """
        containers = self.compose.engine.running(self.compose.project, sidecar.SERVICE)
        if not containers:
            self.compose.engine.refuse_in_swarm(self.compose.project)
            return None
        name = containers[0]["Name"].lstrip("/")
        process = self._start(["docker", "exec", "--interactive", name, *PROGRAM, HELD, *command])
        is_begun = False
        try:
            if is_begun := sidecar.is_current(self.compose, containers[0]):
                process.send(BEGIN)
        finally:
            if not is_begun:
                process.end()
        return process if is_begun else None

    def _start(self, argv: Sequence[str]) -> LineProcess:
        return self.compose.runner.line_process(argv, env=self.compose.child_environment())

    def __enter__(self) -> ProgramRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
        if error is not None:
            database_server.restart_if_killed(self.compose)

    def leave(self) -> None:
        """End the program's input and wait for it."""
        self._process.end()

    def ready(self) -> Any:
        """Return what the program prepared, once it waits for a word."""
        return self._receive("ready")["prepared"]

    def result(self) -> Any:
        """Return the program's answer, once it is done."""
        return self._receive("result")["answer"]

    def _receive(self, wanted: str) -> Mapping[str, Any]:
        # Bars are drawn only while we listen: between two answers the terminal belongs to questions.
        with self.console.phases() as update:
            for line in self._process.lines():
                event = _event(line)
                kind = event["kind"]
                if kind == wanted:
                    return event
                if kind == "progress":
                    update(event["phase"], event["done"], event["total"])
                elif kind == "message":
                    self.console.say(event["text"])
                elif kind == "left":
                    self.console.warn(event["text"])
                elif kind == "lost":
                    # It is repeated until the server is back; people need to read it once.
                    if not self._is_loss_shown:
                        self.console.say(event["text"])
                    self._is_loss_shown = True
                    database_server.restart_if_killed(self.compose)
                elif kind == "problem":
                    # What it prepared it undoes now, and needs the server for that.
                    database_server.restart_if_killed(self.compose)
                    raise self._problem(event)
        status, complaints = self._process.end()
        self.was_killed = True
        raise StackError(
            f"the program at the database ended without an answer (status {status})",
            "see the lines above and whether its container has too little memory, then run the same command again",
            ExitCode.FAILED,
            details=complaints,
        )

    def _problem(self, event: Mapping[str, Any]) -> StackError:
        """Return the problem that the program tells, with a reason that only the server's own log tells."""
        code = ExitCode(event["exit"]) if event["exit"] in list(ExitCode) else ExitCode.BUG
        elapsed = int(self.clock.monotonic() - self._began) + 1
        if code == ExitCode.FAILED and (reason := database_server.full_disk(self.compose, elapsed)):
            problem = StackError(f"the database server's disk is full: {reason}", FULL_DISK, code)
            # At once: what was prepared is undone when the server is there again, and that is waited for.
            self.console.warn(f"{problem.what}; {problem.fix}")
            return problem
        return StackError(event["what"], event["fix"], code)


def answer(compose: Compose, console: Console, command: Sequence[str], *, options: Sequence[str] = ()) -> Any:
    """Return the result of a command that needs no word in between."""
    with ProgramRun(compose, console, command, options=options) as run:
        return run.result()


def _event(line: str) -> Mapping[str, Any]:
    """Return what a line of the program tells, with paths as this machine has them; other lines are remarks."""
    line = line.replace(f"{sidecar.HOST_FOLDERS}/", "/")
    with contextlib.suppress(ValueError):
        event = json.loads(line)
        if isinstance(event, dict) and "kind" in event:
            return event
    return {"kind": "message", "text": line}
