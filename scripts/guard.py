"""Owns the watcher that outlives a database task: a process of its own that, when the task dies without a word,
finishes what it left - starts the containers it had stopped, takes back a half-done change of the password.

    python -m scripts.guard     one line of JSON on standard input: the plan; then `done`, or the end of the input

The pipe ends with the task however the task ends, kill -9 included. The watcher is in a session of its own, so closing
the terminal or Ctrl-C does not reach it. What it does is written to recovery.log in the data folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from scripts import journal
from scripts.compose import Compose
from scripts.envfile import PRIVATE

DONE = "done"
LOG = "recovery.log"
# The watcher ends as soon as it hears the word; nobody waits for one that does not.
END_SECONDS = 5.0
# Another task may have been quicker to take the lock and finish; longer than that no task holds it.
LOCK_SECONDS = 24 * 3600.0


@contextlib.contextmanager
def watching(compose: Compose) -> Iterator[None]:
    """A watcher is there while the block runs, and is told when the block is left with nothing under way any more."""
    folder = compose.data_dir
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE)
    try:
        watcher = subprocess.Popen(
            [sys.executable, "-m", "scripts.guard"],
            cwd=Path(__file__).resolve().parents[1],
            env={**os.environ, **compose.environment},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    finally:
        os.close(log)
    assert watcher.stdin is not None  # noqa: S101 - it was asked for
    _say(watcher.stdin, json.dumps({"root": str(compose.root), "here": str(Path.cwd())}))
    try:
        yield
    finally:
        done = journal.read(compose) is None
        if done:
            _say(watcher.stdin, DONE)
        with contextlib.suppress(OSError):
            watcher.stdin.close()
        if done:
            with contextlib.suppress(subprocess.TimeoutExpired):
                watcher.wait(END_SECONDS)


def _say(pipe: IO[str], line: str) -> None:
    with contextlib.suppress(OSError):
        pipe.write(f"{line}\n")
        pipe.flush()


def main(words: IO[str]) -> int:
    """Waits for the end of `words`; returns the exit status."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    plan = words.readline()
    rest = words.read()
    if not plan.endswith("\n") or DONE in rest.splitlines():
        return 0
    return _finish(json.loads(plan))


def _finish(plan: dict[str, Any]) -> int:
    # Only now: a watcher that has nothing to do shall cost next to nothing.
    from scripts import lock, recovery
    from scripts.console import Console
    from scripts.errors import StackError, report
    from scripts.runner import SystemRunner

    root = Path(plan["root"])
    # A relative WEPP_ENV_FILE is meant from where the task was started.
    os.chdir(plan["here"])
    print(time.strftime("%Y-%m-%d %H:%M:%S %z: a task ended without a word"), flush=True)
    compose = Compose(root, SystemRunner(root, echo_to=sys.stdout))
    try:
        with lock.sole(compose, patience=LOCK_SECONDS, purpose=lock.RECOVERY):
            recovery.recover(compose, Console(out=sys.stdout, err=sys.stdout), seen=False)
    except StackError as error:
        return report(error, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.stdin))
