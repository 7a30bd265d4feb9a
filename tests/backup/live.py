"""What tests of live migrations share: what is moved, how, and to which moment."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from wepp_backup.events import Reporter
from wepp_backup.live_migration import LiveMigration
from wepp_backup.live_source import MIGRATION_NAME
from wepp_backup.migration_plan import live_obstacles
from wepp_backup.server import Server, column, execute
from wepp_backup.staging import Lock, Staging
from wepp_backup.switchover import switch_over
from wepp_backup.way_back import WayBack

from tests.backup.conftest import SOURCE

TABLES = """
CREATE TABLE run (id int PRIMARY KEY, name text);
CREATE TABLE flow (day date, site int, mm real, PRIMARY KEY (day, site)) PARTITION BY RANGE (day);
CREATE TABLE flow_early PARTITION OF flow FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE flow_late PARTITION OF flow FOR VALUES FROM ('2026-01-01') TO (MAXVALUE) PARTITION BY HASH (site);
CREATE TABLE flow_late_0 PARTITION OF flow_late FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE TABLE "odd "" name" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note jsonb,
  twice int GENERATED ALWAYS AS (2) STORED);
CREATE TABLE whole (word text); ALTER TABLE whole REPLICA IDENTITY FULL;
CREATE MATERIALIZED VIEW per_site AS SELECT site, sum(mm) FROM flow GROUP BY site;
CREATE SEQUENCE numbers;
INSERT INTO run SELECT g, 'run ' || g FROM generate_series(1, 1000) g;
INSERT INTO flow SELECT date '2025-12-01' + g % 60, g / 60, g FROM generate_series(0, 599) g;
INSERT INTO "odd "" name" (note) SELECT '{}' FROM generate_series(1, 50);
INSERT INTO whole VALUES ('a'), ('b');
SELECT nextval('numbers');
"""
LEFTOVERS = """
SELECT slot_name::text FROM pg_replication_slots UNION ALL SELECT pubname::text FROM pg_publication
UNION ALL SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'wepp%'
UNION ALL SELECT evtname::text FROM pg_event_trigger
UNION ALL SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setrole = 0"""


def migration(source: Server, lock: Lock, report: Reporter) -> LiveMigration:
    way = WayBack(lock, Path(lock.server.host), lock.server.host)
    return LiveMigration(replace(source, application_name=MIGRATION_NAME), SOURCE, lock, report, way)


def copied(source: Server, lock: Lock, snapshot: str) -> Staging:
    """A staging database with what the snapshot shows."""
    staging = Staging.create(lock, None)
    dump = subprocess.run(
        ["pg_dump", "--format=custom", f"--snapshot={snapshot}", "--no-publications", f"--dbname={SOURCE}"],
        env={**os.environ, **source.environment()}, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    subprocess.run(
        ["pg_restore", "--exit-on-error", f"--dbname={staging.name}"],
        env={**os.environ, **lock.server.environment()}, input=dump.stdout, check=True,
    )  # fmt: skip
    return staging


def moved(
    source: Server, lock: Lock, report: Reporter, between: Callable[[], None] = lambda: None
) -> tuple[str, str]:
    """Migrate; return what was compared, and the statements that open the source."""
    with migration(source, lock, report) as live:
        staging = copied(source, lock, live.begin())
        between()
        live.follow(staging)
        equal, _ = live.lock_source("")
        live.close_source()
        switch_over(lock, staging.name, about="replaced by a migration")
        live.finished = True
        return equal, live.opening


def reach(live: LiveMigration, source: Server, lock: Lock, moment: str) -> Staging | None:
    snapshot = live.begin()
    if moment == "begun":
        return None
    staging = copied(source, lock, snapshot)
    live.follow(staging)
    if moment in ("locked", "closed"):
        live.lock_source("")
    if moment == "closed":
        live.close_source()
    return staging


def require_open(source_server: Server) -> None:
    with source_server.connect(SOURCE) as session:
        assert column(session, LEFTOVERS) == []
        execute(session, "INSERT INTO public.run VALUES (7000, 'on')")


def obstacles(server: Server, lock: Lock) -> list[str]:
    with server.connect(SOURCE) as session:
        return [f"{what} ({fix})" for what, fix in live_obstacles(server, session, lock.session)]
