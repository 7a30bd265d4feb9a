"""A command of the program as a task on the host runs it: a child that is heard line by line and told words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from wepp_backup.server import Server

MAIN = "import sys; from wepp_backup.cli import main; sys.exit(main(['--json', *sys.argv[1:]]))"


class Program:
    """One run. Lines that were heard are in `heard`."""

    def __init__(self, server: Server, *command: str, **variables: str) -> None:
        self.heard: list[dict[str, Any]] = []
        where = {"PGHOST": server.host, "PGPORT": server.port, "PGUSER": server.user, "PGDATABASE": "wepppy"}
        self.child = subprocess.Popen(
            [sys.executable, "-c", MAIN, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **where, **variables},
        )  # fmt: skip

    def hear(self, kind: str) -> Any:
        """Return the next line of that kind; of a `ready` or `result` what it brings."""
        assert self.child.stdout
        for line in self.child.stdout:
            event: Mapping[str, Any] = json.loads(line)
            self.heard.append(dict(event))
            if event["kind"] == kind:
                return event.get("prepared", event.get("answer", event))
        raise AssertionError(f"no {kind} came: {self.heard}")

    def say(self, word: str) -> None:
        """Send a word."""
        assert self.child.stdin
        self.child.stdin.write(f"{word}\n")
        self.child.stdin.flush()

    def leave(self) -> int:
        """End its input as a caller does that was killed; return its exit status."""
        rest, _ = self.child.communicate()
        self.heard += [json.loads(line) for line in rest.splitlines()]
        return self.child.returncode


@contextmanager
def program(server: Server, *command: str, **variables: str) -> Iterator[Program]:
    """Give a run of a command; it has ended after the block."""
    run = Program(server, *command, **variables)
    try:
        yield run
    finally:
        if run.child.poll() is None:
            run.child.kill()
            run.child.communicate()
