"""A database password in the two places that hold it: the role at the server and the secret file.

A change that was begun is a file beside the secret (`pending`), written before the role has the new password. Whatever
ends the task that began it, the next one completes it (`finish`): every step may be repeated. The password itself goes
through pipes and private files only; the server is given a verifier (scram.py).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.base.clock import SYSTEM_CLOCK, Clock, moment
from scripts.base.console import Console
from scripts.base.errors import ExitCode, StackError, fail
from scripts.base.files import sync_folder, write
from scripts.database.sidecar_client import ProgramRun
from scripts.engine import database_server
from scripts.engine.compose import Compose
from scripts.engine.container import Container
from scripts.engine.failure import restart_and_wait
from scripts.settings import scram, secret_files, secret_ids

# Names the lock, in SQL, under which a password is changed: a client that was killed leaves its session behind, which
# does what it was told when it can, and the older password would win.
CHANGE_LOCK = "hashtextextended('wepp-stack: password of a role', 0)"
# psql's exit code where it found no server; one that is starting or recovering is worth waiting for.
NO_CONNECTION = 2
WAIT_SECONDS, PAUSE_SECONDS = 120, 0.5
# What a service that is restarted gets for its requests, and a worker for a job that was not waited for.
STOP_SECONDS = 10


class Credentials:
    """One password of one stack: that of the application's role, or the superuser's."""

    def __init__(self, compose: Compose, console: Console, clock: Clock, *, superuser: bool = False) -> None:
        self.compose = compose
        self.console = console
        self.clock = clock
        self.superuser = superuser
        self.secret = secret_ids.SUPERUSER if superuser else secret_ids.DATABASE
        self.role = "postgres" if superuser else compose.setting("POSTGRES_USER", "wepppy")
        self.secret_file = compose.secret_file(self.secret)
        self.pending_file = self.secret_file.with_name(f".{self.secret}.pending")

    def running_readers(self) -> list[Container]:
        """Return the containers that log in with it. The server only looks at the file when it makes a cluster."""
        services = self.compose.catalogue.services.values()
        names = {each.name for each in services if self.secret in each.secrets} - {database_server.DATABASE}
        return self.compose.containers(names, running=True)

    def change(self, old: str, new: str) -> None:
        """Give role and file the new password. Raise StackError, which says whether the old one holds."""
        _write(self.pending_file, new, 0o600)
        try:
            self._put(new, [old])
            self._require_login(old)
        except StackError as error:
            # The role may have the new one all the same: that is not known until it is given the old one.
            left = "the next task completes the change"
            with contextlib.suppress(StackError):
                self._put(old, [old, new])
                self.end()
                left = "the old password holds"
            code = error.exit_code if error.exit_code == ExitCode.REFUSED else ExitCode.FAILED
            raise StackError(f"{error.what}; {left}", error.fix, code, details=error.details) from None

    def complete(self) -> None:
        """Complete a change that was begun; one whose password was not whole yet has changed nothing."""
        if new := secret_files.read(self.pending_file):
            database_server.require_running(self.compose, self.console)
            self._put(new, [secret_files.read(self.secret_file), new])
            self.restart_readers()
        self.end()

    def restart_readers(self) -> float:
        """Restart what still has the password of before, and wait until it is well; return the seconds that took.

        Raise StackError for what does not come back.
        """
        written, began = self.secret_file.stat().st_mtime, self.clock.monotonic()
        stale = [each for each in self.running_readers() if (moment(each.started_at) or 0.0) <= written]
        if stale:
            names = [each.service for each in stale]
            self.console.say(f"the new password holds: restarting {', '.join(names)}")
            # What was unhealthy before (a sidecar whose last backup failed) need not become better than it was.
            well = [each.service for each in stale if each.health != "unhealthy"]
            flags = ["--no-deps", "--timeout", str(STOP_SECONDS)]
            restart_and_wait(self.compose, names, well, WAIT_SECONDS, flags)
        return self.clock.monotonic() - began

    def end(self) -> None:
        """Forget that a change was begun."""
        self.pending_file.unlink(missing_ok=True)
        sync_folder(self.pending_file.parent)

    def _put(self, password: str, known: Sequence[str]) -> None:
        """Make it the password of role and file. known: passwords of which one is the role's now."""
        verifier = scram.verifier(password)
        if database_server.is_external(self.compose):
            self._ask_program(["password"], {"passwords": list(known), "verifier": verifier})
        else:
            self._alter_role(verifier)
        if secret_files.read(self.secret_file) != password:
            _write(self.secret_file, password, secret_files.FILE_MODE)

    def _require_login(self, before: str) -> None:
        """Raise StackError unless the file's password logs in; warn when the one of before still does."""
        flags = ["--superuser"] if self.superuser else []
        answer = self._ask_program(["login", *flags], {"passwords": [before]})
        if not answer["own"]:
            fail(
                f"no login with the new password: {answer['why']}",
                "see the server's pg_hba.conf: it must ask for the password by scram-sha-256",
            )
        if answer["given"][0]:
            self.console.warn(
                "the server lets the old password in as well: its pg_hba.conf asks the stack for none"
            )

    def _ask_program(self, command: Sequence[str], word: object) -> Any:
        with ProgramRun(self.compose, self.console, command) as run:
            run.ready()
            run.send(json.dumps(word))
            return run.result()

    def _alter_role(self, verifier: str) -> None:
        # Over the socket inside, where the server trusts: it works whatever the password is now.
        server = self.compose.catalogue.services[database_server.DATABASE].container
        name = self.role.replace('"', '""')
        statement = (
            f"BEGIN;\nSELECT pg_advisory_xact_lock({CHANGE_LOCK});\n"
            f"ALTER ROLE \"{name}\" PASSWORD '{verifier}';\nCOMMIT;\n"
        )
        psql = ["psql", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--username", self.role]
        argv = ["docker", "exec", "--interactive", server, *psql, "--dbname", "postgres"]
        deadline = self.clock.monotonic() + WAIT_SECONDS
        while not (result := self.compose.runner.capture(argv, stdin=statement, timeout=WAIT_SECONDS)).ok:
            away = result.returncode == NO_CONNECTION or not database_server.is_running(self.compose)
            if not away or self.clock.monotonic() >= deadline:
                fail(
                    f"the server did not take the password: {result.complaint}",
                    "see `invoke compose-logs --services=postgres`, then run the task again",
                )
            database_server.restart_if_killed(self.compose)
            self.clock.sleep(PAUSE_SECONDS)


def _write(path: Path, password: str, mode: int) -> None:
    folder = path.parent.stat()
    write(path, password, mode, (folder.st_uid, folder.st_gid))


def finish(compose: Compose, console: Console, clock: Clock = SYSTEM_CLOCK) -> None:
    """Complete changes of passwords that were begun and not ended. To be called with the project's lock held.

    What cannot be completed now is told; the next task tries again.
    """
    for superuser in () if compose.runner.dry else (False, True):
        credentials = Credentials(compose, console, clock, superuser=superuser)
        if credentials.pending_file.exists():
            console.say(f"a change of the password of {credentials.role} was interrupted: completing it")
            try:
                credentials.complete()
            except StackError as error:
                console.warn(f"not completed yet: {error.what} ({error.fix})")
