"""Reads a whole dump: every byte against its checksum, every row up to the end mark of its table.

`pg_restore --list` would prove nothing: it reads the table of contents, which stands at the front. And pg_restore
itself does not notice when a file of a directory dump was cut that zstd or lz4 packed, or that is not packed.
"""

from __future__ import annotations

import os
import re
import tarfile
from argparse import ArgumentParser, Namespace
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from wepp_backup import dump_file, programs
from wepp_backup.app import App
from wepp_backup.catalog import CHECKSUM, Manifest, read_manifest
from wepp_backup.dump_file import DIRECTORY, PLAIN, TAR, DumpFile, damaged, open_dump, unfit, unwrapped
from wepp_backup.events import Problem, Reporter
from wepp_backup.plain_sql import COLUMNS, NAME, Script, name_of, unquoted
from wepp_backup.row_counts import Counts

BLOCK = 512  # bytes, of a tar
TAR_END = bytes(2 * BLOCK)  # POSIX.1-1988
FILES_AT_ONCE = 200
# How to test that a file's compression is whole, by the ending of its name.
TESTS = {".gz": ["gzip", "-tq"], ".zst": ["zstd", "-tq"], ".lz4": ["lz4", "-tqm"]}
SUM_LINE = re.compile(r"([0-9a-f]{64}) [ *]?(.+)")
DATABASE = re.compile(rb"(?m)^; +dbname: (.*)$")
SERVER_VERSION = re.compile(rb"(?m)^-- Dumped from database version (.*)$")
CLIENT_VERSION = re.compile(rb"(?m)^-- Dumped by pg_dump version (.*)$")
NO_ENTRIES = re.compile(rb"(?m)^; +TOC Entries: 0$")
TABLE_DATA = re.compile(rb"(?m)^\d+; \d+ \d+ TABLE DATA ")
TABLE = re.compile(rb"CREATE (?:UNLOGGED )?TABLE (?:(%b)\.)?(%b) " % (NAME, NAME))
# The last part is there when one statement brings several rows.
INSERT = re.compile(
    rb"INSERT INTO (?:(%b)\.)?(%b)%b(?: OVERRIDING SYSTEM VALUE)?( VALUES\n)?" % (NAME, NAME, COLUMNS)
)
EXTENSION = re.compile(rb"CREATE EXTENSION (?:IF NOT EXISTS )?(%b)" % NAME)
ROLE = re.compile(
    rb"(?s)(?:ALTER .* OWNER TO |(?:GRANT|ALTER DEFAULT PRIVILEGES) .* TO |SET SESSION AUTHORIZATION )"
    rb"(%b)(?: WITH GRANT OPTION)?;" % NAME
)


@dataclass(frozen=True)
class Contents:
    """What a dump holds, and what it needs of a server."""

    database: str = ""  # that was dumped; "" where a plain dump does not tell
    server_version: str = ""  # of the server that it was dumped from: "16.4 (Debian ...)"
    client_version: str = ""  # of the pg_dump that wrote it
    extensions: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()  # that it gives things to
    tables: frozenset[str] = frozenset()  # that it makes; none in a dump of data alone
    rows: dict[str, int] | None = field(default_factory=dict)  # by row_counts.table_name; None: not known
    large_objects: int = 0
    listing: bytes = b""  # what `pg_restore --list` says of an archive
    manifest: Manifest | None = None  # that lies beside it

    @property
    def database_bytes(self) -> int:
        """How large the database was that was dumped, 0 where nobody knows."""
        return self.manifest.database_bytes if self.manifest else 0

    @property
    def server_major(self) -> int | None:
        """The major of the server that it was dumped from, None where nobody knows."""
        found = re.match(r"\d+", self.server_version)
        return int(found[0]) if found else None


def verify(dump: DumpFile, report: Reporter, *, before_load: bool = False) -> Contents:
    """Read all of a dump and return what it holds. Raise Problem when it is damaged anywhere that can be told.

    before_load: whoever asks loads the dump next and then compares its rows with the manifest. The rows of an archive
    are not read here as well if its bytes are those of which the manifest says what they hold: they were counted when
    the dump was made, they are as they were, and the load counts them again.
    """
    manifest = read_manifest(dump.path)
    summed = _compare_sums(dump, report) if dump.checksummed else ""
    is_known = before_load and manifest and manifest.tables and summed and manifest.sha256 == summed
    with unwrapped(dump, report) as whole:
        if whole.kind == PLAIN:
            found = _read_plain(whole, report)
        else:
            found = _read_archive(whole, report, manifest if is_known else None)
    if manifest and found.rows is not None:
        held = {name: found.rows.get(name, 0) for name in manifest.tables}
        if unlike := manifest.counts.differences(Counts(held, {}, found.large_objects)):
            raise damaged(dump.path, f"it does not hold what its manifest says: {'; '.join(unlike[:3])}")
    return replace(found, manifest=manifest)


