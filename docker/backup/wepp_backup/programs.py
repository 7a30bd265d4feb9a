"""PostgreSQL's own programs as children: none outlives this process, and what each complained of is understood."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fcntl import F_SETPIPE_SZ, fcntl
from typing import IO, Any

import psycopg

from wepp_backup.caller import uninterrupted
from wepp_backup.events import Problem, fail
from wepp_backup.server import Server, plain

# How long a program that is asked to stop may take to end its own workers and statements until it is killed.
STOP_SECONDS = 5.0
PIPE_BYTES = 1 << 20
COMPLAINTS = 64 << 10  # bytes of standard error that are read: it ends with why

Child = subprocess.Popen[bytes]


class ProgramError(Exception):
    """A program ended with another status than 0. told: what it wrote to standard error."""

    def __init__(self, program: str, status: int, told: str) -> None:
        super().__init__(first_error(told) or f"{program} ended with status {status}")
        self.program = program
        self.status = status
        self.told = told


def start(
    command: Sequence[str],
    environment: dict[str, str] | None = None,
    *,
    stdin: int | IO[Any] = subprocess.DEVNULL,
    stdout: int | IO[Any] = subprocess.DEVNULL,
    stderr: int | IO[Any] = subprocess.DEVNULL,
) -> Child:
    """Start a program that gets SIGTERM when this process dies, even by SIGKILL: it then cancels its statements."""
    child: Child | None = None
    try:
        # Called off inside Popen, there would be a child that nobody knows of.
        with uninterrupted():
            # setpriv does in the child what a preexec_fn would, which is not safe in a process with threads.
            child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "SIGTERM", "--", *command],
                stdin=stdin, stdout=stdout, stderr=stderr,
                env={**os.environ, "LC_MESSAGES": "C", **(environment or {})},
            )  # fmt: skip
    except BaseException:
        if child:
            stop(child)
        raise
    return child


def stop(child: Child) -> None:
    """End a program that is not wanted any more: asked first, killed when it stays."""
    if child.poll() is not None:
        return
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


@contextmanager
def running(
    command: Sequence[str],
    server: Server | None = None,
    *,
    options: str = "",
    stdin: int | IO[Any] = subprocess.DEVNULL,
    stdout: int | IO[Any] = subprocess.DEVNULL,
) -> Iterator[Child]:
    """Run a program beside the block; at the block's end wait for it and raise ProgramError unless it ended well.

    A block that raises ends the program. options: of its sessions at the server.
    """
    # A file, for nobody reads a pipe while the block works; it is gone with its descriptor.
    with tempfile.TemporaryFile() as told:
        child = start(
            command, server.environment(options) if server else None, stdin=stdin, stdout=stdout, stderr=told
        )
        try:
            yield child
            status = child.wait()
        finally:
            stop(child)
            for stream in (child.stdin, child.stdout):
                if stream:
                    with suppress(OSError):  # its other end may be gone
                        stream.close()
        if status == -signal.SIGKILL:  # as the kernel does where memory is short
            fix = "see whether the backup service has too little memory (docker inspect, dmesg), then run it again"
            raise fail(f"{command[0]} was killed", fix)
        if status:
            told.seek(max(0, told.seek(0, os.SEEK_END) - COMPLAINTS))
            raise ProgramError(command[0], status, told.read().decode(errors="replace"))


def run(command: Sequence[str], server: Server | None = None) -> bytes:
    """Run a program to its end; return what it wrote to standard output. Raise ProgramError unless it ended well."""
    with running(command, server, stdout=subprocess.PIPE) as child:
        assert child.stdout  # noqa: S101 - a pipe was asked for
        return child.stdout.read()


def widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold more at a time where the system allows it: all pipes of a user share one limit."""
    with suppress(OSError):
        fcntl(pipe, F_SETPIPE_SZ, PIPE_BYTES)


