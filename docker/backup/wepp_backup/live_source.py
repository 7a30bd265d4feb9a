"""What a live migration makes and does at the source, and how it is undone.

A publication, a replication slot and, at the end, a schema with the triggers that close the source to writes: all of
one name. Publication and schema have a comment of ours; a slot has none, but goes before its publication.
"""

from __future__ import annotations

import json
import time

import psycopg

from wepp_backup.events import Reporter, fail, refuse
from wepp_backup.markers import PREFIX
from wepp_backup.server import APPLICATION_NAME, Session, column, execute, literal, quote, rows, value
from wepp_backup.source import USERS
from wepp_backup.staging import KEY

LOCK_SECONDS = 10  # for the locks of the cutover, and for a killed migration's sessions to be noticed
GRACE_MILLISECONDS = 300  # for transactions that hold up the locks; then they are ended
END_SECONDS = 5.0  # for sessions that were ended
NAME = r"^wepp_move_\d{13}$"
RELATIONS = f"""SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {USERS} AND """
TABLES = f"{RELATIONS} c.relkind = 'r' AND "
PUBLISHED = f"{TABLES} c.relpersistence = 'p' ORDER BY c.oid"
# As the stack's server logs in, see way_back.py.
REPLICATION = {"replication": "database", "sslmode": "disable"}
SUPERUSER = "FROM pg_roles WHERE rolname = current_user AND rolsuper"
MARK = f"{PREFIX}live migration"
LEFT = f"SELECT pubname::text FROM pg_publication WHERE obj_description(oid, 'pg_publication') = '{MARK}'"
CLOSED = f"""
SELECT nspname::text, substr(obj_description(oid, 'pg_namespace'), {len(PREFIX) + 1}) FROM pg_namespace
WHERE nspname ~ '{NAME}' AND obj_description(oid, 'pg_namespace') LIKE '{PREFIX}{{%'"""
# Of a migration's sessions, by which the next one knows those of one that was killed.
MIGRATION_NAME = f"{APPLICATION_NAME} migration"
# Where the user may: one session that it may not end would keep the statement from ending the rest.
END = f"""SELECT count(*), count(CASE WHEN pg_has_role(a.usesysid, 'USAGE')
  OR a.usesysid IS NULL AND EXISTS (SELECT {SUPERUSER}) THEN pg_terminate_backend(a.pid) END)
FROM pg_stat_activity a WHERE datname = current_database() AND pid <> pg_backend_pid() AND """
END_OWN = f"{END} application_name = '{MIGRATION_NAME}'"
OTHERS = f"""backend_type = 'client backend' AND application_name NOT LIKE '{APPLICATION_NAME}%'
  AND backend_start < {{}}"""
# Of those the ones that have written something and are not done: they have a transaction number.
WRITING = """
SELECT count(*) FROM pg_stat_activity a JOIN pg_locks k USING (pid)
WHERE k.locktype = 'transactionid' AND k.mode = 'ExclusiveLock' AND k.granted AND datname = current_database() AND """
# Whether the database that a source was closed for is, or was, the live one of a server. (A staging database is gone:
# the lock's holder has dropped it.)
IS_HERE = """
SELECT system_identifier::text <> %s OR EXISTS (SELECT FROM pg_database WHERE oid::int8 = %s)
FROM pg_control_system()"""


def prepare(session: Session) -> None:
    """Let a session of ours write where the source is closed, and fire no triggers on changes of definitions."""
    execute(session, "SET default_transaction_read_only = off; SET lock_timeout = '60s'")
    execute(session, f"SELECT set_config('session_replication_role', 'replica', false) {SUPERUSER}")


def publish(session: Session, name: str) -> None:
    """Make the publication, inside a transaction."""
    # Of the tables that there are: one that is made later has perhaps no key, and its updates must not fail.
    tables = ", ".join(f"ONLY {each}" for each in column(session, PUBLISHED))
    execute(session, f"CREATE PUBLICATION {name} {f'FOR TABLE {tables}' if tables else ''}; "
                     f"COMMENT ON PUBLICATION {name} IS '{MARK}'")  # fmt: skip


def lock_tables(session: Session, ending: Session) -> None:
    """Let nobody but `session` write until its transaction ends; what holds up the locks for long is ended."""
    tables = ", ".join(f"ONLY {each}" for each in column(session, PUBLISHED))
    until = time.monotonic() + LOCK_SECONDS
    while True:
        execute(session, "BEGIN; SET LOCAL synchronous_commit = on; "
                         f"SET LOCAL lock_timeout = {GRACE_MILLISECONDS}")  # fmt: skip
        try:
            return execute(
                session, f"LOCK TABLE {tables} IN SHARE ROW EXCLUSIVE MODE" if tables else "SELECT"
            )
        except psycopg.errors.LockNotAvailable:
            execute(session, "ROLLBACK")
            if time.monotonic() > until:
                raise
            rows(ending, END + OTHERS.format("clock_timestamp()"))


def end_others(session: Session) -> None:
    """End the sessions from before: what they have not committed yet must not be committed later. Raise Problem."""
    others = OTHERS.format(literal(value(session, "SELECT clock_timestamp()::text")))
    until = time.monotonic() + END_SECONDS
    while rows(session, END + others) and (left := value(session, WRITING + others)):
        if time.monotonic() > until:
            raise fail(
                f"{left} sessions of the source do not let go", "use a superuser of the source as --user"
            )
        time.sleep(0.01)


