"""One verified backup: dumped under a temporary name, read back and counted while it grows, summed, synced, renamed.

Whatever happens on the way leaves the earlier backups as they were. A switchover does not wait for a backup: one in
whose middle another database becomes the live one begins anew with that.
"""

from __future__ import annotations

import os
import shutil
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import IO

import psycopg

from wepp_backup import catalog as records
from wepp_backup import database_properties, dump_file, programs, restore_test, row_counts, staging, webhook
from wepp_backup.app import App
from wepp_backup.caller import CalledOff, uninterrupted
from wepp_backup.catalog import Attempt, Manifest, as_json, newest, read_manifest
from wepp_backup.events import Problem, fail, refuse
from wepp_backup.row_counts import Counts
from wepp_backup.server import Session, column, conninfo, execute, maintenance, plain, rows, value
from wepp_backup.verify import count_rows

# How long a table may be held against the dump (by a schema change, a VACUUM FULL) before the run is given up and tried
# again later: behind a dump that waits everybody else would queue, too.
LOCK_SECONDS = 60
SWITCHOVER_SECONDS = 10.0  # from the end of our sessions to the commit
PAUSE = 0.02  # s, between two looks whether the dump has grown, or a switchover come to its end
# A dump's share of its database where no earlier one tells: text packs about six to one and indexes are not dumped. A
# dump may grow by a quarter beyond the last one's share, and so many bytes must stay free besides.
SHARE, GROWTH, RESERVE = 0.5, 1.25, 32 << 20
EMPTY_CLUSTER = 8 << 20  # bytes of system catalogs, which no dump holds
FULL_DISK = ("No space left", "quota exceeded")
ROOM = "make room there, or set BACKUP_KEEP_DAYS lower"
# Counting goes on beside the dump and must not take the processors that it needs. It reads the tables themselves, as
# the dump does: where all rows are counted, an index takes twice the time, and may be damaged alone.
BEGIN = """
BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL enable_indexonlyscan = off"""
# Names in the dump are compared: they are in UTF-8 wherever the server knows what they are in.
FACTS = """
SELECT pg_export_snapshot(), CASE current_setting('server_encoding') WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END,
  pg_database_size(current_database()), current_setting('server_version')"""
# Owners and holders of grants, as the dump will name them. What the superuser of initdb owns stands in no dependency,
# hence the tables' and the database's owners besides.
ROLES = """
SELECT rolname::text FROM pg_roles WHERE oid IN (
  SELECT refobjid FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass
    AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  UNION SELECT datdba FROM pg_database WHERE datname = current_database()
  UNION SELECT relowner FROM pg_class WHERE relnamespace NOT IN
    (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_' OR nspname = 'information_schema'))
ORDER BY 1"""


def flags_of_dump(parser: ArgumentParser) -> None:
    """Add the flags of `dump`."""
    parser.add_argument("--accept-collapse", action="store_true", help="fewer rows than before are right")


def run_dump(app: App, flags: Namespace) -> None:
    """Make a backup by hand. Raise Problem when there is none, or none that can be restored."""
    made = back_up(app, by_hand=True, accept_collapse=flags.accept_collapse)
    if made.not_restorable:
        fix = "change what fails in the database; the earlier backups are as they were"
        raise fail(f"{made.name} is verified, not restorable: {made.not_restorable}", fix)
    path = app.catalog.path(made.name)
    text = f"{path}: {made.bytes} bytes, {made.rows} rows, {made.seconds:.1f} s"
    app.report.result({"path": str(path), **as_json(made)}, text)


def back_up(app: App, *, by_hand: bool = False, accept_collapse: bool = False) -> Manifest:
    """Make a backup; record and tell how that went; try at once whether a risky one can be restored. Raise Problem."""
    os.umask(0o077)  # what is in a dump is nobody else's business
    begun = Attempt(datetime.now(UTC))

    def record(attempt: Attempt) -> None:
        try:
            app.catalog.write(records.ATTEMPT_BY_HAND if by_hand else records.ATTEMPT, attempt)
        except OSError as error:
            app.report.message(f"the attempt is not recorded: {error}")

    record(begun)
    try:
        made, is_risky = make(app, accept_collapse=accept_collapse)
    except (Problem, CalledOff) as error:
        why = error.what if isinstance(error, Problem) else "it was called off"
        record(begun._replace(ended=datetime.now(UTC), problem=why))
        webhook.send(app, "backup", ok=False, by_hand=by_hand, problem=why)
        raise
    record(begun._replace(ended=datetime.now(UTC), ok=True, name=made.name))
    found = {name: getattr(made, name) for name in ("name", "bytes", "rows", "seconds")}
    webhook.send(app, "backup", ok=True, by_hand=by_hand, **found)
    if is_risky:
        app.report.message(
            "the database holds functions of its own that a restore runs; a restore test tells"
        )
        if why := restore_test.try_restore(app, made.name, by_hand=by_hand):
            app.report.message(f"it is not known whether {made.name} can be restored: {why}")
    return read_manifest(app.catalog.path(made.name)) or made


