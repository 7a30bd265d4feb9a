"""`worker-join`, on a worker host: check everything that could go wrong, start the workers, prove it by a job."""

from __future__ import annotations

import contextlib
import getpass
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scripts.base.clock import SYSTEM_CLOCK, Clock, local_time
from scripts.base.console import Console
from scripts.base.errors import ExitCode, StackError, fail, refuse, usage
from scripts.base.files import private_folder, replace_if_changed, write
from scripts.engine.compose import Compose
from scripts.prepare import lock
from scripts.settings import env_editing, envfile
from scripts.settings.envfile import display_path
from scripts.settings.secret_files import FILE_MODE, first_line
from scripts.stack.worker_hosts import invitation as invitations
from scripts.stack.worker_hosts.containers import (
    GATEWAY,
    ask,
    compose_files,
    exact_queues,
    remove_own_files,
    worker_services,
)
from scripts.stack.worker_hosts.invitation import Folder, Invitation
from scripts.stack.worker_hosts.invite import SHARED

INVITATION = "WORKER_INVITATION"
CLOCK_SECONDS = 1.0
FREE_BYTES = 1 << 30
FREE_TEXT = "1 GiB"
NEW_ONE = "have a new invitation made: `invoke worker-invite` on the main host"


def join(
    compose: Compose, console: Console, file: str, passphrase_file: str, start: Callable[[], None]
) -> None:
    """Join with an invitation; start starts the stack that `.env` describes. Raise StackError."""
    if passphrase_file:
        phrase = first_line(Path(passphrase_file), ExitCode.USAGE)
    elif console.can_ask:
        phrase = getpass.getpass("passphrase: ")
    else:
        usage("nobody is here to type the passphrase", "name a file that holds it: --passphrase-file=FILE")
    Join(compose, console, invitations.read(Path(file), phrase.strip()), start=start).run()


