"""Run a command that ends when its caller is gone.

    attended.py COMMAND [ARGUMENT...]

Standard input says that the caller is there: it ends with the client of `docker compose exec`, however that ends, while
the command itself would run on in the container (moby/moby#9098). The command is then interrupted as by Ctrl-C, and
killed when it does not end by itself. It reads an empty input. The exit status is the command's, 143 when it was ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from types import FrameType

# What a command gets to end by itself; short enough for the caller to wait for it.
GRACE_SECONDS = 5.0
ENDED = 143
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class LeftError(Exception):
    """The caller is gone, or the container is being stopped."""


def main(command: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    for number in SIGNALS:
        signal.signal(number, _leave)
    # A signal that comes while the command is being started waits until it is known whom to end.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    # A process group of its own: what the command starts ends with it.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_let_signals_in
    )
    try:
        _let_signals_in()
        threading.Thread(target=_watch, daemon=True).start()
        status = process.wait()
    except LeftError:
        _end(process)
        return ENDED
    return status if status >= 0 else 128 - status


def _let_signals_in() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _watch() -> None:
    with contextlib.suppress(OSError):
        while os.read(sys.stdin.fileno(), 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


def _leave(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise LeftError


def _end(process: subprocess.Popen[bytes]) -> None:
    # Killed in the end: what the command has left of its group, too.
    for number, seconds in ((signal.SIGINT, GRACE_SECONDS), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: attended.py COMMAND [ARGUMENT...]")
    sys.exit(main(sys.argv[1:]))
