"""A stack in memory whose password is changed."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.database.credentials import finish
from scripts.database.rotate_password import Options, rotate
from scripts.engine.runner import Result
from scripts.settings import scram
from tests.unit.fakes import FakeLineProcess
from tests.unit.memory_stack import MemoryStack

OLD = "a-very-secret-word"
NEW = "quite-another-word"


class Rotating:
    """A stack in memory whose server keeps a verifier."""

    def __init__(self, folder: Path) -> None:
        self.stack = MemoryStack(folder)
        self.folder = folder
        self.password_file = folder / "new-password"
        self.password_file.write_text(f"{NEW}\n")
        self.secret = folder / "secrets" / "postgres_password"
        self.secret.parent.mkdir()
        self.secret.write_text(OLD)
        self.pending = self.secret.with_name(".postgres_password.pending")
        self.kept_by_server = scram.verifier(OLD, salt=b"salt")
        self.complaints: list[Result | None] = []
        self.drains = True
        runner = self.stack.made.runner
        runner.do("docker", "exec", "psql", action=self._psql)
        runner.do("restart", action=self._restart)
        runner.do("up", "--wait", action=lambda argv: Result(tuple(argv), len(self.stack.sick)))
        runner.do("/opt/stack/rq-drain.py", action=self._drain)
        self.say_login(own=True)

    def _psql(self, argv: Sequence[str]) -> Result:
        statement = self.stack.made.runner.calls[-1].stdin or ""
        self.stack.events.append("alter")
        assert self.pending.exists()
        if complaint := self.complaints.pop(0) if self.complaints else None:
            return complaint
        self.kept_by_server = statement.split("PASSWORD '")[1].split("'")[0]
        return Result(tuple(argv), 0)

    def _restart(self, argv: Sequence[str]) -> Result:
        self.stack.events.append(f"restart {' '.join(argv[argv.index('--timeout') + 2 :])}")
        self.stack.clock.sleep(1)
        return Result(tuple(argv), 0)

    def _drain(self, argv: Sequence[str]) -> Result:
        self.stack.events.append("resume" if "resume" in argv else "drain")
        return Result(tuple(argv), 0 if self.drains else 1)

    def say_login(self, *, own: bool, old: bool = False) -> None:
        answer = {"own": own, "why": "" if own else "refused", "given": [old]}
        self.stack.made.runner.line_processes[:] = [
            FakeLineProcess(
                [
                    json.dumps({"kind": "ready", "prepared": "wepppy"}),
                    json.dumps({"kind": "result", "answer": answer}),
                ]
            )
        ]

    def rotate(self, **options: object) -> None:
        chosen: dict[str, Any] = {"password_file": str(self.password_file), "yes": True, **options}
        rotate(self.stack.compose, self.stack.screen.console, Options(**chosen), clock=self.stack.clock)

    def finish(self) -> None:
        """What the next task does, whichever it is."""
        finish(self.stack.compose, self.stack.screen.console, self.stack.clock)

    def role_has(self, password: str) -> bool:
        salt = self.kept_by_server.split(":")[1].split("$")[0]
        return scram.verifier(password, salt=base64.b64decode(salt)) == self.kept_by_server

    def holds(self, password: str) -> bool:
        """True when the password is in both places and no change is under way."""
        in_file = self.secret.read_text() == password
        return in_file and self.role_has(password) and not self.pending.exists()
