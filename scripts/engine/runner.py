"""How other programs are run: argument lists only, echoed so that they can be pasted, never a shell.

Children of `capture` and `stream` get a process group of their own, so that Ctrl-C reaches them once and from
here: a `docker compose` that is asked twice to stop leaves half-made containers.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TextIO

# How long a child may take to tidy up after Ctrl-C before it is killed.
INTERRUPT_GRACE_SECONDS = 10.0
# What a program may still need to undo its work once its input has ended.
END_SECONDS = 60.0
COMPLAINT_LINES = 30
# Exit statuses of a shell for "not found" and "cannot be run", and of `timeout` for "too slow".
NOT_FOUND, NOT_RUNNABLE, TIMED_OUT = 127, 126, 124


@dataclass(frozen=True)
class Result:
    """What a program answered: its exit status and both outputs as text."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str = ""
    stderr: str = ""

    @property
    def ok(self) -> bool:
        return self.returncode == 0

    @property
    def complaint(self) -> str:
        """The last line that says what went wrong, or the exit status if it kept silent."""
        lines = [line.strip() for line in (self.stderr or self.stdout).splitlines() if line.strip()]
        return lines[-1] if lines else f"exit status {self.returncode}"


class LineProcess:
    """A child process whose output is read line by line and to which lines are sent in between.

    Its input is a pipe that ends with this process, however this process ends: a program that reads it can tell that
    its caller is gone, and undo what it had begun. errors: the file that its standard error goes to.
    """

    def __init__(self, process: subprocess.Popen[str], errors: IO[str], seconds: float = END_SECONDS) -> None:
        self.process = process
        self.errors = errors
        self.seconds = seconds

    def lines(self) -> Iterator[str]:
        """Yield the lines of its output, each as soon as it is there, until it closes it."""
        for line in self.process.stdout or ():
            yield line.rstrip("\n")

    def send(self, line: str) -> None:
        """Send one line; a program that has ended does not get it."""
        if self.process.stdin:
            with contextlib.suppress(OSError, ValueError):
                self.process.stdin.write(f"{line}\n")
                self.process.stdin.flush()

    def end(self) -> tuple[int, str]:
        """End its input and wait for it; return its exit status and the last lines of its standard error.

        A program that does not end in time is killed with its group.
        """
        try:
            # Its output is read to the end: a program that nobody reads would wait for a reader for ever.
            self.process.communicate(timeout=self.seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.errors.seek(0)
        return self.process.returncode, "".join(deque(self.errors, COMPLAINT_LINES)).rstrip("\n")


class Runner:
    """The four ways in which host code runs a program on this machine, from `root`.

    verbose: echo questions too. dry: echo what would change something, but do not run it.
    """

    def __init__(
        self, root: Path, *, verbose: bool = False, dry: bool = False, echo_to: TextIO | None = None
    ) -> None:
        self.root = root
        self.verbose = verbose
        self.dry = dry
        self._echo_to = echo_to

    def capture(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Result:
        """Ask a question: collect the output, echo only on request, never raise on a bad status.

        A program that is missing answers 127, one that may not be run 126, one that is too slow 124.
        """
        if self.verbose:
            self._echo(argv, env)
        process = self._start(
            argv,
            env,
            subprocess.PIPE,
            subprocess.PIPE,
            subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        )
        if isinstance(process, Result):
            return process
        try:
            with _forwarding_interrupts(process):
                stdout, stderr = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            _end(process)
            return Result(tuple(argv), TIMED_OUT, "", f"{argv[0]} did not answer within {timeout:g} s")
        return Result(tuple(argv), process.returncode, stdout, stderr)

    def stream(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
        attended: bool = False,
    ) -> Result:
        """Change something: echoed; both outputs go line by line to `on_line`, or to stderr as they are.

        attended: the program's input is a pipe that ends with this process, however this process ends, so that it can
        tell that its caller is gone; otherwise its input is empty. The result holds the lines given to `on_line`.
        """
        self._echo(argv, env)
        if self.dry:
            return Result(tuple(argv), 0)
        # Standard output belongs to the answer of the task (it may be JSON): a child's goes to stderr.
        output = subprocess.PIPE if on_line else _descriptor(sys.stderr)
        source = subprocess.PIPE if attended else subprocess.DEVNULL
        process = self._start(argv, env, output, subprocess.STDOUT, source)
        if isinstance(process, Result):
            return process
        lines: list[str] = []
        with _forwarding_interrupts(process):
            if on_line and process.stdout:
                for line in process.stdout:
                    lines.append(line.rstrip("\n"))
                    on_line(lines[-1])
            process.wait()
        if process.stdin:
            process.stdin.close()
        return Result(tuple(argv), process.returncode, "\n".join(lines))

    def attach(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> int:
        """Hand the terminal over; echoed; return the exit status. The terminal itself delivers Ctrl-C to the child."""
        self._echo(argv, env)
        if self.dry:
            return 0
        sys.stdout.flush()
        try:
            process = subprocess.Popen(list(argv), cwd=self.root, env=_environment(env))
        except OSError as error:
            result = _not_started(argv, error)
            print(result.complaint, file=sys.stderr)
            return result.returncode
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue

    def line_process(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> LineProcess:
        """Start a program that is listened to and answered; echoed, and run also when dry: it asks before it acts."""
        self._echo(argv, env)
        errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - LineProcess reads it
        process = self._start(argv, env, subprocess.PIPE, errors.fileno(), subprocess.PIPE)
        if isinstance(process, Result):
            raise FileNotFoundError(process.complaint)
        return LineProcess(process, errors)

    def _start(
        self, argv: Sequence[str], env: Mapping[str, str] | None, stdout: int, stderr: int, stdin: int
    ) -> subprocess.Popen[str] | Result:
        try:
            return subprocess.Popen(
                list(argv),
                cwd=self.root,
                env=_environment(env),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                text=True,
                encoding="utf-8",
                errors="replace",
                process_group=0,
            )
        except OSError as error:
            return _not_started(argv, error)

    def _echo(self, argv: Sequence[str], env: Mapping[str, str] | None) -> None:
        mark = "would run" if self.dry else "$"
        line = pasteable(argv, env)
        # Paths in it are meant from there.
        if Path.cwd() != self.root.resolve():
            line = f"(cd {shlex.quote(str(self.root))} && {line})"
        print(f"{mark} {line}", file=self._echo_to or sys.stderr, flush=True)


def pasteable(argv: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """Return the command as one line for a shell, with the variables it needs beyond the caller's own."""
    added = [f"{key}={value}" for key, value in (env or {}).items() if os.environ.get(key) != value]
    return shlex.join([*(["env", *added] if added else []), *argv])


def _environment(added: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, **(added or {})}


def _descriptor(stream: TextIO) -> int:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        # A test's or a log collector's stand-in has no descriptor.
        return subprocess.DEVNULL


def _not_started(argv: Sequence[str], error: OSError) -> Result:
    if isinstance(error, FileNotFoundError):
        return Result(tuple(argv), NOT_FOUND, "", f"{argv[0]} is not installed")
    return Result(tuple(argv), NOT_RUNNABLE, "", f"cannot start {argv[0]}: {error.strerror}")


@contextlib.contextmanager
def _forwarding_interrupts(process: subprocess.Popen[str]) -> Iterator[None]:
    """When it is left early, the child's input ends, then it is asked once to stop, as by Ctrl-C; both with a grace."""
    try:
        yield
    except subprocess.TimeoutExpired:
        raise
    except BaseException:
        try:
            # A client that is asked to stop leaves at once; at the end of its input it waits for its program.
            process.communicate(timeout=INTERRUPT_GRACE_SECONDS if process.stdin else 0)
        except (subprocess.TimeoutExpired, ValueError):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            _end(process, INTERRUPT_GRACE_SECONDS)
        raise


def _end(process: subprocess.Popen[str], grace: float = 0.0) -> None:
    """Wait `grace` seconds for the child, then kill its whole group; take its last output."""
    try:
        process.communicate(timeout=grace)
    except (subprocess.TimeoutExpired, ValueError):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
