"""What the queue `fork-archive` and the scheduler do with whole runs."""

from __future__ import annotations

import shutil
import time
import zipfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from wepppy.nodb.redis_prep import RedisPrep
from wepppy.nodb.status_messenger import StatusMessenger
from wepppy.weppcloud.utils.helpers import get_wd


def archive_rq(runid: str, comment: str = "") -> str:
    """Pack a run into `archives/<runid>.<time>.zip` of its own folder; return the file's name."""
    folder = Path(get_wd(runid))
    archives = folder / "archives"
    archives.mkdir(exist_ok=True)
    name = f"{runid}.{datetime.now(UTC):%Y%m%d%H%M%S%f}.zip"
    files = sorted(file for file in folder.rglob("*") if file.is_file() and archives not in file.parents)
    partial = archives / f".{name}.part"
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = comment.encode()
        for file in files:
            archive.write(file, file.relative_to(folder))
    partial.rename(archives / name)
    RedisPrep(str(folder)).set("archive:job_id", "")
    StatusMessenger.publish(f"{runid}:archive", f"COMPLETED {name}: {len(files)} files")
    return name


def fork_rq(runid: str, new_runid: str) -> str:
    """Copy a run's folder to that of a new one; return the new run's id."""
    target = Path(get_wd(new_runid))
    shutil.copytree(
        get_wd(runid), target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("archives", "rq.log")
    )
    StatusMessenger.publish(f"{runid}:fork", f"COMPLETED {new_runid}")
    return new_runid


def gc_runs_rq(root: str = "/wc1/runs", limit: int = 200, dry_run: bool = False) -> list[str]:
    """Remove runs below `root` whose file `TTL` holds a moment that has passed; return their names."""
    removed = []
    for marker in sorted(Path(root).glob("*/*/TTL")):
        if len(removed) < limit and float(marker.read_text(encoding="utf-8")) < time.time():
            if not dry_run:
                shutil.rmtree(marker.parent)
            removed.append(marker.parent.name)
    return removed


def compile_dot_logs_rq(root: str = "/wc1/runs") -> dict[str, int]:
    """Return how many lines the `rq.log` of each run below `root` has."""
    lines: Counter[str] = Counter()
    for log in Path(root).glob("*/*/rq.log"):
        lines[log.parent.name] = len(log.read_text(encoding="utf-8").splitlines())
    return dict(lines)
