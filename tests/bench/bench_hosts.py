"""A batch of runs over one, two and three worker hosts; how long a host takes to join, and a lost one's jobs to return.

    python -m tests.bench.bench_hosts [--runs 40] [--cpus 0.5]

The main host, which computes nothing meanwhile, and each worker host have an engine of their own on this machine; each
worker host gets the same share of a processor, so that the work is bound by a host's limit and not by the machine. A
batch counts from the moment at which the workers may begin until its last report is there.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from tests.bench import stopwatch
from tests.bench.figures import Figure, report
from tests.hosts.engines import Engine, engines, load, run
from tests.hosts.farm import Farm, Invited, main_host, shared_folder

HOSTS = ("first", "second", "third")
GOALS = {2: 1.9, 3: 2.8}
# What `rq suspend` does: workers take no job until the key is gone.
SUSPEND = (
    "import sys; from redis import Redis; from wepppy.config.redis_settings import RedisDB, redis_url; "
    + (
        "queues = Redis.from_url(redis_url(RedisDB.RQ)); "
        "queues.set('rq:suspended', 1) if sys.argv[1:] else queues.delete('rq:suspended')"
    )
)


def limit(cpus: float, *hosts: Engine) -> None:
    """Give each host so much of a processor."""
    run("docker", "update", f"--cpus={cpus}", *(each.container for each in hosts))


def batch(farm: Farm, count: int) -> float:
    """Seconds that a batch takes."""
    farm.in_main(SUSPEND, "yes")
    runids = farm.create(count)
    farm.enqueue("default", runids)
    began = stopwatch.start()
    farm.in_main(SUSPEND)
    farm.wait_until("the batch ends", lambda: all(farm.ended(each) for each in runids))
    return time.monotonic() - began


def queued_again(farm: Farm, host: str) -> float:
    """Seconds from the loss of a host to the moment at which its jobs wait in their queue again."""
    runids = farm.create(6)
    farm.enqueue("default", runids)
    farm.wait_for_jobs_of(host)
    lost = time.monotonic()
    farm.engine(host).kill()
    farm.wait_until(
        "its jobs are queued again", lambda: any("queued again" in farm.log(each) for each in runids)
    )
    return time.monotonic() - lost


def measure(count: int, cpus: float) -> list[Figure]:
    """All figures."""
    with shared_folder("bench-hosts") as shared, engines("main", *HOSTS, folders=[shared]) as made:
        main_engine, *others = made
        with main_host(main_engine, shared) as main:
            load([f"{main.name}-python:prod"], *others)
            farm = Farm(main, shared / "wc1" / "runs")
            joined = []
            for each in others:
                invited = Invited(main, each, shared.parent / f"{each.name}-{os.getpid()}")
                farm.invited[each.name] = invited
                began = time.monotonic()
                invited.join()
                joined.append(time.monotonic() - began)
            main.compose("stop", "rq-worker")
            limit(cpus, *others)
            seconds = {}
            for hosts in (3, 2, 1):
                for each in others[hosts:]:
                    farm.invited[each.name].host.invoke("compose-down")
                seconds[hosts] = batch(farm, count)
            limit(os.cpu_count() or 1, *others)
            main.compose("start", "rq-worker")
            farm.wait_until("the main host computes", lambda: farm.hosts()["main"]["workers"] == "2 of 2")
            again = queued_again(farm, HOSTS[0])
            for invited in farm.invited.values():
                invited.end()
    return [
        Figure("worker-join, the image being there: the slowest of three", max(joined), "s", at_most=30),
        *(
            Figure(f"{count} runs over {hosts} worker hosts with {cpus:g} of a processor each", taken, "s")
            for hosts, taken in sorted(seconds.items())
        ),
        *(
            Figure(f"throughput of {hosts} against one", seconds[1] / seconds[hosts], "x", at_least=goal)
            for hosts, goal in GOALS.items()
        ),
        Figure("a host killed, its jobs queued again", again, "s", at_most=30),
    ]


def main(arguments: Sequence[str]) -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--cpus", type=float, default=0.5)
    options = parser.parse_args(arguments)
    return report("hosts", measure(options.runs, options.cpus))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