def differences(contents: Contents, counts: Counts) -> list[str]:
    """Return what a database that the dump was loaded into has unlike its manifest, or unlike the rows read in it."""
    if contents.manifest:
        return contents.manifest.counts.differences(counts)
    # Where rows come in at the root of partitions, nobody knows in which they are.
    if contents.rows is None or not contents.rows.keys() <= counts.tables.keys():
        return []
    held = {name: contents.rows.get(name, 0) for name in counts.tables}
    return Counts(held, {}, contents.large_objects).differences(counts)


def flags_of_verify(parser: ArgumentParser) -> None:
    """Add the flags of `verify`."""
    parser.add_argument("--dump", required=True, help="a path, or a name in the folder of backups")


def run_verify(app: App, flags: Namespace) -> None:
    """Read a whole dump and say what it is."""
    path = app.choose(flags.dump)
    with app.catalog.hold(path):
        dump = open_dump(path)
        found = verify(dump, app.report)
    answer = {each: getattr(dump, each) for each in ("kind", "compression", "bytes", "checksummed")}
    answer |= {each: getattr(found, each) for each in ("database", "server_version", "client_version")}
    rows = None if found.rows is None else sum(found.rows.values())
    answer |= {"dump": str(path), "extensions": found.extensions, "roles": found.roles, "rows": rows}
    app.report.result(answer, f"{path} is whole")


def count_rows(text: IO[bytes], path: Path) -> dict[str, int]:
    """Return the rows by table of SQL with COPY. Read it to its end; raise Problem when it is cut."""
    try:
        return _survey(Script(text, path)).rows or {}
    except Problem:
        while text.read(dump_file.CHUNK):
            pass  # whoever writes it must not wait for ever
        raise


def _read_plain(dump: DumpFile, report: Reporter) -> Contents:
    size = 0 if dump.layers else dump.bytes
    with dump.text() as text:
        script = Script(text, dump.path, lambda done: report.progress("reading", done, size))
        found = _survey(script)
        script.check_end()
    if script.is_translated:
        report.message(
            "its lines end with CR LF, as a terminal or another system has them; it is read as if with LF"
        )
    return replace(found, database=script.database)


def _read_archive(dump: DumpFile, report: Reporter, known: Manifest | None) -> Contents:
    """Read an archive through pg_restore, and what that does not notice by other means.

    known: says which rows it has; they are not read then.
    """
    files = sorted(dump.archive.iterdir()) if dump.kind == DIRECTORY else [dump.archive]
    with (dump.archive / "toc.dat" if dump.kind == DIRECTORY else dump.archive).open("rb") as file:
        head = file.read(dump_file.HEAD)
    if 0 < head.count(b"\n") == head.count(b"\r\n"):
        raise damaged(dump.path, "a terminal made CR LF of each LF (docker exec -t): dump it without -t")
    if dump.kind == DIRECTORY:
        _check_files(dump, files, report)
    if dump.kind == TAR:
        _check_tar(dump)
    with dump.sql("--list") as child:
        listing = child.stdout.read()
    if NO_ENTRIES.search(listing):
        raise damaged(dump.path, "it has no entries")
    size = sum(each.stat().st_size for each in files)
    with dump.sql("--file=-", *(["--schema-only"] if known else [])) as child:
        # The bytes that pg_restore has read, of however many files: proc(5).
        read = Path(f"/proc/{child.pid}/io")

        def show_progress(_: int) -> None:
            with suppress(OSError):  # it may have ended
                report.progress("reading", min(int(read.read_text().split()[1]), size - 1), size)

        found = _survey(script := Script(child.stdout, dump.path, show_progress))
        script.check_end()
    report.progress("reading", size, size)
    tables = len(TABLE_DATA.findall(listing))
    if known:
        roles = tuple(sorted({*found.roles, *known.roles}))
        found = replace(found, roles=roles, rows=known.tables, large_objects=known.large_objects)
    elif script.copies not in (0, tables):
        raise damaged(dump.path, f"{tables - script.copies} of its {tables} tables do not come to their end")
    return replace(found, database=_field(DATABASE, listing), listing=listing)


