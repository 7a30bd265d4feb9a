"""A dump on disk: of which form it is, what is wrapped around it, and its bytes. Only reads.

A DumpFile has a kind: `custom` (pg_dump -Fc: one file that begins with PGDMP), `directory` (-Fd: a folder with
toc.dat), `tar` (-Ft) or `plain` (SQL). The file itself may have been compressed afterwards, even twice.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from wepp_backup import programs
from wepp_backup.catalog import CHECKSUM, MANIFEST
from wepp_backup.events import Problem, Reporter, refuse

Stream = IO[bytes]
Entries = list[bytes]  # lines of pg_restore --list
CUSTOM, DIRECTORY, TAR, PLAIN = "custom", "directory", "tar", "plain"
MAGIC = b"PGDMP"
TITLE = b"-- PostgreSQL database dump"
CLUSTER_TITLE = b"-- PostgreSQL database cluster dump"
TAR_MAGIC, TAR_MAGIC_AT = b"ustar", 257  # POSIX.1-1988; pg_dump's own begin with the member toc.dat
HEAD = 1024  # bytes by which a form is recognized
CHUNK = 1 << 20
MOST_LAYERS = 4
IN_PYTHON = (
    "import {0}, shutil, sys; shutil.copyfileobj({0}.open(sys.stdin.buffer), sys.stdout.buffer, 1 << 18)"
)
# Whole-file compressions by name: how they begin, and the program that takes them off. The image has no bzip2 and xz.
COMPRESSIONS = {
    "gzip": (b"\x1f\x8b", ["gzip", "-dc"]),
    "zstd": (b"\x28\xb5\x2f\xfd", ["zstd", "-dcq"]),
    "lz4": (b"\x04\x22\x4d\x18", ["lz4", "-dcq"]),
    "bzip2": (b"BZh", [sys.executable, "-c", IN_PYTHON.format("bz2")]),
    "xz": (b"\xfd7zXZ\x00", [sys.executable, "-c", IN_PYTHON.format("lzma")]),
}
UNSUPPORTED = re.compile(r"unsupported version \(([\d.]+)\) in file header")
OTHER_DUMP = "choose another dump: `invoke db-backups` lists them"


@dataclass(frozen=True)
class DumpFile:
    """One dump. path: for people; archive: what pg_restore is given, another file while a wrapped one is unwrapped."""

    path: Path
    kind: str
    archive: Path
    layers: tuple[str, ...] = ()  # whole-file compressions, the outermost first
    bytes: int = 0  # on disk
    checksummed: bool = False  # its checksum lies beside it, in a file of that name or in its manifest

    @property
    def compression(self) -> str:
        """What is wrapped around the whole file: "" for nothing, or names such as `gzip`."""
        return ", ".join(self.layers)

    @contextmanager
    def text(self) -> Iterator[Stream]:
        """Open the file's bytes without what is wrapped around them. Read to the end, or raise.

        Raise Problem at the end of the block when it is damaged or cannot be read.
        """
        with ExitStack() as opened:
            try:
                streams: list[Any] = [opened.enter_context(self.archive.open("rb"))]
                for layer in self.layers:
                    program = COMPRESSIONS[layer][1]
                    child = programs.running(program, stdin=streams[-1], stdout=subprocess.PIPE)
                    streams.append(opened.enter_context(child).stdout)
                yield streams[-1]
                opened.close()
            except OSError as error:
                raise unreadable(self.path, error) from error
            except programs.ProgramError as error:
                raise unfit(self.path, error) from error

    @contextmanager
    def sql(self, *options: str, entries: Entries | None = None) -> Iterator[Any]:
        """Run the image's own pg_restore on an archive; its output is read in the block. Raise Problem.

        entries: what alone is read.
        """
        command, cut = ["pg_restore", *options, str(self.archive)], None
        with tempfile.TemporaryFile() as listed:
            if entries is not None:
                listed.write(b"\n".join(entries))
                listed.flush()
                command.append("--use-list=/dev/stdin")
            try:
                with programs.running(command, stdin=listed, stdout=subprocess.PIPE) as child:
                    try:
                        yield child
                    except Problem as problem:
                        if child.stdout and child.stdout.read(1):
                            raise
                        cut = problem  # pg_restore may know better why its text has ended
            except programs.ProgramError as error:
                if version := UNSUPPORTED.search(error.stderr):
                    raise refuse(
                        f"{self.path} is an archive of version {version[1]}, written by a newer pg_dump than the "
                        "pg_restore of this image reads",
                        "restore it with a stack whose POSTGRES_IMAGE is of that major, or dump again with an older "
                        "pg_dump",
                    ) from error
                raise unfit(self.path, error) from error
        if cut:
            raise cut


class _EnoughError(Exception):
    """The rest of a stream is not wanted."""


def open_dump(path: Path) -> DumpFile:
    """Look at a dump. Raise Problem with the reason when it is none."""
    try:
        is_directory = path.is_dir()
        files = [path] if not is_directory else [each for each in path.rglob("*") if each.is_file()]
        size = sum(each.stat().st_size for each in files)
        head = (path / "toc.dat").read_bytes()[:HEAD] if path / "toc.dat" in files else b""
    except OSError as error:
        raise unreadable(path, error) from error
    is_checksummed = Path(f"{path}{CHECKSUM}").exists() or (not is_directory and manifest_sum(path) != "")
    dump = DumpFile(path, DIRECTORY if is_directory else PLAIN, path, (), size, is_checksummed)
    if is_directory:
        if not head:
            raise refuse(
                f"{path} is a folder without toc.dat, so no dump of Postgres", "name the dump itself"
            )
        if not head.startswith(MAGIC):
            raise damaged(path, "its toc.dat does not begin as one")
        return dump
    if not path.is_file():
        raise refuse(f"{path} is neither a file nor a folder", "name a file or a folder that pg_dump wrote")
    if not size:
        raise refuse(f"{path} is empty", OTHER_DUMP)
    while True:
        head = _head(dump)
        layer = next((name for name, (magic, _) in COMPRESSIONS.items() if head.startswith(magic)), "")
        if not layer or len(dump.layers) == MOST_LAYERS:
            return replace(dump, kind=_kind(path, head))
        dump = replace(dump, layers=(*dump.layers, layer))


def _kind(path: Path, head: bytes) -> str:
    if head.startswith(MAGIC):
        return CUSTOM
    if head[TAR_MAGIC_AT:].startswith(TAR_MAGIC):
        if head.startswith(b"toc.dat\0"):
            return TAR
        fix = f"unpack it (`tar -xf {path.name}`) and name the dump that was in it"
        raise refuse(f"{path} is a tar of files, not one that pg_dump wrote", fix)
    if CLUSTER_TITLE in head:
        fix = "dump the one database: `pg_dump -Fc`"
        raise refuse(f"{path} is of pg_dumpall: it holds a whole server", fix)
    if TITLE in head:
        return PLAIN
    fix = "name a dump that pg_dump wrote (custom, directory, tar or plain SQL)"
    raise refuse(f"{path} is not a dump of Postgres", fix)


def _head(dump: DumpFile) -> bytes:
    head = b""
    with suppress(_EnoughError), dump.text() as stream:
        head = stream.read(HEAD)
        if len(head) == HEAD:
            raise _EnoughError  # nothing waits for a program that cannot write on
    return head


def manifest_sum(path: Path) -> str:
    """Return the checksum that the manifest beside a dump names, of whatever format; "" where there is none."""
    try:
        found = str(json.loads(Path(f"{path}{MANIFEST}").read_bytes())["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return found if len(found) == 2 * hashlib.sha256().digest_size else ""


def sha256(path: Path, on_read: Callable[[int], None] = lambda _: None) -> str:
    """Return the SHA-256 of a file in hexadecimal; `on_read` gets the number of bytes read so far. Raise OSError."""
    found, done = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
            done += len(chunk)
            on_read(done)
    return found.hexdigest()


@contextmanager
def unwrapped(dump: DumpFile, report: Reporter) -> Iterator[DumpFile]:
    """Give an archive that was compressed as a whole without that: `archive` is a file that is gone after the block.

    Any other dump is given as it is. Raise Problem when it is damaged, or nowhere is room for it.
    """
    if not dump.layers or dump.kind == PLAIN:
        yield dump
        return
    report.message(f"{dump.path.name} is taken out of {dump.compression} before it is read")
    by_hand = " | ".join(f"{layer} -dc" for layer in dump.layers)
    fix = f"unwrap it first: `{by_hand} <{dump.path.name} >NAME`"
    # Without a name, so that nothing stays behind even of a process that is killed; its programs open it by descriptor.
    with ExitStack() as opened:
        with dump.text() as stream:
            try:
                file = opened.enter_context(_temporary_file(dump.path.parent))
                while chunk := stream.read(CHUNK):
                    while chunk:
                        chunk = chunk[file.write(chunk) :]
            except OSError as error:
                raise refuse(f"there is no room to take {dump.compression} off {dump.path}", fix) from error
        yield replace(dump, archive=Path(f"/proc/{os.getpid()}/fd/{file.fileno()}"), layers=())


def _temporary_file(beside: Path) -> IO[Any]:
    """Open a file where most room is. Raise OSError."""
    places = [beside, Path(tempfile.gettempdir()), Path(os.environ.get("BACKUP_DIR", "") or beside)]
    for place in sorted(filter(Path.is_dir, places), key=lambda each: -shutil.disk_usage(each).free):
        with suppress(OSError):
            return tempfile.TemporaryFile(dir=place, buffering=0)
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def damaged(path: Path, why: str) -> Problem:
    """Return the problem of a dump that is not as it was written."""
    return refuse(f"{path} is damaged: {why}", OTHER_DUMP)


def unreadable(path: Path, error: OSError) -> Problem:
    """Return the problem of a dump that cannot be read."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return refuse(f"there is no dump {path}", "`invoke db-backups` lists the dumps there are")
    if error.errno in (errno.EACCES, errno.EPERM):
        fix = "let its owner give you the right to read it: chmod, chown"
        return refuse(f"{path} may not be read by you", fix)
    why = (error.strerror or str(error)).lower()
    return refuse(f"{path} cannot be read: {why}", "see whether its disk is well")


def unfit(path: Path, error: programs.ProgramError) -> Problem:
    """Return the problem of a dump that a program could not read."""
    # What a damaged dump makes of a program may be anything; but a disk that fails says so.
    for number in (errno.EIO, errno.ESTALE):
        if os.strerror(number).lower() in error.stderr.lower():
            return unreadable(path, OSError(number, os.strerror(number)))
    last = error.stderr.strip().split("\n")[-1]
    return damaged(path, str(error) if error.program == "pg_restore" or not last else last)