class Join:
    """One run of `worker-join`."""

    def __init__(
        self,
        compose: Compose,
        console: Console,
        invitation: Invitation,
        *,
        start: Callable[[], None],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.compose = compose
        self.console = console
        self.invitation = invitation
        self.start = start
        self.clock = clock

    def run(self) -> None:
        """All steps. Raise StackError; until the main host was told, nothing of it stays here."""
        again = self._is_ours()
        self._require_meant(again)
        if self.compose.runner.dry:
            self.console.say(f"would check, then start workers for {', '.join(self.invitation.queues)}")
            return
        self._write()
        with self._undone_unless_joined(again), lock.sole(self.compose):
            self._check(again)
        self._take_queues()
        self.start()
        container = self._prove()
        self.console.answer(
            {"ok": True, "host": self.invitation.host, "queues": self.invitation.queues, "proof": container},
            f"{self.invitation.host} has joined: workers for {', '.join(self.invitation.queues)}; "
            f"a job ran in {container}",
        )

    # ---- steps ----

    def _require_meant(self, again: bool) -> None:
        """Raise StackError unless the invitation is for this host and, where it was not begun, its time is not over."""
        wanted = self.invitation.host
        result = self.compose.runner.capture(["docker", "info", "--format", "{{.Name}}"], timeout=60.0)
        here = result.stdout.strip().partition(".")[0].lower()
        if not result.ok or not here:
            raise StackError(f"the container engine does not answer: {result.complaint}", "run scripts/setup")
        if here != wanted:
            refuse(f"the invitation is for {wanted}, and this host is {here}", f"run it there, or {NEW_ONE}")
        if self.clock.now() >= self.invitation.until and not again:
            refuse(f"the invitation was good until {local_time(self.invitation.until)}", NEW_ONE)

    def _is_ours(self) -> bool:
        """Return whether this invitation was begun here before. Raise StackError where another stack is at home."""
        if not self.compose.env_path.exists():
            return False
        values = envfile.read(self.compose.env_path).values
        if INVITATION not in values:
            refuse(
                f"{display_path(self.compose.env_path)} belongs to a stack of its own",
                "join from another clone, or name another file: WEPP_ENV_FILE=FILE",
            )
        if values[INVITATION] != self.invitation.id and self.compose.containers(running=True):
            refuse("this host has joined already", "let it leave first: invoke worker-leave")
        return values[INVITATION] == self.invitation.id

    def _write(self) -> None:
        """Write `.env`, then the secrets where it says."""
        text = (self.compose.root / ".env.example").read_text(encoding="utf-8")
        project = self.compose.environment.get("COMPOSE_PROJECT_NAME") or self.invitation.project
        changes = {
            **self.invitation.settings,
            "COMPOSE_PROJECT_NAME": project,
            "COMPOSE_FILE": compose_files(self.invitation.settings.get("WEPPPY_SRC", "")),
            "COMPOSE_PROFILES": ",".join(self.invitation.queues),
            "PYTHON_STAGE": "production",
            "STACK_TAG": self.invitation.image.rpartition(":")[2],
            "UID": str(self.invitation.uid),
            "GID": str(self.invitation.gid),
            **{key: each.path for key, each in self.invitation.folders.items()},
            "WORKER_HOST": self.invitation.host,
            "WORKER_IMAGE": self.invitation.image,
            "GATEWAY_ADDRESS": self.invitation.gateway,
            INVITATION: self.invitation.id,
        }
        write(self.compose.env_path, env_editing.with_keys(text, changes), env_editing.PRIVATE)
        self.compose.forget()
        private_folder(self.compose.secrets_dir)
        for name, value in self.invitation.secrets.items():
            replace_if_changed(self.compose.secrets_dir / name, value, FILE_MODE)

    @contextlib.contextmanager
    def _undone_unless_joined(self, again: bool) -> Iterator[None]:
        """Take back what was written when the block fails and the main host was not told."""
        try:
            yield
        except BaseException:
            if not again:
                self.compose.capture("down", "--timeout", "1")
                remove_own_files(self.compose)
            raise

    def _check(self, again: bool) -> None:
        """Look from inside a container as the workers would; tell the main host when all is well. Raise StackError."""
        image = self.invitation.image
        if not self.compose.engine.images([image]):
            refuse(
                f"the image {image} is not here",
                f"on the main host: docker save {image} | ssh {self.invitation.host} docker load",
            )
        self.console.say("asking the main host")
        result = self.compose.stream("up", "--detach", "--no-build", "--no-deps", GATEWAY)
        if not result.ok:
            fail(f"the gateway does not start: {result.complaint}", "see the lines above")
        began = self.clock.now()
        answer = self._ask_main_host("look")
        self._require_clock(began, answer["now"], self.clock.now())
        if answer["joined"] and not again:
            refuse(f"the invitation was used at {local_time(answer['joined'])}", NEW_ONE)
        found = self._look_at_folders()
        for each in found["folders"]:
            key = next(key for key, target in SHARED.items() if target == each["path"])
            self._require_shared(key, self.invitation.folders[key], each)
        if found["revision"] != self.invitation.revision:
            # Queues where it matters refuse by themselves.
            self.console.warn(
                f"this host runs revision {found['revision']}, the main host {self.invitation.revision}"
            )
        self._ask_main_host("join")

    def _take_queues(self) -> None:
        """Take over queues that one host alone may consume: who consumed them ends the job under way and lets go."""
        if exact := exact_queues(self.compose.model, self.invitation.queues):
            self._in_worker("own", self.invitation.host, *exact)
            self.console.say(
                f"{', '.join(exact)}: taken over when the job that is under way elsewhere has ended"
            )

    def _ask_main_host(self, question: str) -> dict[str, Any]:
        command = ("exec", "-T", GATEWAY, "python", "/opt/stack/gateway.py", "ask", question)
        result = self.compose.capture(*command)
        try:
            answer: dict[str, Any] = json.loads(result.stdout)
        except ValueError:
            fail(f"the gateway here cannot ask: {result.complaint}", "see `docker compose logs gateway`")
        if "refused" in answer:
            refuse(
                f"the main host at {self.invitation.gateway} does not let this host in: {answer['refused']}",
                f"see that this host reaches that port, and that the invitation is the newest one; else {NEW_ONE}",
            )
        return answer

    def _require_clock(self, before: float, now: float, after: float) -> None:
        off = before - now if now < before else after - now if now > after else 0.0
        if abs(off) > CLOCK_SECONDS:
            refuse(
                f"the clock here is {abs(off):.1f} s {'ahead of' if off > 0 else 'behind'} the main host's",
                "set both by NTP (timedatectl set-ntp true): timestamps of runs decide what is newer",
            )

    def _look_at_folders(self) -> dict[str, Any]:
        asked = [
            word
            for key, target in SHARED.items()
            for word in (target, self.invitation.folders[key].file, self.invitation.folders[key].sha256)
        ]
        for key, each in self.invitation.folders.items():
            if not Path(each.path).is_dir():
                refuse(f"{each.path} ({key}) is not here", "mount the folder that the main host has there")
        return self._in_worker("check", *asked)

    def _in_worker(self, *question: str) -> dict[str, Any]:
        """Return what the script for worker hosts answers in a worker's container of its own. Raise StackError."""
        return ask(self.compose, worker_services(self.compose)[0], *question, running=False)

    def _require_shared(self, key: str, there: Folder, here: dict[str, Any]) -> None:
        """Raise StackError unless a shared folder is the main host's, with its owner and, for runs, room to write."""
        if not here["same"]:
            refuse(
                f"{there.path} ({key}) is another folder than on the main host: {here['why'] or 'another content'}",
                f"mount the main host's {there.path} here, at the same path",
            )
        if (here["uid"], here["gid"]) != (there.uid, there.gid):
            refuse(
                f"{there.path} belongs to {here['uid']}:{here['gid']} here, and to {there.uid}:{there.gid} on the "
                "main host",
                "mount it with numeric ids (NFS: no_all_squash; nfsidmap off)",
            )
        if key != "WC1_DIR":
            return
        if here["writable"]:
            refuse(
                f"workers run as {self.invitation.uid}:{self.invitation.gid} and cannot write to {there.path}: "
                f"{here['writable']}",
                "see the folder's owner, the export's options (root_squash, ro) and the room on its disk",
            )
        if here["free"] < FREE_BYTES:
            refuse(f"{there.path} has less than {FREE_TEXT} of room", "make room there")

    def _prove(self) -> str:
        """Return the container in which a job of this host's own queue ran. Raise StackError."""
        answer = ask(self.compose, worker_services(self.compose)[0], "prove", f"host-{self.invitation.host}")
        if "refused" in answer:
            fail(answer["refused"], "see `invoke compose-logs`")
        return str(answer["container"])
