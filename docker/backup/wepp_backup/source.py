"""The source server of a migration: what its database holds and needs, and one state of it held until the switchover.

Why an offline migration loses no row: before the snapshot every table is locked in SHARE mode, for which whoever has
changed one has to have ended, so the snapshot shows all that was committed to them; from then on a change has to wait
for the lock, and the lock is held until the switchover has been committed. Who waits for it is asked for and refused.
No statistics and no positions of the log are relied on. Large objects, which cannot be read either while their table
is locked, are locked at the end and compared then. What takes no lock on tables (sequences, new objects) is compared
before the switchover, and looked at once more after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors

from wepp_backup.events import fail, refuse
from wepp_backup.row_counts import lock_tables, relations, unlike
from wepp_backup.row_hashes import sequences
from wepp_backup.server import Server, Session, column, execute, plain, value

# How long somebody who changes a table, empties one or looks after it (autovacuum) is waited for.
LOCK_SECONDS = 10
# But for the schema of what closes a source, see live_source.
USERS = r"n.nspname <> 'information_schema' AND n.nspname !~ '^(pg_|wepp_move_\d{13}$)'"
FACTS = f"""
SELECT to_jsonb(facts) FROM (SELECT
  current_setting('server_version_num')::int AS version, current_setting('server_version') AS server_version,
  current_database() AS database, current_user AS "user", r.rolsuper AS superuser,
  pg_database_size(current_database()) AS bytes,
  (SELECT coalesce(sum(pg_table_size(c.oid)), 0)::int8 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND (c.oid = 'pg_largeobject'::regclass OR {USERS})) AS table_bytes,
  (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm') AND {USERS}) AS tables,
  (SELECT count(*) FROM pg_largeobject_metadata) AS large_objects, pg_is_in_recovery() AS standby,
  (SELECT coalesce(jsonb_agg(jsonb_build_object('name', extname, 'version', extversion) ORDER BY extname), '[]')
    FROM pg_extension WHERE extname <> 'plpgsql') AS extensions,
  (SELECT count(*) FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
    WHERE d.datname = current_database()) AS subscriptions,
  (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()) AS prepared
FROM pg_roles r WHERE r.rolname = current_user) AS facts"""
# Parameters: READ or LOCK, for what is to be read or locked.
READ = [["r", "p", "m", "S"], "select", False]
LOCK = [["r"], "update, delete, truncate", True]
LACKING = f"""
SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = ANY(%s) AND {USERS} AND c.relpersistence <> 't'
  AND NOT (has_schema_privilege(n.oid, 'usage') AND has_table_privilege(c.oid, %s))
  AND NOT (%s AND EXISTS (SELECT FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))
ORDER BY 1"""
# The roles that the database needs, with their attributes and groups. pg_shdepend names all that it refers to but the
# first superuser (10), which the server never forgets and so never records there: what is mostly made is asked for its
# owner. What an extension brings along is not dumped. Before 15 the schema public (2200) was the first superuser's.
ROLES = """
WITH owned (class, oid) AS (
  SELECT 'pg_class'::regclass, oid FROM pg_class WHERE relowner = 10 AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
  UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE proowner = 10
  UNION ALL SELECT 'pg_namespace'::regclass, oid FROM pg_namespace WHERE nspowner = 10),
needed AS (
  SELECT refobjid AS oid FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass
    AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  UNION SELECT 10::oid FROM owned o
    WHERE (o.oid >= 16384 OR o.class = 'pg_namespace'::regclass AND o.oid = 2200)
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.class AND d.objid = o.oid AND d.deptype = 'e'))
SELECT r.rolname::text, concat_ws(' ',
    CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN NOT rolinherit THEN 'NOINHERIT' END,
    CASE WHEN rolcreaterole THEN 'CREATEROLE' END, CASE WHEN rolcreatedb THEN 'CREATEDB' END,
    CASE WHEN rolreplication THEN 'REPLICATION' END, CASE WHEN rolbypassrls THEN 'BYPASSRLS' END,
    'CONNECTION LIMIT ' || rolconnlimit),
  ARRAY(SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
    WHERE m.member = r.oid ORDER BY 1)
