"""The status service with 1,000 clients on one run and 20 messages a second: 20,000 frames a second.

The goal on two cores, clients included: none lost, 99 of 100 within 25 ms, at most 60 MB and 0.35 core. A goroutine
and a Redis subscription per client, as upstream has it, takes 173 ms, 126 MB and 1.03 cores for the same.
"""

from __future__ import annotations

import argparse
import sys

from tests.bench.figures import Figure, report
from tests.bench.sample.live_service import REDIS_PORT, measured

PORT = 19002


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=20, help="messages per second")
    parser.add_argument("--seconds", type=int, default=20)
    arguments = parser.parse_args()
    told = measured("status2", PORT, [
        "-url", f"ws://127.0.0.1:{PORT}", "-redis", f"redis://127.0.0.1:{REDIS_PORT}/2",
        "-clients", str(arguments.clients), "-rate", str(arguments.rate), "-duration", f"{arguments.seconds}s",
    ])  # fmt: skip
    return report(
        "sample/status",
        [
            Figure("frames", told["frames"], ""),
            Figure("frames lost", told["lost"], "", at_most=0),
            Figure("clients dropped", told["dropped"], "", at_most=0),
            Figure("delay p50", told["p50_ms"], "ms"),
            Figure("delay p99", told["p99_ms"], "ms", at_most=25),
            Figure("memory at most", round(told["megabytes"], 1), "MB", at_most=60),
            Figure("processor", round(told["cores"], 3), "core", at_most=0.35),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
