"""Owns the conversation with the backup service's program, which does all work at the database.

The program answers in JSON lines (progress, note, left, ready, lost, result, problem) and, where it says `ready`, waits
for one word. It runs in the backup service's container, or in one of its own that ends with the conversation; when this
process dies, its input ends and it takes back what it prepared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from scripts import full_disk, sidecar
from scripts.clock import Clock, SystemClock
from scripts.compose import ALL_PROFILES, Compose
from scripts.console import Console
from scripts.conversation import Conversation
from scripts.errors import ExitCode, StackError
from scripts.meter import meter
from scripts.sessions import revive_database

PROGRAM = ("wepp-backup", "--json")


class Dialogue:
    """One command of the program, from its start to its result.

        with Dialogue(compose, console, ["restore", "--dump", path]) as talk:
            prepared = talk.ready()
            talk.say("swap")
            answer = talk.result()

    options: further flags of `docker compose run`, such as `--volume`; a container of its own is made for them, and
    with `alone`, which sees settings and secrets as they are now. translate: turns the container's paths in a message
    into those the user knows. Raises StackError for each problem the program tells, with its own exit status.
    """

    def __init__(
        self,
        compose: Compose,
        console: Console,
        command: Sequence[str],
        *,
        options: Sequence[str] = (),
        alone: bool = False,
        translate: Callable[[str], str] = str,
        clock: Clock | None = None,
    ) -> None:
        self.compose = compose
        self.console = console
        self.argv = _argv(compose, (*PROGRAM, *command), options, alone)
        self.translate = translate
        self.clock = clock or SystemClock()
        self._began = self.clock.monotonic()
        # What a user has to know and to do when the program dies; whoever leads the conversation keeps it true.
        self.standing = "nothing was swapped, run the same command again"
        # True once it died, or said that it could not take back something of its own.
        self.unfinished = False
        self._conversation: Conversation | None = None
        self._told_lost = False

    def __enter__(self) -> Dialogue:
        runner = self.compose.runner
        self._conversation = runner.converse(self.argv, env=self.compose.child_environment())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Ends the conversation and waits until the program has ended."""
        if self._conversation:
            status, _ = self._conversation.end()
            if status and _exit_code(status) == ExitCode.BUG:
                self.unfinished = True

    def ready(self) -> Any:
        """What the program prepared, once it waits for a word."""
        return self._hear("ready")["prepared"]

    def result(self) -> Any:
        """The program's answer, once it is done."""
        return self._hear("result")["answer"]

    def say(self, word: str) -> None:
        """Sends the word that the program waits for."""
        if self._conversation:
            self._conversation.say(word)

    def _problem(self, event: Mapping[str, Any]) -> StackError:
        """The problem that the program tells, with a reason that it cannot know: the server's own log is out here."""
        what, mend = self.translate(event["what"]), self.translate(event["mend"])
        code = _exit_code(event["exit"])
        elapsed = int(self.clock.monotonic() - self._began) + 1
        if code == ExitCode.FAILED and (reason := full_disk.complaint(self.compose, elapsed)):
            what, mend = f"the database server's disk is full: {reason}", full_disk.MEND
            # At once: what was prepared is taken back when the server is there again, and that is waited for.
            self.console.warn(f"{what}; {mend}")
        return StackError(what, mend, code)

    def _hear(self, wanted: str) -> Mapping[str, Any]:
        assert self._conversation is not None  # noqa: S101 - a dialogue is entered before it is used
        # Bars are drawn only while we listen: between two answers the terminal belongs to questions.
        with meter(self.console) as progress:
            for line in self._conversation.lines():
                event = _event(line)
                if event is None:
                    self.console.say(line)
                elif event["kind"] == "progress":
                    progress.update(event["phase"], event["done"], event["total"])
                elif event["kind"] == "note":
                    self.console.say(self.translate(event["text"]))
                elif event["kind"] == "left":
                    self.unfinished = True
                    self.console.warn(event["text"])
                elif event["kind"] == "lost":
                    # It cries until the server is back; people need to hear it once.
                    if not self._told_lost:
                        self.console.say(event["text"])
                    self._told_lost = True
                    revive_database(self.compose)
                elif event["kind"] == "problem":
                    # What it prepared it takes back now, and needs the server for that.
                    revive_database(self.compose)
                    raise self._problem(event)
                elif event["kind"] == wanted:
                    return event
        self.unfinished = True
        status, complaints = self._conversation.end()
        raise StackError(
            f"the program at the database ended without an answer (status {status})",
            f"see the lines above; {self.standing}",
            ExitCode.FAILED,
            details=complaints,
        )


def _argv(compose: Compose, program: Sequence[str], options: Sequence[str], alone: bool) -> list[str]:
    there = "" if options or alone else sidecar.current(compose)
    if there:
        return ["docker", "exec", "--interactive", there, *program]
    return compose.argv(
        "run", "--rm", "--no-deps", "-T", *options, sidecar.SERVICE, *program, profiles=ALL_PROFILES
    )


def answer(
    compose: Compose,
    console: Console,
    command: Sequence[str],
    *,
    options: Sequence[str] = (),
    alone: bool = False,
    translate: Callable[[str], str] = str,
) -> Any:
    """The result of a command that needs no word in between."""
    with Dialogue(compose, console, command, options=options, alone=alone, translate=translate) as talk:
        return talk.result()


def _event(line: str) -> Mapping[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "kind" in event else None


def _exit_code(number: int) -> ExitCode:
    return ExitCode(number) if number in ExitCode._value2member_map_ else ExitCode.BUG
