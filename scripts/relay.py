"""Owns the way from the stack's containers to a server that only this machine reaches.

A container on the host's network logs in there and passes connections on from a socket in the volume that is /tmp
for the stack's database. It gets the password over its input, and ends with this process, a moment after whoever
works through it has ended.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from scripts.bare_metal import SOCKETS, Origin
from scripts.compose import Compose
from scripts.conversation import Conversation
from scripts.dialogue import PROGRAM
from scripts.errors import ExitCode, StackError
from scripts.sidecar import SERVICE

VOLUME = "postgres-tmp"
# The volume in the backup service's containers and the relay's own, and in the database's.
HERE, THERE = "/relay", "/tmp"  # noqa: S108 - the container's
LABEL = "wepp.relay"
# How long a server that was just started may take until it answers: a unit counts as started before that.
START_SECONDS = 60


@dataclass(frozen=True)
class Lead:
    """Where the relay's socket is: for the backup service's containers, and for the stack's database server."""

    folder: str
    folder_of_server: str


def argv(compose: Compose, origin: Origin, name: str, *, starting: bool = False) -> list[str]:
    """The command that runs a relay whose socket lies in the folder `name` of the volume."""
    patience = ["--patience", f"{START_SECONDS}s"] if starting else []
    model = compose.model
    volume = model["volumes"][VOLUME]["name"]
    mounts = ["--volume", f"{volume}:{HERE}"]
    host = origin.host
    if origin.socket_dir:
        mounts += ["--volume", f"{origin.socket_dir}:{SOCKETS}:ro"]
        host = SOCKETS
    return [
        "docker", "run", "--rm", "--interactive", "--network", "host",
        "--label", f"{LABEL}={compose.project}", "--name", f"{compose.project}-{name}",
        "--user", f"{origin.uid}:{origin.gid}",
        "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only",
        "--memory", "128m", "--pids-limit", "64",
        # The image declares a volume there (from 18 on one folder higher); it would be made and removed each time.
        "--tmpfs", "/var/lib/postgresql:mode=755,size=1m", "--tmpfs", "/var/lib/postgresql/data:size=1m",
        *mounts, "--entrypoint", PROGRAM[0], model["services"][SERVICE]["image"], *PROGRAM[1:], "relay",
        "--host", host, "--port", str(origin.port), "--user", origin.user, "--dbname", origin.database,
        "--folder", f"{HERE}/{name}", *patience,
    ]  # fmt: skip


@contextmanager
def leading(compose: Compose, origin: Origin, *, starting: bool = False) -> Iterator[Lead]:
    """A relay to the source while the block runs. Raises StackError when the source lets nobody in, with its reason.

    starting: the server was just started and is waited for.
    """
    name = f"wepp-relay-{os.getpid()}-{os.urandom(4).hex()}"
    talk = compose.runner.converse(argv(compose, origin, name, starting=starting))
    try:
        talk.say(origin.password)
        _await(talk)
        yield Lead(f"{HERE}/{name}", f"{THERE}/{name}")
    finally:
        talk.say("stop")
        talk.end()


def _await(talk: Conversation) -> None:
    for line in talk.lines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event["kind"] == "ready":
            return
        if event["kind"] == "problem":
            raise StackError(event["what"], event["mend"], ExitCode(event["exit"]))
    status, complaints = talk.end()
    raise StackError(
        f"the relay to the source did not start (status {status})",
        "see the lines above; `invoke doctor` examines the engine",
        ExitCode.NOT_READY,
        details=complaints,
    )
