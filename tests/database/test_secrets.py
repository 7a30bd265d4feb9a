"""The database's password is seen by nobody: watched in every process of this machine while tasks run."""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.database.stack import LightStack


class Watch:
    """Looks at the arguments and variables of all processes again and again."""

    def __init__(self, words: list[str]) -> None:
        self.words = [word.encode() for word in words]
        self.seen: set[str] = set()
        self.rounds = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._stop.is_set():
            self.rounds += 1
            for folder in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    with contextlib.suppress(OSError):
                        content = (folder / name).read_bytes()
                        if any(word in content for word in self.words):
                            self.seen.add(f"{name} of {(folder / 'comm').read_text().strip()}")

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()


def test_no_password_is_in_arguments_variables_logs_answers_or_tracebacks(stack: LightStack) -> None:
    old, new = (
        stack.secret("postgres_password"),
        secrets.token_urlsafe(24).replace("-", "_"),
    )
    file = stack.env_file.parent / "new-password"
    file.write_text(new)
    file.chmod(0o600)
    stack.psql("ALTER SYSTEM SET log_statement = 'all'", "postgres")
    stack.psql("SELECT pg_reload_conf()", "postgres")
    watch = Watch([old, new])
    said = ""
    with watch.open():
        stack.dump("watched.dump")
        for command in (
            ("db-rotate-password", f"--password-file={file}", "--yes", "--json"),
            ("db-verify", "--dump=watched.dump", "--json"),
            ("db-restore", "--dump=watched.dump", "--yes", "--json"),
            ("db-restore", "--dump=missing.dump", "--yes", "--json"),
        ):
            done = stack.task(*command)
            assert done.returncode == (4 if "missing" in command[1] else 0), done.stderr
            json.loads(done.stdout)
            said += done.stdout + done.stderr
    stack.psql("ALTER SYSTEM RESET log_statement", "postgres")
    stack.psql("SELECT pg_reload_conf()", "postgres")
    file.unlink()
    assert watch.rounds > 3
    assert watch.seen == set()
    said += json.dumps(stack.inspect())
    for service in stack.services:
        said += stack.docker("logs", stack.container(service))
    assert "ALTER ROLE" in stack.compose("logs", "--no-color", "postgres").stdout
    said += stack.compose("logs", "--no-color").stdout
    for path in stack.env_file.parent.glob("*.log"):
        said += path.read_text()
    assert stack.secret("postgres_password") == new
    assert old not in said
    assert new not in said
