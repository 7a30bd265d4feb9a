"""A migration as a task on the host runs it, and what tests of it ask the servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wepp_backup.server import Server, column


def psql(server: Server, sql: str, database: str = "wepppy") -> str:
    done = subprocess.run(
        ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", server.host, "-U", server.user, "-d", database],
        input=sql, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


class Program:
    """`wepp-backup --json migrate` under way."""

    def __init__(
        self, source: Server, target: Server, folder: Path, *flags: str, database: str = "moving"
    ) -> None:
        script = f"""
import sys
from pathlib import Path
from wepp_backup import cli, migrate, migration_plan
migrate.WORK = migration_plan.WORK = Path({str(folder)!r})
migrate.PASSFILE = Path({str(folder)!r}, "pass")
migrate.SERVER_FOLDER = {target.host!r}
cli.COMMANDS["migrate"] = ("migrate", "")
sys.exit(cli.main(sys.argv[1:]))
"""
        login = [f"--host={source.host}", "--port=5432", f"--user={source.user}", f"--dbname={database}"]
        environment = {**os.environ, "PGHOST": target.host, "PGUSER": target.user, "PGDATABASE": "wepppy"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, "--json", "migrate", "--jobs=2", *login, *flags],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.notes: list[str] = []
        self.say('""')

    def say(self, word: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def hear(
        self, kind: str = "ready", until: Callable[[dict[str, Any]], bool] = lambda _: True
    ) -> dict[str, Any]:
        """Return the next event of that kind."""
        assert self.process.stdout
        for line in self.process.stdout:
            event: dict[str, Any] = json.loads(line)
            if event["kind"] == kind and until(event):
                return event
            assert event["kind"] in ("progress", "message", "left", "lost"), event
            self.notes.append(event.get("text", ""))
        raise AssertionError(f"it ended with {self.process.wait()}: {self.notes}")

    def run(self) -> dict[str, Any]:
        """Go through with it; return the answer."""
        for word in ("go", "switch", "keep"):
            self.hear()
            self.say(word)
        answer: dict[str, Any] = self.hear("result")["answer"]
        assert self.process.wait() == 0
        return answer

    def problem(self) -> dict[str, Any]:
        """Return what it fails for, whatever it is."""
        problem = self.hear("problem")
        assert self.process.wait() == problem["exit"]
        return problem


def names(server: Server) -> list[str]:
    with server.connect("postgres") as session:
        return column(
            session, "SELECT datname::text FROM pg_database WHERE datname NOT LIKE 'template%' ORDER BY 1"
        )


def roles(server: Server) -> list[str]:
    with server.connect("postgres") as session:
        return column(session, "SELECT rolname::text FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1")
