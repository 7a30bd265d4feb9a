"""PostgreSQL's own programs as children: none outlives this process, and what each complained of is understood."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
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
    """A program ended with another status than 0. stderr: what it wrote there."""

    def __init__(self, program: str, status: int, stderr: str) -> None:
        super().__init__(first_error(stderr) or f"{program} ended with status {status}")
        self.program = program
        self.status = status
        self.stderr = stderr


def start(
    command: Sequence[str],
    environment: dict[str, str] | None = None,
    *,
    stdin: int | IO[Any] = subprocess.DEVNULL,
    stdout: int | IO[Any] = subprocess.DEVNULL,
    stderr: int | IO[Any] = subprocess.DEVNULL,
) -> Child:
    """Start a program that gets SIGTERM when this process ends, even by SIGKILL: it then cancels its statements."""
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
    with tempfile.TemporaryFile() as errors:
        child = start(
            command,
            server.environment(options) if server else None,
            stdin=stdin,
            stdout=stdout,
            stderr=errors,
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
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - COMPLAINTS))
            raise ProgramError(command[0], status, errors.read().decode(errors="replace"))


def run(command: Sequence[str], server: Server | None = None) -> bytes:
    """Run a program to its end; return what it wrote to standard output. Raise ProgramError unless it ended well."""
    with running(command, server, stdout=subprocess.PIPE) as child:
        assert child.stdout  # noqa: S101 - a pipe was asked for
        return child.stdout.read()


def widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold more at a time where the system allows it: all pipes of a user share one limit."""
    with suppress(OSError):
        fcntl(pipe, F_SETPIPE_SZ, PIPE_BYTES)


# What a program passes on of the server's words, which are English (see `start`), and what it says itself.
SERVER_WORDS = re.compile(r"\b(?:ERROR|FATAL|PANIC): +(.*)")
CLIENT_WORDS = re.compile(r"\berror: +(.*)")
# The system's words, or the server's own where a file took only a part of a page (mdextend in PostgreSQL's md.c).
FULL = re.compile(r"(?i)no space left on device|disk quota exceeded|wrote only \d+ of \d+ bytes")
# /dev/shm, which nothing that lies on a disk fills.
SHARED = re.compile(r"(?i)shared memory segment")
QUOTED = re.compile(r'"[^"]*"')  # names and values, which may be about anything


def first_error(stderr: str) -> str:
    """Return what a program complained of first, without its name and with the server's words: the rest is due to it.

    Without an error its first line.
    """
    client, server = CLIENT_WORDS.search(SERVER_WORDS.split(stderr)[0]), SERVER_WORDS.search(stderr)
    found = [client[1].rstrip(".: ") if client else "", server[1] if server else ""]
    return ": ".join(filter(None, found)) or stderr.strip().split("\n")[0]


def full(error: BaseException) -> Problem | None:
    """Return the problem of a server that has no room, on its disk or in shared memory; None for any other error."""
    words = plain(error)
    if isinstance(error, ProgramError):
        # A disk that the program itself writes to may be full, too.
        server = SERVER_WORDS.search(error.stderr)
        is_full = bool(server and FULL.search(QUOTED.sub("", server[1])))
    else:
        code = (error.sqlstate or "") if isinstance(error, psycopg.Error) else ""
        # A quota that is used up has the code of an internal error.
        is_full = code == "53100" or (code[:2] in ("53", "58", "XX") and bool(FULL.search(words)))
    if not is_full:
        return None
    if SHARED.search(words):
        fix = "give it more (shm_size of the service postgres), or use fewer --jobs, then run it again"
        return fail(f"the server's shared memory is full: {words}", fix)
    fix = "make room there (`invoke db-prune` drops databases kept by restores; docker system df), then run it again"
    return fail(f"the server's disk is full: {words}", fix)


def explained(error: BaseException, fix: str, what: str = "") -> Problem:
    """Return the problem of an error on the way: a server without room, or a failure with its words, behind `what`."""
    if isinstance(error, Problem):
        return error.midway()
    return full(error) or fail(f"{what}: {plain(error)}" if what else plain(error), fix)