def make(app: App, *, accept_collapse: bool = False) -> tuple[Manifest, bool]:
    """Make a backup, after waiting for whoever else writes into the folder; return whether its restore may fail."""
    say = app.report.message
    with app.catalog.lock(lambda: say("another backup is being made; waiting for it")):
        for name in app.catalog.sweep():
            say(f"removed {name}, which an interrupted run left")
        while True:
            live = _live(app)
            try:
                return _make(app, accept_collapse)
            except (psycopg.Error, programs.ProgramError, OSError, Problem) as error:
                if not live or _live(app, before=live) in (0, live):
                    raise _explained(app, error) from error
            say("another database was switched to meanwhile; beginning anew with that one")


def _live(app: App, before: int = 0) -> int:
    """Return the OID of the live database, 0 where nobody can tell.

    before: the one that was live; a switchover that may be under way is waited for while it still is.
    """
    until, database = time.monotonic() + SWITCHOVER_SECONDS, app.settings.database
    with suppress(Problem, psycopg.Error), closing(app.server.connect(maintenance(database))) as session:
        while True:
            is_held = staging.is_held(session)  # asked first: who switches over lets go after the commit
            live = value(session, "SELECT oid FROM pg_database WHERE datname = %s", [database]) or 0
            if live != before or not is_held or time.monotonic() > until:
                return int(live)
            time.sleep(PAUSE)
    return 0


def _make(app: App, accept_collapse: bool) -> tuple[Manifest, bool]:
    began, catalog = time.monotonic(), app.catalog
    with closing(app.server.connect(catalog.database)) as session:
        execute(session, BEGIN)
        ((snapshot, encoding, size, version),) = rows(session, FACTS)
        row_counts.lock_tables(session, LOCK_SECONDS * 1000)
        is_risky = restore_test.is_risky(session)
        expected = _expected_bytes(app, size)
        created = datetime.now(UTC).replace(microsecond=0)
        name = catalog.free_name(created)
        final, partial = catalog.path(name), catalog.path(f".{name}.partial")
        try:
            options = [f"--snapshot={snapshot}", f"--encoding={encoding}"]
            counts, sha256, roles = _write(app, session, options, partial, expected)
            programs.run(["pg_restore", "--list", "--file=/dev/null", str(partial)])
            client = programs.run(["pg_dump", "--version"]).decode()
            properties = database_properties.read(session, catalog.database)
            made = Manifest(
                created, name=name, database=catalog.database, seconds=round(time.monotonic() - began, 3),
                bytes=partial.stat().st_size, database_bytes=size, server_version=version,
                client_version=client.strip().removeprefix("pg_dump (PostgreSQL) "), sha256=sha256,
                revision=row_counts.revision(session), roles=column(session, ROLES),
                extensions=dict(rows(session, "SELECT extname::text, extversion FROM pg_extension")),
                rows=counts.rows, tables=counts.tables, views=counts.views, large_objects=counts.large_objects,
                database_properties=asdict(properties) if properties else None, collapse_accepted=accept_collapse,
            )  # fmt: skip
            with uninterrupted():
                records.write_file(Path(f"{final}{records.GLOBALS}"), roles)
                records.write_file(Path(f"{final}{records.CHECKSUM}"), f"{sha256}  {name}\n".encode())
                records.write_json(Path(f"{final}{records.MANIFEST}"), made)
                partial.replace(final)
                records.sync(catalog.folder)
        except BaseException:
            with suppress(Problem):  # what remains is swept by the next run
                catalog.sweep()
            raise
    return made, is_risky


