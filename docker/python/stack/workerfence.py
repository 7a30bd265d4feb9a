"""That two executions of a job never work at a time, though the one may know nothing of the other.

A worker that Redis does not hear of may go on computing while its job is given to another. Both have the runs' folder,
so an execution holds a lock there from its start to its end, and a later one waits for it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

# Not in the run's folder: some jobs remove that, or all that is in it.
FOLDER = Path(os.environ.get("WC1_DIR", "").strip() or "/wc1", ".rq")


class Outcome:
    """What an execution leaves for a later one, in the file that it locks."""

    def __init__(self, file: BinaryIO | None) -> None:
        self.file = file

    def read(self) -> tuple[Any] | None:
        """Return the result of an earlier execution, as the one member of a tuple; None if there is none."""
        with suppress(ValueError, KeyError, TypeError):
            return (json.loads(self.file.read() if self.file else "")["result"],)
        return None

    def write(self, result: Any) -> None:
        """Keep the result if JSON gives it back as it is: whoever can write here may not choose code to be run."""
        with suppress(OSError, ValueError, TypeError):
            text = json.dumps({"result": result})
            if self.file and json.loads(text)["result"] == result:
                self.file.truncate(0)
                self.file.write(text.encode())
                self.file.flush()
                os.fsync(self.file.fileno())


@contextmanager
def alone(name: str, waiting: Callable[[str], None]) -> Iterator[Outcome]:
    """Hold the lock of a job (its id) or of a queue (`queue NAME`), waiting for whoever holds it.

    waiting: is told once why it takes time, or why nothing is locked: where the folder can't be written to.
    """
    try:
        file = _locked(FOLDER / quote(name, safe=""), waiting)
    except OSError as error:
        waiting(f"can't be fenced: {error}")
        yield Outcome(None)
        return
    with file:
        yield Outcome(file)


def forget(name: str) -> None:
    """Remove the lock's file: the job has ended."""
    with suppress(OSError):
        (FOLDER / quote(name, safe="")).unlink()


def _locked(path: Path, waiting: Callable[[str], None]) -> BinaryIO:
    path.parent.mkdir(exist_ok=True)
    while True:
        file = path.open("a+b")
        file.seek(0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting("waits: an earlier execution has not ended yet")
            fcntl.flock(file, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                return file
        file.close()  # its holder ended, and has removed it