def close_tables(session: Session, name: str, target: Session, database: str) -> str:
    """Close the source to writes, in a transaction that has locked its tables; return the statements that open it.

    `database` of the target's server is for what. The publication goes in the same transaction, the slot before.
    """
    system, oid = rows(target, "SELECT system_identifier::text, oid::int8 FROM pg_control_system(), pg_database "
                               "WHERE datname = %s", [database])[0]  # fmt: skip
    about = PREFIX + json.dumps({"server": system, "database": oid})
    undo = opening(session, name)
    body = ("BEGIN RAISE EXCEPTION 'this database was closed to writes by a migration to another server' USING "
            f"ERRCODE = 'read_only_sql_transaction', HINT = {literal('to open it again: ' + undo)}; END")  # fmt: skip
    statements = [
        f"CREATE SCHEMA {name}; COMMENT ON SCHEMA {name} IS {literal(about)}",
        f"CREATE FUNCTION {name}.closed() RETURNS trigger LANGUAGE plpgsql AS {literal(body)}",
    ]
    # For each row, as a statement's triggers are those of the partitioned table alone that it names.
    for table in column(session, PUBLISHED):
        statements += [
            f"CREATE TRIGGER {name} BEFORE INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW "
            f"EXECUTE FUNCTION {name}.closed()",
            f"CREATE TRIGGER {name}_all BEFORE TRUNCATE ON {table} EXECUTE FUNCTION {name}.closed()",
            f"ALTER TABLE ONLY {table} ENABLE ALWAYS TRIGGER {name}, ENABLE ALWAYS TRIGGER {name}_all",
        ]
    # No new tables either, and no triggers that are switched off by mistake.
    if value(session, f"SELECT true {SUPERUSER}"):
        statements += [
            f"CREATE FUNCTION {name}.closed_to_tables() RETURNS event_trigger LANGUAGE plpgsql AS {literal(body)}",
            f"CREATE EVENT TRIGGER {name} ON ddl_command_start WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', "
            f"'SELECT INTO', 'ALTER TABLE') EXECUTE FUNCTION {name}.closed_to_tables()",
            f"ALTER EVENT TRIGGER {name} ENABLE ALWAYS",
        ]
    # So that clients know before they try.
    statements.append(f"ALTER DATABASE {quote(session.info.dbname)} SET default_transaction_read_only = on")
    execute(session, "; ".join((*statements, f"DROP PUBLICATION {name}")))
    return undo


def opening(session: Session, name: str) -> str:
    """Return the statements that open a closed source, also typed in a session that is read-only."""
    reset = f"ALTER DATABASE {quote(session.info.dbname)} RESET default_transaction_read_only"
    return f"BEGIN READ WRITE; DROP SCHEMA {name} CASCADE; {reset}; COMMIT;"


def remove(session: Session, name: str) -> None:
    """Remove the slot, the publication and what closes the source, whichever are there."""
    drop_slot(session, name)
    if any(schema == name for schema, _ in rows(session, CLOSED)):
        execute(session, opening(session, name))
    execute(session, f"DROP PUBLICATION IF EXISTS {name}")


def drop_slot(session: Session, name: str) -> None:
    """Drop the replication slot if it is there, and end who reads it."""
    there = "FROM pg_replication_slots WHERE slot_name = %s"
    until = time.monotonic() + END_SECONDS
    while True:
        value(session, f"SELECT pg_terminate_backend(active_pid) {there}", [name])
        try:
            value(session, f"SELECT pg_drop_replication_slot(slot_name) {there}", [name])
            return
        except psycopg.errors.ObjectInUse:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def closed(source: Session, target: Session) -> str:
    """Return the statements that open a source which an earlier live migration closed for good, "" for an open one."""
    return next((opening(source, name) for name, is_here in _closings(source, target) if is_here), "")


def sweep(source: Session, target: Session, report: Reporter) -> None:
    """Take the right to migrate this database, which ends with the session, and remove what killed migrations left.

    Their sessions are ended first: one of them may be about to make the slot. Raise Problem when another migration of
    it is under way. target: to the stack's server, whose lock is held.
    """
    until = time.monotonic() + LOCK_SECONDS
    while not value(source, "SELECT pg_try_advisory_lock(%s)", [KEY]):
        if time.monotonic() > until:
            raise refuse("another move out of this database is under way", "wait until it has ended")
        time.sleep(0.1)
    while rows(source, END_OWN) != [(0, 0)] and time.monotonic() < until:
        time.sleep(0.02)
    prepare(source)
    halfway = [name for name, is_here in _closings(source, target) if not is_here]
    for name in sorted({*column(source, LEFT), *halfway}):
        report.message(f"removing {name}, which an interrupted move left on the source")
        remove(source, name)


def _closings(source: Session, target: Session) -> list[tuple[str, bool]]:
    found = [(name, json.loads(about)) for name, about in rows(source, CLOSED)]
    return [(name, value(target, IS_HERE, [each["server"], each["database"]])) for name, each in found]
