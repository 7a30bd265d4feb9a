"""The folder of backups: names, what lies beside a dump, which dumps there are. Needs the standard library alone.

    NAME.dump               written whole before it got this name
    NAME.dump.sha256        its checksum, as sha256sum writes it
    NAME.dump.json          its manifest
    NAME.dump.globals.sql   roles and settings of the whole server, with password hashes
    NAME.dump.drilled       its last restore test

A dump is verified when checksum and manifest lie beside it: the dump is renamed last. A dot begins what is unfinished.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from wepp_backup.events import Problem, refuse

if TYPE_CHECKING:
    from wepp_backup.row_counts import Counts

FORMAT = 1
CHECKSUM, MANIFEST, GLOBALS, DRILLED = COMPANIONS = (".sha256", ".json", ".globals.sql", ".drilled")
ATTEMPT, ATTEMPT_BY_HAND = ".last-attempt.json", ".last-attempt-by-hand.json"
RESTORE_TEST, RESTORE_TEST_DUE = ".last-drill.json", ".drill-try.json"
LATEST = "latest"
# How much later than now a backup may be before its moment is not believed: clocks are set by seconds, or wrong.
AHEAD = timedelta(minutes=1)
# The moment in a name is UTC: a name means the same in summer and in winter.
TIME_FORMAT = "%Y%m%d-%H%M%S"
NAMED = re.compile(r"-(manual-)?(\d{8}-\d{6})\.dump")


class Manifest(NamedTuple):
    """What a dump holds, counted in the snapshot that it was made of (created: UTC)."""

    created: datetime
    format: int = FORMAT
    name: str = ""
    database: str = ""
    seconds: float = 0.0
    bytes: int = 0
    database_bytes: int = 0
    server_version: str = ""
    client_version: str = ""
    sha256: str = ""
    revision: str = ""  # of the schema (Alembic), "" where there is none
    extensions: dict[str, str] = {}  # noqa: RUF012 - nobody changes one
    roles: list[str] = []  # noqa: RUF012 - that own something, or hold a grant
    rows: int = 0
    tables: dict[str, int] = {}  # noqa: RUF012
    views: dict[str, int] = {}  # noqa: RUF012
    large_objects: int = 0
    database_properties: dict[str, Any] | None = None
    collapse_accepted: bool = False  # see retention.py
    not_restorable: str = ""  # why its restore test failed

    @property
    def counts(self) -> Counts:
        """Return the rows that the dump holds."""
        from wepp_backup.row_counts import Counts

        return Counts(self.tables, self.views, self.large_objects)


class RestoreTest(NamedTuple):
    """How a restore test ended; problem: "" when all was equal; name: of the dump, in the record of the last one."""

    drilled: datetime
    ok: bool = False
    seconds: float = 0.0
    rows: int = 0
    server_version: str = ""
    problem: str = ""
    name: str = ""


class RestoreTestDue(NamedTuple):
    """Since when a restore test is tried, and why none could be made so far."""

    since: datetime
    problem: str = ""


class Attempt(NamedTuple):
    """The last attempt to make a backup; ended: None when it is under way, or was killed."""

    started: datetime
    ended: datetime | None = None
    ok: bool = False
    name: str = ""
    problem: str = ""


Record = TypeVar("Record", Manifest, RestoreTest, RestoreTestDue, Attempt)


class Entry(NamedTuple):
    """A dump in the folder: of this program (ours), of the operators' command (manual), or somebody else's."""

    name: str
    path: str
    created: datetime
    bytes: int = 0
    manual: bool = False
    ours: bool = False
    verified: bool = False  # checksum and manifest are there and fit
    manifest: Manifest | None = None
    drill: RestoreTest | None = None

    @property
    def is_backup(self) -> bool:
        """Return True for a verified one of this program."""
        return self.ours and self.verified

    @property
    def is_generation(self) -> bool:
        """Return True for a backup to rely on: not known to be impossible to restore."""
        return self.is_backup and not (self.manifest and self.manifest.not_restorable)

    @property
    def is_empty(self) -> bool:
        """Return True for the backup of a database that held nothing at all."""
        found = self.manifest
        return found is not None and not (found.tables or found.views or found.large_objects)

    def is_ahead(self, now: datetime) -> bool:
        """Return True for a backup from the future: the clock that it was made by was set back since."""
        return self.created > now + AHEAD


def newest(entries: list[Entry], now: datetime) -> Entry | None:
    """Return the newest of entries that begin with the newest. One from the future counts if there is no other."""
    past = [each for each in entries if not each.is_ahead(now)]
    return next(iter(past or entries[-1:]), None)


class Catalog:
    """The folder of the backups of one database."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder, self.database = folder, database
        # A database's name must not leave the folder or hide its file.
        self._safe = re.sub(r"[/\0\n]", "_", database).lstrip(".")

    def path(self, name: str) -> Path:
        """Return the path of a name in the folder."""
        return self.folder / name

    def free_name(self, at: datetime) -> str:
        """Return the name of a dump of that moment, or of the next second whose name nobody has."""
        while os.path.lexists(
            self.path(name := f"{self._safe}-{at.astimezone(UTC).strftime(TIME_FORMAT)}.dump")
        ):
            at += timedelta(seconds=1)
        return name

    def entries(self) -> list[Entry]:
        """Return every dump, the newest first. Raise Problem when the folder cannot be read."""
        found = []
        for name in self._names():
            if name.endswith(".dump") and not name.startswith("."):
                with suppress(FileNotFoundError):  # removed meanwhile
                    found.append(self._entry(name))
        return sorted(found, key=lambda each: (each.created, each.name), reverse=True)

    def _names(self) -> list[str]:
        try:
            return [each.name for each in os.scandir(self.folder)]
        except OSError as error:
            raise unusable(self.folder, error) from error

    def _entry(self, name: str) -> Entry:
        path = self.path(name)
        status, manifest = path.stat(), read_manifest(path)
        at, manual = self._moment(name)
        ours = at is not None and not manual
        # The size is compared, too: it costs nothing and shows a dump that was cut after it was verified.
        fits = manifest is not None and path.is_file() and manifest.bytes == status.st_size
        verified = fits and Path(f"{path}{CHECKSUM}").exists()
        if not at or manual:
            at = datetime.fromtimestamp(status.st_mtime, UTC)
        elif manifest:
            at = manifest.created
        drill = _read(Path(f"{path}{DRILLED}"), RestoreTest)
        return Entry(name, str(path), at, status.st_size, manual, ours, verified, manifest, drill)

    def _moment(self, name: str) -> tuple[datetime | None, bool]:
        """Return the moment in a name, None in somebody else's; and whether the operators' command gives such."""
        found = NAMED.fullmatch(name, len(self._safe)) if name.startswith(self._safe) else None
        with suppress(ValueError):
            if found:
                return datetime.fromisoformat(f"{found[2].replace('-', 'T')}Z"), bool(found[1])
        return None, False

    @contextmanager
    def lock(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Be the only one that writes into the folder; call `waiting` where another has to be waited for."""
        try:
            file = os.open(self.path(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise unusable(self.folder, error) from error
        with os.fdopen(file):  # the kernel lets go of the lock when the process ends, however it ends
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def hold(self, path: Path) -> Iterator[None]:
        """Keep a dump from being pruned while it is planned with, read or restored. Raise Problem when it is gone."""
        with ExitStack() as held:
            with suppress(OSError):  # a folder, or another user's dump by hand
                fcntl.flock(held.enter_context(path.open("rb")), fcntl.LOCK_SH)
            if not path.exists():
                raise refuse(f"there is no dump {path}", "`invoke db-backups` lists the dumps there are")
            yield

    def remove(self, entry: Entry) -> bool:
        """Remove a dump and its companions, unless somebody holds it; return whether it is gone. Raise Problem."""
        with ExitStack() as held:
            try:
                file = held.enter_context(Path(entry.path).open("rb"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:
                pass  # another user's dump by hand
            # The dump first: companions alone are swept, a dump alone would look unverified.
            self._unlink(*(entry.name + suffix for suffix in ("", *COMPANIONS)))
            sync(self.folder)
        return True

    def sweep(self) -> list[str]:
        """Remove what killed runs left: files in the making, companions without a dump. To be called with the lock."""
        removed = [name for name in self._names() if self._is_leftover(name)]
        self._unlink(*removed)
        return removed

    def _is_leftover(self, name: str) -> bool:
        if name.startswith("."):
            return name.startswith(f".{self._safe}-") and name.endswith(".partial")
        stem, dump, companion = name.rpartition(".dump")
        at, manual = self._moment(stem + dump)
        return bool(at and not manual and companion in COMPANIONS and not self.path(stem + dump).exists())

    def _unlink(self, *names: str) -> None:
        try:
            for name in names:
                self.path(name).unlink(missing_ok=True)
        except OSError as error:
            raise unusable(self.folder, error) from error

    def read(self, name: str, kind: type[Record]) -> Record | None:
        """Return a record of the schedule, such as ATTEMPT; None when there is none."""
        there = sorted(filter(Path.exists, self._places(name)), key=lambda path: path.stat().st_mtime_ns)
        return _read(there[-1], kind) if there else None

    def write(self, name: str, content: Any) -> None:
        """Write a record of the schedule. Raise OSError."""
        folder, container = self._places(name)
        try:
            write_json(folder, content)
        except OSError:  # that disk may be full: in this container at least it is known
            write_json(container, content)

    def _places(self, name: str) -> tuple[Path, Path]:
        return self.path(name), Path(os.environ.get("TMPDIR", "/tmp"), name)  # noqa: S108 - the container's own

    def remember_restore_test(self, path: Path, outcome: RestoreTest) -> None:
        """Record how the restore test of a dump in the folder ended, also in its manifest. Raise OSError."""
        write_json(Path(f"{path}{DRILLED}"), outcome)
        manifest = read_manifest(path)
        if manifest and manifest.not_restorable != outcome.problem:
            write_json(Path(f"{path}{MANIFEST}"), manifest._replace(not_restorable=outcome.problem))
        self.write(RESTORE_TEST, outcome._replace(name=path.name))


def read_manifest(dump: Path) -> Manifest | None:
    """Return the manifest beside a dump, anywhere on disk; None when there is none that this program can read."""
    found = _read(Path(f"{dump}{MANIFEST}"), Manifest)
    return found if found and found.format == FORMAT else None


def _read(path: Path, kind: type[Record]) -> Record | None:
    try:
        content = json.loads(path.read_bytes())
        known = {name: content[name] for name in kind._fields if content.get(name) is not None}
        for name in known.keys() & {"created", "drilled", "since", "started", "ended"}:
            known[name] = datetime.fromisoformat(known[name]).astimezone(UTC)
        return kind(**known)
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def as_json(content: Any) -> Any:
    """Return one of the records above as JSON has it, without what is None."""
    if isinstance(content, datetime):
        return content.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(content, tuple) and hasattr(content, "_asdict"):
        return {name: as_json(value) for name, value in content._asdict().items() if value is not None}
    return content


def write_json(path: Path, content: Any) -> None:
    """Write a record. Raise OSError."""
    write_file(path, (json.dumps(as_json(content), indent=2) + "\n").encode())


def write_file(path: Path, content: bytes) -> None:
    """Write a file under another name, sync it and rename it: there is never half of it. Raise OSError."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Make a file's contents, or a folder's names, survive a power cut. Raise OSError."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def unusable(folder: Path, error: OSError) -> Problem:
    """Return the problem of a folder of backups that cannot be used."""
    fix = "see whether its disk is well, has room and is mounted for writing"
    if isinstance(error, FileNotFoundError | PermissionError):
        fix = "see that the folder is there and belongs to the user in .env (UID, GID)"
    why = (error.strerror or str(error)).lower()
    return refuse(f"the folder of backups {folder} cannot be used: {why}", fix)
