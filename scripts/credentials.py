"""Owns the database's password in the three places where it stands: the role at the server, `.env`, the secret file.

The password itself goes through pipes and private files only; the server is given a verifier (scram.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from scripts import envfile, scram, secretfiles
from scripts.catalogue import Catalogue
from scripts.clock import Clock, SystemClock
from scripts.compose import Compose
from scripts.console import Console
from scripts.container import Container
from scripts.dialogue import Dialogue
from scripts.errors import ExitCode, StackError
from scripts.journal import Rotation
from scripts.sessions import DATABASE, demand_database

KEY = "POSTGRES_PASSWORD"
SECRET = "postgres_password"  # noqa: S105 - the secret's name
# Names the lock, in SQL, under which a password is changed.
CHANGE_LOCK = "hashtextextended('wepp-stack: password of a role', 0)"
# psql's exit status where it found no server; one that is starting or recovering is worth waiting for.
NO_CONNECTION = 2
PATIENCE_SECONDS, PAUSE_SECONDS = 120.0, 0.5


def demand_login(compose: Compose, console: Console) -> None:
    """Starts the stack's own database when it does not run. Raises StackError when it does not come up, and when the
    password in `.env` is not the one that the services have: with `.env` as it is, the stack would not start again.
    """
    credentials = Credentials(compose, console, SystemClock())
    if credentials.in_use() != compose.env.get(KEY):
        raise StackError(
            f"{KEY} in {envfile.shown(compose.env_path)} is not the password that the services log in with",
            f"put that one back, it stands in {envfile.shown(credentials.secret_file)}; "
            "to have another: `invoke db-rotate-password`",
            ExitCode.REFUSED,
        )
    demand_database(compose, console)


class Credentials:
    """The password of one stack's database."""

    def __init__(self, compose: Compose, console: Console, clock: Clock) -> None:
        self.compose = compose
        self.console = console
        self.clock = clock

    @property
    def role(self) -> str:
        """The role that all services log in as."""
        return self.compose.setting("POSTGRES_USER", "wepppy")

    @property
    def external(self) -> bool:
        """True when the server is not the stack's own."""
        return self.compose.setting("POSTGRES_HOST", DATABASE) != DATABASE

    @property
    def secret_file(self) -> Path:
        """The file that containers get."""
        return Path(self.compose.model["secrets"][SECRET]["file"])

    def in_use(self) -> str:
        """The password that containers get now: that of the file; of `.env` where none was written yet."""
        file = (self.compose.model.get("secrets") or {}).get(SECRET) or {}
        try:
            return Path(file.get("file") or "").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return self.compose.env.get(KEY)

    def readers(self) -> list[str]:
        """Services that log in with it. The server itself is none: it looks at the file when it makes a cluster."""
        services = Catalogue.of(self.compose.model).services.values()
        return [each.name for each in services if SECRET in each.secrets and each.name != DATABASE]

    def put(self, password: str, known: Sequence[str]) -> None:
        """Makes it the password in all three places. known: passwords of which one is the role's now.

        Raises StackError in the middle: the caller has written down what to go back to.
        """
        self._give_role(scram.verifier(password), known)
        self._write(password)

    def _write(self, password: str) -> None:
        try:
            envfile.set_keys(self.compose.env_path, {KEY: password})
            secretfiles.replace_if_changed(self.secret_file, password, secretfiles.FILE_MODE)
        except OSError as error:
            raise StackError(
                f"{error.filename} cannot be written: {error.strerror}",
                f"make it your own, and see that the disk has room: {self.compose.env_path.parent}",
                ExitCode.FAILED,
            ) from error
        finally:
            self.compose.forget()

    def take_back(self, rotation: Rotation) -> None:
        """Makes the old password the one in all three places, however far the change had come."""
        self.console.say("taking back the change of the password")
        demand_database(self.compose, self.console)
        self.put(rotation.old, [rotation.old, rotation.new])

    def _give_role(self, verifier: str, known: Sequence[str]) -> None:
        if self.external:
            with Dialogue(self.compose, self.console, ["password"], alone=True) as talk:
                talk.ready()
                talk.say(json.dumps({"passwords": list(known), "verifier": verifier}))
                talk.result()
            return
        # Over the socket inside, where the server trusts: it works whatever the password is now.
        name = self.role.replace('"', '""')
        # A client that was killed leaves its session behind, which does what it was told when it can: whoever comes
        # after waits for that, or the older word would win.
        statement = (
            f"BEGIN;\nSELECT pg_advisory_xact_lock({CHANGE_LOCK});\n"
            f"ALTER ROLE \"{name}\" PASSWORD '{verifier}';\nCOMMIT;\n"
        )
        command = ["psql", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--username", self.role]
        argv = ["docker", "exec", "--interactive", self._server_container(), *command, "--dbname", "postgres"]
        deadline = self.clock.monotonic() + PATIENCE_SECONDS
        while True:
            result = self.compose.runner.capture(argv, stdin=statement, timeout=PATIENCE_SECONDS)
            if result.ok:
                return
            if result.returncode != NO_CONNECTION or self.clock.monotonic() >= deadline:
                raise StackError(
                    f"the server did not take the password: {result.complaint}",
                    "see `invoke compose-logs --services=postgres`, then run the task again",
                    ExitCode.FAILED,
                )
            self.clock.sleep(PAUSE_SECONDS)

    def _server_container(self) -> str:
        for each in self.compose.engine.containers(self.compose.project):
            if each.service == DATABASE and not each.oneoff:
                return each.name
        raise StackError("there is no database container", "start it: invoke compose-up --services=postgres")

    def prove(self, password: str, before: str, containers: Sequence[Container]) -> None:
        """Raises StackError unless the password is the one that containers see and that the server lets in.

        before: the one that must not let anybody in any more. containers: those that were started with it.
        """
        for each in containers:
            seen = self.compose.runner.capture(
                ["docker", "exec", each.name, "cat", f"/run/secrets/{SECRET}"], timeout=PATIENCE_SECONDS
            )
            if seen.ok and seen.stdout.strip() != password:
                raise StackError(
                    f"{each.service} still sees the old password",
                    "see that its secret comes from the stack's own file: docker inspect " + each.name,
                    ExitCode.FAILED,
                )
        with Dialogue(self.compose, self.console, ["login"], alone=True) as talk:
            talk.ready()
            talk.say(json.dumps({"passwords": [before]}))
            answer = talk.result()
        if not answer["own"]:
            raise StackError(
                f"no login with the new password: {answer['why']}",
                "see the server's pg_hba.conf: it must ask for the password by scram-sha-256",
                ExitCode.FAILED,
            )
        if answer["given"][0]:
            self.console.warn(
                "the server lets the old password in as well: its pg_hba.conf asks the stack for none"
            )
