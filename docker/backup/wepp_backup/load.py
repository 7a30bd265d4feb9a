"""Loads a dump into a staging database: whether the server can take it, and how."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TypeVar

import psycopg

from wepp_backup import database_properties, programs
from wepp_backup.archive_load import ArchiveLoad
from wepp_backup.dump_file import PLAIN, DumpFile
from wepp_backup.events import Reporter, refuse
from wepp_backup.plain_sql import Script
from wepp_backup.run_sql import Runner
from wepp_backup.server import Server, Session, column, conninfo, execute, literal, quote, value
from wepp_backup.staging import Lock, Staging
from wepp_backup.verify import Contents

BYTES_PER_SECOND = 77_000_000  # that a load reaches on two cores, indexes included
OLDEST_MAJOR = 12
# What all jobs of a load may sort in together, and one of them: the server's container has 2 GB.
SORT_MEGABYTES, JOB_MEGABYTES = 768, 384
BUILT_IN_SEARCH_PATH = '"$user", public'
# Nothing is lost by late commits: the switchover that makes the database live waits for all of them. An index that
# nobody waits for any more is not built on. Majors know not all of these.
SETTINGS = """
SELECT name, wanted FROM (VALUES ('synchronous_commit', 'off'), ('client_min_messages', 'warning'),
  ('maintenance_work_mem', %s), ('max_parallel_maintenance_workers', '1'), ('statement_timeout', '0'),
  ('lock_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0'),
  ('client_connection_check_interval', CASE WHEN version() LIKE '%%linux%%' THEN '1s' ELSE '0' END)
) AS chosen (name, wanted) JOIN pg_settings USING (name)"""
T = TypeVar("T")


def check(lock: Lock, dump: DumpFile, contents: Contents) -> None:
    """Raise Problem when the server could not hold this: roles and extensions it lacks, dumps of newer majors."""
    here = int(value(lock.session, "SHOW server_version_num")) // 10000
    there = contents.server_major
    if there and there > here:
        raise refuse(
            f"{dump.path} comes from PostgreSQL {there} and this server is {here}: dumps load into the same or a "
            "newer major only",
            f"set POSTGRES_IMAGE to major {there} or newer for the stack it is meant for",
        )
    if there and there < OLDEST_MAJOR:
        raise refuse(
            f"{dump.path} comes from PostgreSQL {there}; this program takes dumps from {OLDEST_MAJOR} on",
            "load it into a server of its time and dump it again from there with a current pg_dump",
        )
    if missing := sorted({*contents.roles} - {*column(lock.session, "SELECT rolname::text FROM pg_roles")}):
        raise refuse(
            f"{dump.path} gives things to roles that this server does not have: {', '.join(missing)}",
            "make them first (CREATE ROLE in `invoke db-shell`; the dump's .globals.sql says how they were), "
            "then run it again",
        )
    there_are = column(lock.session, "SELECT name::text FROM pg_available_extensions")
    if missing := sorted({*contents.extensions} - {*there_are}):
        raise refuse(
            f"{dump.path} needs extensions that this server does not have: {', '.join(missing)}",
            "choose a POSTGRES_IMAGE that has them, `invoke compose-up`, then run it again",
        )


def require_room(lock: Lock, dump: DumpFile, contents: Contents, *, force: bool = False) -> tuple[int, int]:
    """Return about how many bytes of disk a load takes, and how many are free (-1: not known). Raise Problem."""
    if contents.database_bytes > 0:
        needed = contents.database_bytes * 5 // 4  # sorting of indexes, the log
    else:
        # Text packs about six to one, and indexes add half as much again.
        needed = dump.bytes * (2 if dump.kind == PLAIN and not dump.layers else 8)
    if 0 <= (free := free_bytes(lock)) < needed and not force:
        raise refuse(
            f"the server's disk has {free // 10**6} MB free and the load takes about {needed // 10**6} MB",
            "make room there (`invoke db-prune` drops kept databases), or say --force if you know better",
        )
    return needed, free


def free_bytes(lock: Lock) -> int:
    """Return what is free where the server keeps its databases; -1 when it does not tell: a superuser may ask only."""
    try:
        folder = shlex.quote(value(lock.session, "SHOW data_directory"))
        program = literal(f"df --block-size=1 --output=avail -- {folder}")
        execute(lock.session, "CREATE TEMP TABLE IF NOT EXISTS free_bytes (line text); TRUNCATE pg_temp.free_bytes;"
                              f"COPY pg_temp.free_bytes FROM PROGRAM {program}")  # fmt: skip
        return int(column(lock.session, "SELECT line FROM pg_temp.free_bytes")[-1])
    except (psycopg.Error, ValueError, IndexError):
        return -1


def analyze_while(staging: Staging, jobs: int, read: Callable[[], T]) -> T:
    """Gather the planner's statistics, which a dump has not, while `read` reads what was loaded; return its answer.

    Raise ProgramError.
    """
    command = [
        "vacuumdb",
        "--analyze-only",
        "--quiet",
        f"--jobs={jobs}",
        f"--dbname={conninfo(staging.name)}",
    ]
    options = " ".join(f"-c {name}={text}" for name, text in settings(staging.lock.session, jobs).items())
    # It fails for reasons of the server's: what a dump may have planted was computed for all rows already.
    with programs.running(command, staging.lock.server, options=options):
        return read()


def load(
    staging: Staging,
    dump: DumpFile,
    contents: Contents,
    jobs: int,
    report: Reporter,
    *,
    expected_bytes: int = 0,
    application: Server | None = None,
    rows: Callable[[], None] | None = None,
) -> None:
    """Fill an empty staging database from a dump.

    jobs: at a time. application: who makes everything and loads all rows, for that runs what the application may have
    been made to store (see run_sql). rows: brings rows that the dump lacks once all tables are there; none has an index
    then. expected_bytes: as large as the database becomes, 0: as it was where it was dumped. Raise Problem.
    """
    lock = staging.lock
    known = contents.manifest.database_properties if contents.manifest else None
    properties = (
        database_properties.Properties(**known)
        if known
        else database_properties.read(lock.session, lock.live)
    )
    search_path = (properties.search_path() if properties else "") or BUILT_IN_SEARCH_PATH
    application = application or lock.server
    if application != lock.server:
        # It makes all that is in there. The switchover gives the database to the role that owns the live one.
        execute(lock.session, f"ALTER DATABASE {quote(staging.name)} OWNER TO {quote(application.user)}")
    if dump.kind == PLAIN:
        _load_plain(staging, dump, report, application, search_path)
    else:
        archive = ArchiveLoad(
            staging, dump, jobs, report, application=application, search_path=search_path,
            settings=settings(lock.session, jobs), sizes=contents.rows or {},
            expected_bytes=expected_bytes or contents.database_bytes,
        )  # fmt: skip
        archive.run(contents.listing, rows)


def _load_plain(
    staging: Staging, dump: DumpFile, report: Reporter, application: Server, search_path: str
) -> None:
    with staging.connect() as superuser, staging.connect(application) as session, dump.text() as text:
        own = superuser if application == staging.lock.server else session
        runner = Runner(dump.path, own, superuser, search_path, is_archive=False)
        runner.run(script := Script(text, dump.path))
        script.check_end()
        runner.finish()
    if script.database:
        report.message("what the dump sets for its database as such (owner, settings, rights) is left out")


def settings(session: Session, jobs: int) -> dict[str, str]:
    """Return what sessions that load set for themselves."""
    memory = max(min(JOB_MEGABYTES, SORT_MEGABYTES // jobs), 64)
    return dict(session.execute(SETTINGS, [f"{memory}MB"]).fetchall())
