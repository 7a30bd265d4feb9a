"""What tests of loads share: dumps of every form, the load of one, and whether two databases are the same."""

from __future__ import annotations

import difflib
import os
import subprocess
from pathlib import Path
from typing import Any

from wepp_backup import load, row_counts
from wepp_backup.dump_file import open_dump, unwrapped
from wepp_backup.events import Reporter
from wepp_backup.server import Server, Session, conninfo, execute
from wepp_backup.staging import Lock, Staging, locale_of
from wepp_backup.verify import verify

FORMS = {
    "custom": (["-Fc"], 2), "custom, zstd": (["-Fc", "-Zzstd:1"], 4), "directory": (["-Fd", "-Zlz4"], 2),
    "one job": (["-Fc"], 1), "tar": (["-Ft"], 3), "plain": (["-Fp"], 1), "cleaning": (["-Fc", "--clean"], 2),
    "INSERTs": (["-Fc", "--inserts"], 2), "by the root": (["-Fc", "--load-via-partition-root"], 2),
}  # fmt: skip


def dumped(server: Server, path: Path, *options: str, database: str = "wepppy") -> Path:
    """Dump a database as pg_dump does with the options; return the path."""
    command = ["pg_dump", *options, f"--file={path}", f"--dbname={conninfo(database)}"]
    subprocess.run(command, env=os.environ | server.environment(), check=True)
    return path


def loaded(
    lock: Lock, path: Path, report: Reporter, jobs: int = 2, **more: Any
) -> tuple[Staging, dict[str, int]]:
    """Load a dump into a new staging database; return that and the rows it holds by table."""
    made = Staging.create(lock, locale_of(lock.session, "wepppy"))
    with unwrapped(open_dump(path), report) as dump:
        contents = verify(dump, report)
        load.check(lock, dump, contents)
        load.load(made, dump, contents, jobs, report, **more)
    with made.connect() as inside:
        return made, row_counts.count(inside).tables


def text_of(server: Server, database: str, *options: str) -> list[str]:
    """The database as SQL, without the words that pg_dump makes up anew each time."""
    done = subprocess.run(
        ["pg_dump", *options, conninfo(database)],
        env=os.environ | server.environment(),
        check=True,
        stdout=subprocess.PIPE,
    )
    return [
        line
        for line in done.stdout.decode().split("\n")
        if not line.startswith(("\\restrict", "\\unrestrict"))
    ]


def require_equal(server: Server, first: str, second: str) -> None:
    difference = list(difflib.unified_diff(text_of(server, first), text_of(server, second), lineterm="", n=0))
    assert difference == [], "\n".join(difference[:40])


def run(session: Session, statements: str) -> None:
    execute(session, "SET search_path = public")
    execute(session, statements)
