"""The database tasks against the operators' own commands, side by side on one stack, one database, one run.

    python -m tests.bench.bench_database [--gigabytes 0.1,1.2,4] [--only backup,restore]

Goals on two cores: a verified backup >= 3.5 times as fast as `pg_dump -Fc` and no larger; a restore >= 1.5 times as
fast as the documented one on the documented server (see plan_server), >= 1.4 times from three gigabytes on; both of a
database of a gigabyte and more. At any size the application away for at most 0.5 s, a task's own memory <= 80 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import stopwatch
from tests.bench.figures import Figure, report
from tests.bench.plan_server import docker, plan_server
from tests.engine.lifetime import own_stack
from tests.engine.stack import ROOT, Stack

SERVICES = "weppcloud,redis,postgres,postgres-backup"
WRITERS = ("weppcloud",)
GIGABYTE = 1e9
# What one "gigabyte" of the test database holds: tables and indexes of the kinds that web applications have.
TABLES = """
create table bench_account as select g id, g % 97 branch, (g * 7919) % 100000 balance, repeat(' ', 84) filler
  from generate_series(1::bigint, {accounts}) g;
alter table bench_account add primary key (id);
create table bench_event as select g id, (g * 48271) % {accounts} account,
  timestamp '2026-01-01' + g * interval '1 second' as moment, md5(g::text) token,
  'event number ' || g || ' of ' || md5((g * 31)::text) note from generate_series(1::bigint, {events}) g;
alter table bench_event add primary key (id);
create index on bench_event (account);
create index on bench_event (moment);
create index on bench_event (token, moment);
create table bench_document as select g id,
  jsonb_build_object('key', md5(g::text), 'tags', array[g % 7, g % 11, g % 13]) body
  from generate_series(1::bigint, {documents}) g;