# What a server says that is in trouble itself, for programs that pass on its words alone. The words are English, as the
# stack's own server and sessions that load a dump as a superuser have them.
# The system's words, or the server's own where a file took only a part of a page (mdextend in PostgreSQL's md.c).
FULL = re.compile(r"(?i)no space left on device|disk quota exceeded|wrote only \d+ of \d+ bytes")
# /dev/shm, which nothing that lies on a disk fills.
SHARED = re.compile(r"(?i)shared memory segment")
ILL = re.compile(
    r"(?i)(?:out of (?:shared )?memory|deadlock detected|canceling statement due to (?:user request|conflict)|"
    r"invalid page in block|could not (?:read|write|extend|fsync|create|truncate) (?:to )?(?:file|blocks?|directory) |"
    r"could not .*: (?:input/output error|read-only file system|too many open files))"
)
# What ends a session, as its server says it, and as a client does that has lost it.
ENDING = re.compile(
    r"terminating connection|in recovery mode|shutting down|starting up|too many clients|remaining connection slots"
)
LOST = re.compile(
    r"server closed the connection|connection to server (?:at|on|was)|SSL SYSCALL error|SSL connection has been closed|"
    r"could not (?:send data to|receive data from) server|no connection to the server"
)
# A program's own lines, not its quotations of statements and rows: those, names and values may be about anything.
OWN_LINE = re.compile(r"(?m)^(?:pg_\w+|psql|vacuumdb):.*$")
QUOTED = re.compile(r'"[^"]*"')
SERVER_WORDS = re.compile(r"\b(ERROR|FATAL|PANIC): +(.*)")
CLIENT_WORDS = re.compile(r"\berror: +(.*)")


def first_error(told: str) -> str:
    """Return what a program complained of first, without its name and with the server's words: the rest is due to it.

    Without an error its first line.
    """
    own = "\n".join(OWN_LINE.findall(told))
    client, server = CLIENT_WORDS.search(SERVER_WORDS.split(own)[0]), SERVER_WORDS.search(own)
    found = [client[1].rstrip(".: ") if client else "", server[2] if server else ""]
    return ": ".join(filter(None, found)) or told.strip().split("\n")[0]


def trouble(told: str) -> Problem | None:
    """Return the problem that the server has by itself; None where what it was asked to do is the cause."""
    for line in OWN_LINE.findall(told):
        client, severity, words, *_ = [*SERVER_WORDS.split(QUOTED.sub("", line), maxsplit=1), "", ""]
        if FULL.search(words) or SHARED.search(words):
            return no_room(first_error(line))
        if ILL.match(words) or LOST.search(client) or (severity == "FATAL" and ENDING.search(words)):
            what = f"the server went away or could not go on: {first_error(told)}"
            return fail(what, "see the server's log, then run it again")
    return None


def full(error: BaseException) -> Problem | None:
    """Return the problem of a server that has no room, on its disk or in shared memory; None for any other error."""
    code = (error.sqlstate or "") if isinstance(error, psycopg.Error) else ""
    words = plain(error)
    # A quota that is used up has the code of an internal error.
    if code == "53100" or (code[:2] in ("53", "58", "XX") and FULL.search(words)):
        return no_room(words)
    return None


def no_room(why: str) -> Problem:
    """Return the problem of a server without room, by its words."""
    if SHARED.search(why):
        fix = "give it more (shm_size of the service postgres), or use fewer --jobs, then run it again"
        return fail(f"the server's shared memory is full: {why}", fix)
    fix = "make room there (`invoke db-prune` drops databases kept by restores; docker system df), then run it again"
    return fail(f"the server's disk is full: {why}", fix)


def explained(error: BaseException, otherwise: Callable[[str], Problem]) -> Problem:
    """Return the problem of an error on the way: the server's own trouble, or what `otherwise` makes of its words."""
    if isinstance(error, Problem):
        return error.midway()
    if isinstance(error, ProgramError):
        return trouble(error.told) or otherwise(str(error))
    return full(error) or otherwise(plain(error))