def _survey(script: Script) -> Contents:
    """Read SQL to its end; return what it holds and needs."""
    rows: Counter[str] = Counter()
    tables: set[str] = set()
    extensions: set[str] = set()
    roles: set[str] = set()
    created, filled, is_counted = 0, 0, True
    for statement in script.statements():
        if statement.startswith(b"INSERT "):
            insert = INSERT.match(statement)
            is_counted = is_counted and insert is not None and not insert[3]
            rows[name_of(insert[1], insert[2]) if insert else ""] += 1
        elif statement.startswith(b"COPY "):
            for _ in script.rows():
                pass
            rows[script.name] += script.rows_read
        elif statement.startswith(b"SELECT pg_catalog.lo_"):
            created += statement.startswith(b"create(", 21)
            filled += statement.startswith(b"open(", 21)
        elif table := TABLE.match(statement):
            tables.add(name_of(table[1], table[2]))
        elif extension := EXTENSION.match(statement):
            extensions.add(unquoted(extension[1]))
        elif statement.startswith((b"ALTER ", b"GRANT ", b"SET ")) and (role := ROLE.fullmatch(statement)):
            roles.add(unquoted(role[1]))
    if created != filled:
        raise damaged(script.path, f"it fills {filled} of its {created} large objects")
    versions = _field(SERVER_VERSION, script.title), _field(CLIENT_VERSION, script.title)
    named = tuple(sorted(extensions)), tuple(sorted(roles - {"PUBLIC", "DEFAULT"}))
    return Contents("", *versions, *named, frozenset(tables), dict(rows) if is_counted else None, created)


def _field(what: re.Pattern[bytes], text: bytes) -> str:
    found = what.search(text)
    return found[1].decode(errors="replace").strip() if found else ""


def _check_files(dump: DumpFile, files: list[Path], report: Reporter) -> None:
    """Refuse a directory of which a file was cut; what is not packed ends as pg_dump ends the rows of each table."""
    blobs = [each for each in files if each.name.startswith("blob_") and each.suffix == ".dat"]
    for each in files:
        if (each.suffix == ".dat" or not each.stat().st_size) and not each.name.startswith(("blob", "toc.")):
            with each.open("rb") as file:
                file.seek(max(each.stat().st_size - 2, 0))
                if file.read() != b"\n\n":
                    raise damaged(dump.path, f"its {each.name} was cut")
    for ending, test in TESTS.items():
        # An empty large object is an empty file, but for gzip.
        packed = [
            str(each) for each in files if each.suffix == ending and (each.stat().st_size or ending == ".gz")
        ]
        for first in range(0, len(packed), FILES_AT_ONCE):
            try:
                programs.run([*test, *packed[first : first + FILES_AT_ONCE]])
            except programs.ProgramError as error:
                raise unfit(dump.path, error) from error
    if blobs and not dump.checksummed:
        report.message(
            "its large objects are not packed and have no checksum: whether one was cut cannot be told"
        )


def _check_tar(dump: DumpFile) -> None:
    """Refuse a tar that was cut: pg_restore waits for ever at its end."""
    with dump.archive.open("rb") as file:
        try:
            tarfile.TarFile(fileobj=file).getmembers()
        except tarfile.TarError as error:
            raise damaged(dump.path, f"as a tar it cannot be read: {error}") from error
        if file.seek(-len(TAR_END), os.SEEK_END) % BLOCK or file.read() != TAR_END:
            raise damaged(dump.path, "it does not end as a tar does")


def _compare_sums(dump: DumpFile, report: Reporter) -> str:
    """Compare every file with the checksum file beside the dump, or the one file with its manifest's sum.

    Return the sum of the file, of a directory that of any of its files.
    """
    name, done, summed = dump.path.name, 0, ""
    wanted = {name: dump_file.manifest_sum(dump.path)}
    if (listed := Path(f"{dump.path}{CHECKSUM}")).exists():
        lines = [SUM_LINE.fullmatch(line) for line in listed.read_text(errors="replace").splitlines()]
        if not all(lines) or not lines:
            raise damaged(listed, "it is not a list of SHA-256 sums")
        sums = {found[2]: found[1] for found in lines if found}
        if dump.kind == DIRECTORY:
            # It may have been renamed since with its companions: what stands behind its name counts.
            wanted = {name + path[path.find("/") :]: each for path, each in sums.items()}
        else:
            named = [each for path, each in sums.items() if path.split("/")[-1] == name]
            wanted[name] = [*named, *sums.values()][0]
    for each in [dump.path] if dump.kind != DIRECTORY else filter(Path.is_file, dump.path.rglob("*")):
        try:
            summed = dump_file.sha256(each, lambda more: report.progress("checksum", done + more, dump.bytes))  # noqa: B023
            done += each.stat().st_size
        except OSError as error:
            raise dump_file.unreadable(each, error) from error
        if wanted.pop(str(each.relative_to(dump.path.parent)), "") != summed:
            raise damaged(dump.path, "its checksum is not the one it was written with")
    if wanted:
        raise damaged(dump.path, f"{len(wanted)} of its files are missing")
    return summed