alter table bench_document add primary key (id);
create index on bench_document using gin (body);
"""


def tables(gigabytes: float) -> str:
    """The statements that make a test database of about so many gigabytes."""
    rows = {"accounts": 1_500_000, "events": 2_200_000, "documents": 150_000}
    return TABLES.format(**{name: int(count * gigabytes) for name, count in rows.items()})


@dataclass
class Bench:
    """One stack that is measured, and what was found."""

    stack: Stack
    size: int = 0  # of the database, in bytes

    def goal(self, times: float) -> float | None:
        """How many times as fast a task shall be; what a start takes hides that in a small database."""
        return times if self.size >= GIGABYTE else None

    def sql(self, statement: str, database: str = "wepppy", user: str = "wepppy") -> str:
        """Run SQL in the database's container."""
        done = subprocess.run(
            ["docker", "exec", "-i", f"{self.stack.name}-postgres", "psql", "-XAtq", "-v", "ON_ERROR_STOP=1",
             "-U", user, "-d", database],
            input=statement, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    def task(self, *arguments: str) -> tuple[float, float, dict[str, Any]]:
        """Run a task with --json: seconds, megabytes of memory of its largest process, its answer."""
        started = stopwatch.start()
        with subprocess.Popen(
            ["invoke", *arguments, "--json"], cwd=ROOT, env=self.stack.task_environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            assert process.stdout
            told = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        if process.returncode:
            raise SystemExit(f"{arguments} ended with {process.returncode}: {told}")
        return seconds, usage.ru_maxrss / 1024, json.loads(told)

    def by_hand(self, *arguments: str) -> float:
        """Run `docker compose` as the operators' page says; the seconds it took."""
        started = stopwatch.start()
        done = self.stack.compose(*arguments, check=False, timeout=3600)
        if done.returncode:
            raise SystemExit(f"{arguments}: {done.stderr[-2000:]}")
        return time.monotonic() - started

    def rest(self) -> None:
        """Leave nothing to do to autovacuum and checkpointer."""
        self.sql(";".join(stopwatch.REST), user="postgres")

    def fill(self, gigabytes: float) -> None:
        """Make the test tables anew."""
        self.sql("drop table if exists bench_account, bench_event, bench_document")
        self.sql(tables(gigabytes))
        self.rest()
        self.size = int(self.sql("select pg_database_size('wepppy')"))


def backup(bench: Bench) -> list[Figure]:
    """The verified backup against the operators' dump."""
    line = 'pg_dump -h "$PGHOST" -U "$PGUSER" -d "$PGDATABASE" -Fc -f "/backups/wepppy-manual-20260101-000000.dump"'
    plan = bench.by_hand("run", "--rm", "-T", "postgres-backup", "bash", "-lc", line)
    ours, memory, told = bench.task("db-backup")
    manual = (backups(bench.stack) / "wepppy-manual-20260101-000000.dump").stat().st_size
    return [
        Figure("plan's pg_dump -Fc", plan, "s"),
        Figure("verified backup", ours, "s"),
        Figure("times as fast", plan / ours, "x", at_least=bench.goal(3.5)),
        Figure("size against the plan's", told["bytes"] / manual, "x", at_most=1),
        Figure("memory of the task", memory, "MB", at_most=80),
    ]


def restore(bench: Bench) -> list[Figure]:
    """The restore against the operators' six steps, on the plan's server and on the stack's own."""
    dump = str(backups(bench.stack) / "wepppy-manual-20260101-000000.dump")
    with plan_server(bench.stack.name) as server:
        server.load(dump)
        plan = restore_by_hand(bench, server.name, dump)
        server.remove("/tmp/restore.dump")
    here = restore_by_hand(bench, f"{bench.stack.name}-postgres", dump)
    bench.by_hand("exec", "-T", "postgres", "rm", "/tmp/restore.dump")
    bench.rest()
    ours, memory, told = bench.task("db-restore", "--dump=latest", "--yes")
    bench.sql(f'drop database "{told["kept"]}"', "postgres")
    return [
        Figure("plan's restore on its server, all of it downtime", plan, "s"),
        Figure("the same commands on this stack's server", here, "s"),
        Figure("restore beside, verify to probe, old one kept", ours, "s"),
        Figure("of it: reading the dump", told["seconds"]["verify"], "s"),
        Figure("of it: loading and checking", told["seconds"]["load"], "s"),
        Figure(
            "times as fast", plan / ours, "x", at_least=bench.goal(1.5 if bench.size < 3 * GIGABYTE else 1.4)
        ),
        Figure("times as fast as those commands here", here / ours, "x"),
        Figure("application away", told["seconds"]["downtime"], "s", at_most=0.5),
        Figure("memory of the task", memory, "MB", at_most=80),
    ]


def restore_by_hand(bench: Bench, server: str, dump: str) -> float:
    """The operators' steps 2 to 6 at a server's container; the seconds they took."""
    started = stopwatch.start()
    bench.by_hand("stop", *WRITERS)
    docker("cp", dump, f"{server}:/tmp/restore.dump")
    docker(
        "exec", server, "bash", "-lc",
        'pg_restore --clean --if-exists -U "$POSTGRES_USER" -d "$POSTGRES_DB" /tmp/restore.dump',
    )  # fmt: skip
    bench.by_hand("start", *WRITERS)
    wait_for_web(bench.stack)
    return time.monotonic() - started


def backups(stack: Stack) -> Path:
    """Folder of the stack's backups."""
    return stack.env_file.parent / "postgres-backups"


def wait_for_web(stack: Stack) -> None:
    """Return when the web application answers."""
    port = stack.settings["PORT_WEPPCLOUD"]
    while subprocess.run(
        ["curl", "-fso", "/dev/null", f"http://127.0.0.1:{port}/health"], check=False
    ).returncode:
        time.sleep(0.1)


BENCHES: dict[str, Callable[[Bench], list[Figure]]] = {"backup": backup, "restore": restore}


def main(arguments: Sequence[str]) -> int:
    """Measure what is asked for at each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", default="0.1,1.2,4", help="sizes, separated by commas")
    parser.add_argument("--only", default=",".join(BENCHES), help="benches, separated by commas")
    options = parser.parse_args(arguments)
    missed = 0
    with own_stack(Stack, "bench", SERVICES, **stopwatch.ALONE) as stack:
        bench = Bench(stack)
        for gigabytes in map(float, options.gigabytes.split(",")):
            bench.fill(gigabytes)
            for name in options.only.split(","):
                missed |= report(f"database {name}, {bench.size / GIGABYTE:.1f} GB", BENCHES[name](bench))
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