FROM pg_roles r JOIN needed USING (oid) WHERE r.rolname !~ '^pg_' ORDER BY 1"""
MINE = f"(SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {USERS})"
# A fingerprint of everything that is defined; what REINDEX, REFRESH and VACUUM change does not count.
DEFINITIONS = f"""
SELECT md5(string_agg(x, '|' ORDER BY x COLLATE "C")) FROM (
  SELECT concat_ws(' ', c.oid, relnamespace, relname, relkind, relowner, relnatts, relpersistence, relchecks,
    relrowsecurity, relreplident, relacl) FROM pg_class c WHERE oid IN {MINE}
  UNION ALL SELECT concat_ws(' ', 'a', attrelid, attnum, xmin) FROM pg_attribute WHERE attrelid IN {MINE}
  UNION ALL SELECT concat_ws(' ', 'k', k.oid, k.xmin) FROM pg_constraint k
    JOIN pg_namespace n ON n.oid = k.connamespace WHERE {USERS}
  UNION ALL SELECT concat_ws(' ', 't', oid, xmin) FROM pg_trigger
    WHERE tgrelid IN {MINE} AND tgname !~ '^wepp_move_'
  UNION ALL SELECT concat_ws(' ', 'r', oid, xmin) FROM pg_rewrite WHERE ev_class IN {MINE}
  UNION ALL SELECT concat_ws(' ', 'p', oid, xmin) FROM pg_policy WHERE polrelid IN {MINE}
  UNION ALL SELECT concat_ws(' ', 'f', p.oid, p.xmin) FROM pg_proc p
    JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {USERS}
  UNION ALL SELECT concat_ws(' ', 'e', oid, xmin) FROM pg_enum
  UNION ALL SELECT concat_ws(' ', 'o', oid) FROM pg_largeobject_metadata
  UNION ALL SELECT concat_ws(' ', 'n', n.oid, n.xmin) FROM pg_namespace n WHERE {USERS}) AS defined(x)"""
LARGE = "the contents of its large objects"
LARGE_OBJECTS = """
SELECT concat_ws(' ', count(*), sum(hashtextextended(concat_ws(' ', loid, pageno, md5(data)), 0)))
FROM pg_largeobject"""
# Parameter: the process of the session that holds the tables.
WRITING = """
SELECT DISTINCT format('%%s of %%s (process %%s, %%s)', coalesce(nullif(a.application_name, ''), 'a session'),
  coalesce(a.usename, 'the server'), a.pid, coalesce(a.state, a.backend_type)) ||
  CASE WHEN l.granted THEN ' has not ended a transaction that writes' ELSE ' waits to write' END
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'
  AND (l.granted AND l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock'
    OR NOT l.granted AND %s = ANY(pg_blocking_pids(l.pid)))"""


def look(session: Session) -> dict[str, Any]:
    """Return FACTS of the source's database. Raise Problem when a lock keeps us from that."""
    execute(session, f"SET lock_timeout = '{LOCK_SECONDS}s'")  # sizes wait for whoever rewrites a table
    try:
        facts: dict[str, Any] = value(session, FACTS)
    except errors.LockNotAvailable as error:
        fix = "end that session (see its pg_locks) and run it again"
        raise refuse("somebody holds a table of the source", fix) from error
    return facts


@dataclass(frozen=True)
class Held:
    """One state of the source: a snapshot that other sessions join by its name, in a session that holds its tables."""

    server: Server
    database: str
    session: Session
    snapshot: str
    locked: bool
    unlocked: dict[str, str]  # what takes no lock on tables, by name

    def join(self) -> Session:
        """Return another session in the snapshot, that waits for no lock for long. Raise Problem."""
        return _begin(self.server.connect(self.database), self.snapshot)

    def check(self, *, last: bool = False) -> None:
        """Raise Problem when the source was written since the snapshot, or is about to be, or the lock was lost.

        last: large objects are locked now, too, and not read any more.
        """
        if self.locked and (changes := self.changes(last=last)):
            raise refuse(
                f"the source was written during the move: {'; '.join(changes)}",
                "stop what writes there and run it again; or --live, which takes changes along; or --force, which "
                "leaves them",
            )

    def changes(self, *, last: bool = False) -> list[str]:
        """Return what has happened at the source since the snapshot, or is about to, a phrase each. Raise Problem."""
        process = self.session.info.backend_pid
        large_objects = last and LARGE in self.unlocked
        wanted = {name: each for name, each in self.unlocked.items() if large_objects or name != LARGE}
        try:
            execute(self.session, "SELECT")
            with self.server.connect(self.database) as now:
                try:
                    if large_objects:
                        tables = "pg_largeobject, pg_largeobject_metadata"
                        execute(self.session, f"LOCK TABLE {tables} IN SHARE MODE")
                except errors.LockNotAvailable as error:
                    return column(now, WRITING, [process]) or [plain(error)]
                there = _unlocked(now, large_objects=large_objects)
                words = "{0} is gone", "{0} is new", "{0} was changed"
                return column(now, WRITING, [process]) + unlike(wanted, there, *words)
        except psycopg.Error as error:
            what = f"the source's session that holds its tables was lost: {plain(error)}"
            raise fail(what, "see the source's log, then run it again") from error


def hold(server: Server, database: str, *, locked: bool, superuser: bool, snapshot: str = "") -> Held:
    """Lock the tables, then take the snapshot, or join one. Raise Problem, which names who is in the way.

    locked: nobody may write to them until the session ends; else they are only kept from being emptied or rewritten,
    which would show in every snapshot.
    """
    with server.connect(database) as now:
        session = _begin(server.connect(database), snapshot)
        process = session.info.backend_pid
        try:
            tables = relations(session if snapshot else now)
            lock_tables(session, LOCK_SECONDS * 1000, tables, "SHARE" if locked else "ACCESS SHARE")
            # The transaction's first query, in which its snapshot is taken.
            exported = snapshot or value(session, "SELECT pg_export_snapshot()")
            if relations(session) != tables:
                raise fail("tables of the source were made or changed just now", "run it again")
            unlocked = _unlocked(session, large_objects=locked and superuser)
            return Held(server, database, session, exported, locked, unlocked)
        except BaseException as error:
            session.close()
            if isinstance(error, errors.LockNotAvailable):
                who = "; ".join(column(now, WRITING, [process])) or plain(error)
                raise refuse(
                    f"the source's tables could not be locked, for somebody is writing to them: {who}",
                    "let it end, or end it, then run this again; or --live, which takes changes along",
                ) from error
            raise


def _begin(session: Session, snapshot: str) -> Session:
    execute(session, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    if snapshot:
        execute(session, f"SET TRANSACTION SNAPSHOT '{snapshot}'")
    execute(session, f"SET lock_timeout = '{LOCK_SECONDS}s'")
    return session


def _unlocked(session: Session, *, large_objects: bool) -> dict[str, str]:
    found = {f"the sequence {name}": stands for name, stands in sequences(session).items()}
    found["its schema"] = value(session, DEFINITIONS)
    if large_objects:
        found[LARGE] = value(session, LARGE_OBJECTS)
    return found