def _expected_bytes(app: App, size: int) -> int:
    """Return the bytes to expect of the dump, by the newest one's share of its database; 0 where there is none.

    Raise Problem when the disk has no room, before the backup fills it for everybody. size: of the database.
    """
    folder = app.catalog.folder
    last = newest([each for each in app.catalog.entries() if each.is_generation], datetime.now(UTC))
    of = last.manifest.database_bytes if last and last.manifest else 0
    expected = last.bytes * size // of if last and of else 0
    needed = RESERVE + int(GROWTH * expected or SHARE * max(0, size - EMPTY_CLUSTER))
    if (free := shutil.disk_usage(folder).free) < needed:
        what = f"the disk of the backups ({folder}) has {free // 10**6} MB free and this one may take"
        raise refuse(f"{what} {needed // 10**6} MB; the earlier ones are as they were", ROOM)
    return expected


def _write(
    app: App, session: Session, options: list[str], partial: Path, expected: int
) -> tuple[Counts, str, bytes]:
    """Dump to the partial file; meanwhile read that back and count the snapshot's rows.

    Return the rows, the checksum, and the roles of the server as SQL.
    """
    written = Event()
    where = ["--no-password", f"--dbname={conninfo(app.catalog.database)}"]
    dumping = ["pg_dump", "--format=custom", "--compress=zstd:1", "--no-sync", *where, *options,
               f"--lock-wait-timeout={LOCK_SECONDS * 1000}", f"--file={partial}"]  # fmt: skip
    dumping_roles = ["pg_dumpall", "--globals-only", *where]
    if value(session, "SHOW is_superuser") != "on":
        dumping_roles.append("--no-role-passwords")  # nobody else may see their hashes

    def show_progress(done: int) -> None:
        app.report.progress("dumping", min(done, max(expected - 1, 0)), expected)

    with (
        os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "rb") as file,
        programs.running(["pg_restore", "--data-only", "--file=-"], stdin=-1, stdout=-1) as reader,
        ThreadPoolExecutor() as pool,
    ):
        # In a folder that is closed to everybody else the dump is readable for the user of the server's container, who
        # has to read it there when the operators copy it in and restore it by hand.
        partial.chmod(0o600 if app.catalog.folder.stat().st_mode & 0o077 else 0o644)
        assert reader.stdin and reader.stdout  # noqa: S101, PT018 - pipes were asked for
        try:
            fed = pool.submit(_feed, file.fileno(), reader.stdin, written, show_progress)
            held = pool.submit(count_rows, reader.stdout, partial)
            with programs.running(dumping, app.server):
                counts = row_counts.count(session)
                roles = programs.run(dumping_roles, app.server)
            written.set()
            synced, summed = pool.submit(os.fsync, file.fileno()), pool.submit(dump_file.sha256, partial)
            fed.result()
        except BaseException:
            written.set()
            programs.stop(reader)
            raise
    synced.result()
    for name, many in counts.tables.items():
        if (there := held.result().get(name, 0)) != many:
            what = f"the dump holds {there} rows of {name} and the database has {many}: it was thrown away"
            raise fail(what, "see the server's log and its disk; the next run tries again")
    return counts, summed.result(), roles


def _explained(app: App, error: BaseException) -> Problem:
    """Return what a person can do about a backup that was not made."""
    if isinstance(error, Problem):
        return error
    words, fix = plain(error), "see the server's log and the disk of the backups"
    if any(full in words for full in FULL_DISK):
        words, fix = f"the disk of the backups ({app.catalog.folder}) is full", ROOM
    elif "lock timeout" in words:
        words = f"a table was locked for more than {LOCK_SECONDS} s: {words}"
        fix = "see who holds it: SELECT * FROM pg_locks in `invoke db-shell`"
    return programs.full(error) or fail(
        f"no backup was made: {words}; the earlier ones are as they were", fix
    )


def _feed(file: int, into: IO[bytes], written: Event, on_read: Callable[[int], None]) -> None:
    """Write a file that still grows into a pipe, to its end once `written` is set; report how far it has come."""
    done = 0
    with suppress(BrokenPipeError), into:  # whoever reads it tells why it ended
        programs.widen(into)
        while True:
            is_whole = written.is_set()
            if piece := os.pread(file, programs.PIPE_BYTES, done):
                into.write(piece)
                done += len(piece)
                on_read(done)
            elif is_whole:
                return
            else:
                written.wait(PAUSE)
