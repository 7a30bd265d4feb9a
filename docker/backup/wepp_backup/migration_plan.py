"""The plan of a migration: what is moved where, what it takes and what stands in the way; the roles that it needs."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg import errors

from wepp_backup import live_source, load, streams
from wepp_backup.application_tables import lacking_in, needed
from wepp_backup.events import Problem, refuse
from wepp_backup.live_source import REPLICATION, TABLES
from wepp_backup.programs import explained
from wepp_backup.server import Server, Session, column, execute, literal, quote, rows, value
from wepp_backup.source import LACKING, LOCK, READ, ROLES, USERS, look
from wepp_backup.staging import Locale, Lock, locale_of
from wepp_backup.switchover import live_oid

WORK = Path("/work")  # a volume of the container's own, for the dump
OLDEST_MAJOR = 12
# Bytes a second with two cores for both servers, for the estimate; a dump's share of what it holds, cautiously.
DUMP_RATE, LOAD_RATE, COMPARE_RATE, DUMP_SHARE = 150 << 20, 60 << 20, 150 << 20, 3
SPARE = 512 << 20  # bytes for the server's log and more
CODE_POINTS = ("C", "POSIX", "C.UTF-8", "C.utf8")
TARGET = """
SELECT jsonb_build_object('server_version', current_setting('server_version'),
  'version', current_setting('server_version_num')::int, 'database', name::text,
  'bytes', coalesce((SELECT pg_database_size(oid) FROM pg_database WHERE datname = name), 0))
FROM (SELECT %s::name) AS live(name)"""
KNOWN_LOCALE = """
SELECT EXISTS (SELECT FROM pg_collation WHERE collprovider = 'c'
  AND lower(replace(collname, '-', '')) = lower(replace(%s, '-', '')))"""
BORN = "SELECT pg_postmaster_start_time()"
# Marks a role that was made for a migration until that has ended: who finds it later removes it.
UNFINISHED = "wepp-backup: made for a move that has not ended"
OWNER = "use a --user that may do so: the owner of the tables or a superuser"
# For a live migration. By a deferrable key neither server finds a row.
KEY = "EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.{} AND i.indimmediate AND i.indisvalid)"
HAS_PRIMARY, HAS_IDENTITY = KEY.format("indisprimary"), KEY.format("indisreplident")
NO_IDENTITY = f"""c.relpersistence = 'p' AND (c.relreplident = 'n' OR (c.relreplident = 'd' AND NOT {HAS_PRIMARY})
  OR (c.relreplident = 'i' AND NOT {HAS_IDENTITY})) ORDER BY 1"""
# Columns of tables whose rows are found by comparing them all.
COMPARED = f"""
SELECT format_type(a.atttypid, NULL), format('%I.%I.%I', n.nspname, c.relname, a.attname)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND {USERS} AND c.relreplident = 'f' AND NOT {HAS_PRIMARY}
  AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY 2"""
AT_REST = "move at rest, without --live"
ALL_OWNER = "use a superuser of the source as --user, or the owner of the database and all its tables"
# What a query finds, what is wrong with it, the fix.
FINDINGS = (
    (TABLES + NO_IDENTITY, "the source's server cannot tell the rows of these tables apart, their updates would fail: "
     "{}", "give each a primary key that is not DEFERRABLE, or on the source: ALTER TABLE ... REPLICA IDENTITY FULL"),
    (f"{TABLES} NOT pg_has_role(c.relowner, 'USAGE') ORDER BY 1", "the user of the source does not own {}", ALL_OWNER),
    (f"{TABLES} c.relpersistence = 'u' ORDER BY 1", "changes of unlogged tables do not travel with logical "
     "replication: {}", f"on the source: ALTER TABLE ... SET LOGGED, or {AT_REST}"),
    # Not sent; the publisher of 18 on refuses them in a row that is sent whole.
    (f"""{TABLES} EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attgenerated <> '' AND (
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND a.attnum = ANY (i.indkey)
         AND CASE c.relreplident WHEN 'i' THEN i.indisreplident WHEN 'n' THEN false ELSE i.indisprimary END)
       OR (c.relreplident = 'f' AND current_setting('server_version_num')::int >= 180000))) ORDER BY 1""",
     "generated columns, which are not sent, are needed to find the rows of {}",
     f"give each a primary key of other columns, or {AT_REST}"),
    (f"""SELECT format('%I on %I.%I', t.tgname, n.nspname, c.relname) FROM pg_trigger t
       JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE t.tgenabled IN ('A', 'R') AND NOT t.tgisinternal AND t.tgname !~ '^wepp_move_' AND {USERS} ORDER BY 1""",
     "these triggers would fire a second time where the changes arrive: {}",
     "on the source: ALTER TABLE ... ENABLE TRIGGER (without ALWAYS or REPLICA), or move at rest"),
    # Changes are applied as the owner, so that none of its functions runs with other rights.
    (f"""{TABLES} (c.relforcerowsecurity OR NOT has_schema_privilege(c.relowner, n.oid, 'USAGE') OR EXISTS (
       SELECT FROM unnest('{{SELECT,INSERT,UPDATE,DELETE,TRUNCATE}}'::text[]) AS needed
       WHERE NOT has_table_privilege(c.relowner, c.oid, needed)))""",
     "their owners may not write {}", f"GRANT them that on the source, or {AT_REST}"),
    ("SELECT 'plpgsql' WHERE NOT EXISTS (SELECT FROM pg_language WHERE lanname = 'plpgsql')",
     "the source has no {}, in which it is closed to writes", "on the source: CREATE EXTENSION plpgsql"),
)  # fmt: skip
LIVE_FACTS = """
SELECT current_setting('wal_level'),
  current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_replication_slots),
  current_setting('max_wal_senders')::int - (SELECT count(*) FROM pg_stat_replication),
  r.rolsuper OR r.rolreplication, pg_has_role(d.datdba, 'USAGE') AND has_database_privilege(d.oid, 'CREATE'),
  current_user::text, (SELECT count(*) FROM pg_largeobject_metadata)
FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()"""
LIMITS = """
SELECT name || ' = ' || current_setting(name) FROM pg_settings
WHERE (name = 'max_slot_wal_keep_size' AND setting <> '-1')
  OR (name = 'idle_replication_slot_timeout' AND setting <> '0') ORDER BY 1"""
ROOM = """
SELECT current_setting('max_logical_replication_workers')::int
    - (SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL),
  coalesce(current_setting('max_active_replication_origins', true), current_setting('max_replication_slots'))::int
    - (SELECT count(*) FROM pg_replication_origin),
  (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"""


class Role(NamedTuple):
    """A role that is to be made. attributes: words of CREATE ROLE; groups: that it is a member of."""

    name: str
    attributes: str
    groups: list[str]


class Plan(NamedTuple):
    """What a migration would do: the details to decide by, the new database's locale, the roles to be made."""

    details: dict[str, Any]
    locale: Locale
    missing: list[Role]


def make_plan(
    server: Server, session: Session, lock: Lock, *, host: str, live: bool, force: bool, jobs: int
) -> Plan:
    """Look at both sides. Raise Problem with everything that stands in the way.

    session: in the database to move, at `server`. host: of the stack's server.
    """
    target = lock.session
    found, about = look(session), value(target, TARGET, [lock.live])
    older, major, user = found["version"] // 10000, about["version"] // 10000, found["user"]
    available = column(target, "SELECT name::text FROM pg_available_extensions")
    lacking = sorted({each["name"] for each in found["extensions"]} - {*available})
    unreadable, unlockable = column(session, LACKING, READ), column(session, LACKING, LOCK)
    unlockable = [] if live or force else sorted({*unlockable} - {*unreadable})
    opening = live_source.closed(session, target)
    absent = [] if force else _not_the_applications(lock, session)
    own = locale_of(target, lock.live) or locale_of(target, "template0")
    there = locale_of(session, session.info.dbname)
    assert own  # noqa: S101 - every server has a template0
    assert there  # noqa: S101 - we are connected to it
    streamed = sum(each.bytes for each in streams.tables(session))
    dump_bytes = max(found["table_bytes"] - streamed, 0) // DUMP_SHARE
    disk = os.statvfs(WORK)
    room = {
        "the dump": (dump_bytes, disk.f_bavail * disk.f_frsize),
        "the database": (found["bytes"], load.free_bytes(lock)),
    }
    checks = [
        (older <= major, f"the source is PostgreSQL {older} and the stack's server is {major}: a database "
         "moves to the same or a newer major only",
         f"give the stack a newer server: POSTGRES_IMAGE of major {older} or later in .env"),
        (older >= OLDEST_MAJOR,
         f"the source is PostgreSQL {older}; majors from {OLDEST_MAJOR} on are moved",
         f"upgrade the source to a major from {OLDEST_MAJOR} on first (pg_upgrade)"),
        # It answers on the port of an old one that is down.
        (value(session, BORN) != value(target, BORN), "the server that answers there is the stack's own",
         "start the old server, or correct --host and --port; if both want the same port, give the stack another "
         "PORT_POSTGRES in .env, then `invoke compose-up`"),
        (not found["standby"], "the source is a standby, whose tables cannot be locked", "name its primary server"),
        (not lacking, f"the source uses extensions that the stack's server does not have: {', '.join(lacking)}",
         "choose a POSTGRES_IMAGE that has them, then `invoke compose-up`"),
        (bool(unreadable) or not absent,
         f"the database {session.info.dbname} holds no table {' and no '.join(absent)}, which the application's has",
         "name the application's database by --dbname (psql --list shows which there are)"),
        (not unreadable, f"{user} may not read {some(unreadable)}", OWNER),
        (not unlockable, f"{user} may not lock {some(unlockable)} against writers, which takes the right to UPDATE",
         OWNER),
        (live or force or found["superuser"] or not found["large_objects"],
         f"{user} may not lock the source's large objects against writers", "use a superuser of the source as --user"),
        (not found["prepared"], f"{found['prepared']} prepared transactions hold the source",
         "end them first: COMMIT PREPARED or ROLLBACK PREPARED, see pg_prepared_xacts"),
        # Its dump would carry what closes it into the stack.
        (not opening, "the source was closed to writers by a live migration whose database the stack has",
         f"if it shall be moved once more, open it first, there: {opening}"),
        (not live or host.startswith("/"), "the stack's server is another machine's, which does not reach the source "
         "through this one", AT_REST),
        (own.encoding == there.encoding, f"the source is encoded in {there.encoding} and the stack in {own.encoding}",
         f"dump it (pg_dump --format=custom --encoding={own.encoding}; of SQL_ASCII the one that its text has) and "
         "restore that with `invoke db-restore`"),
        *((not 0 <= free < needed + SPARE,
           f"{what} takes {needed >> 20} MiB and {free >> 20} MiB are free on the server's disk",
           "make room there (docker system df shows what takes it)") for what, (needed, free) in room.items()),
    ]  # fmt: skip
    obstacles = [(what, fix) for is_met, what, fix in checks if not is_met]
    if live:
        obstacles += live_obstacles(server, session, target)
    if obstacles:
        whats, fixes = zip(*obstacles, strict=True)
        raise refuse("; ".join(whats), "; ".join(dict.fromkeys(fixes)))
    have = {*column(target, "SELECT rolname::text FROM pg_roles")}
    missing = [Role(*each) for each in rows(session, ROLES) if each[0] not in have]
    locale, notes = _locale(there, own, target)
    if found["subscriptions"]:
        notes.append(
            f"{found['subscriptions']} subscriptions of the source are not moved: make them anew on the stack's server"
        )
    if live and (limits := column(session, LIMITS)):
        notes.append(
            f"the source may give up on the move while it loads ({some(limits)}); the move would fail and be undone: "
            "lift that limit there meanwhile if the load takes long"
        )
    seconds = {
        "dump": 1 + dump_bytes * DUMP_SHARE // DUMP_RATE, "load": 1 + found["bytes"] // LOAD_RATE,
        "compare": 1 + found["bytes"] // COMPARE_RATE, "downtime": 1,
    }  # fmt: skip
    details = {
        "source": found, "target": about, "live": live, "jobs": jobs,
        "roles_to_make": [each.name for each in missing], "estimated_seconds": seconds,
        "notes": notes, "estimated_dump_bytes": dump_bytes, "free_for_dump": room["the dump"][1],
        "free_for_server": room["the database"][1],
    }  # fmt: skip
    return Plan(details, locale, missing)


def _not_the_applications(lock: Lock, source: Session) -> list[str]:
    """Return the tables that the application's database has in every state, and the source lacks."""
    if not live_oid(lock.session, lock.live):
        return []
    with lock.server.connect(lock.live) as live:
        return lacking_in(needed(live), source)


def some(names: list[str], shown: int = 5) -> str:
    """Return names for a message."""
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def live_obstacles(server: Server, source: Session, target: Session) -> list[tuple[str, str]]:
    """Return what stands in the way and how to fix it, each.

    source: a session in the database to migrate, at `server`. target: a session at the stack's server.
    """
    level, slots, senders, replication, owns, user, large_objects = rows(source, LIVE_FACTS)[0]
    workers, origins, superuser = rows(target, ROOM)[0]
    incomparable = _incomparable(source)
    refused = _refused_login(server, source) if replication and level == "logical" and senders > 0 else ""
    checks = (
        (level == "logical", f"the source's wal_level is {level}, --live needs logical", "on the source: ALTER SYSTEM "
         "SET wal_level = logical; then restart it (once; or move it at rest, without --live)"),
        (slots > 0, "the source has no free replication slot",
         "on the source: raise max_replication_slots and restart it, or drop an unused slot"),
        (senders > 1, f"the source has {senders} free WAL senders, --live needs 2",
         "on the source: raise max_wal_senders and restart it"),
        (replication, f"{user} may not open replication sessions",
         f"on the source, as a superuser: ALTER ROLE {quote(user)} REPLICATION"),
        (owns, f"{user} does not own the database {source.info.dbname}", ALL_OWNER),
        (not incomparable, "rows that are found by comparing all their columns (REPLICA IDENTITY FULL) have columns "
         f"whose types cannot be compared: {some(incomparable)}", f"give each table a primary key, or {AT_REST}"),
        (not large_objects, "changes of large objects do not travel with logical replication, and the source has "
         f"{large_objects}", AT_REST),
        (min(workers, origins) > 0 and superuser, f"the stack's server takes no subscription (free workers {workers}, "
         f"origins {origins}, superuser {superuser})", "raise max_logical_replication_workers and "
         "max_replication_slots in docker/postgres/wepppy.conf and restart it; its administrator must be a superuser"),
        (not refused, f"the source lets {user} open no replication session: {refused}",
         "let the source's pg_hba.conf admit the user there, and to replication, also without TLS; of another machine: "
         "run this there, or through a tunnel"),
    )  # fmt: skip
    found = [(what, fix) for is_met, what, fix in checks if not is_met]
    for query, what, fix in FINDINGS:
        if names := column(source, query):
            found.append((what.format(some(names)), fix))
    return found


def _refused_login(server: Server, source: Session) -> str:
    """Return why nobody can log in as the stack's server will, through a socket: without TLS; "" if that works."""
    address = source.info.hostaddr
    if source.pgconn.ssl_in_use and address != "::1" and not address.startswith("127."):
        return "the changes would travel over the network without TLS"
    try:
        with server.connect(source.info.dbname, **REPLICATION) as session:
            execute(session, "IDENTIFY_SYSTEM")
    except (Problem, psycopg.Error) as error:
        return str(error)
    return ""


def _incomparable(source: Session) -> list[str]:
    found = []
    for kind, name in rows(source, COMPARED):
        try:
            execute(source, f"EXPLAIN SELECT DISTINCT NULL::{kind}")
        except psycopg.errors.UndefinedFunction:
            found.append(f"{name} ({kind})")
    return found


def _locale(there: Locale, own: Locale, target: Session) -> tuple[Locale, list[str]]:
    """Return how the new database sorts: as the source where the target can do that, else as the stack's own; and
    what to say of that."""
    if there.provider == "i":
        # The C library's part of it may not exist here; ICU does the sorting.
        return replace(there, collate=own.collate, ctype=own.ctype), []
    if there.provider != "c" or there.collate in CODE_POINTS:
        return own, []
    if value(target, KNOWN_LOCALE, [there.collate]):
        return there, []
    icu = there.collate.replace("_", "-").partition(".")[0]
    return own, [
        f"the source sorts text by the rules of {there.collate}, which the stack's server does not have; there "
        f'text is sorted as {own.collate} (add COLLATE "{icu}-x-icu" where the order matters)'
    ]


def make_roles(lock: Lock, missing: list[Role]) -> None:
    """Make the roles that things belong to and the target lacks: as they were, but without log-in.

    Their passwords stay behind, and a superuser whom nobody expects shall not be able to log in.
    """
    try:
        for each in missing:
            execute(lock.session, f"CREATE ROLE {quote(each.name)} NOLOGIN {each.attributes}")
            execute(lock.session, f"COMMENT ON ROLE {quote(each.name)} IS {literal(UNFINISHED)}")
        known = column(lock.session, "SELECT rolname::text FROM pg_roles")
        for each in missing:
            for group in {*each.groups} & {*known}:
                execute(lock.session, f"GRANT {quote(group)} TO {quote(each.name)}")
    except psycopg.Error as error:
        what = f"the roles {', '.join(each.name for each in missing)} could not be made"
        fix = "make them by hand in `invoke db-shell` and run it again"
        raise explained(error, fix, what) from error


def keep_roles(lock: Lock, made: list[Role]) -> None:
    """Let the roles that were made stay."""
    for each in made:
        execute(lock.session, f"COMMENT ON ROLE {quote(each.name)} IS NULL")


def sweep_roles(lock: Lock) -> None:
    """Drop roles that were made for a migration that did not end; one that something belongs to since stays."""
    found = "SELECT rolname::text FROM pg_roles WHERE shobj_description(oid, 'pg_authid') = %s"
    for name in column(lock.session, found, [UNFINISHED]):
        with suppress(errors.DependentObjectsStillExist, errors.InsufficientPrivilege):
            execute(lock.session, f"DROP ROLE {quote(name)}")
