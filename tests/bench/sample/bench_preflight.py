"""The preflight service with 1,000 clients on one run whose hash changes 50 times a second.

The goal: at most one read per change (and a few of the sweeps), however many clients there are, and the last state
reaches every one of them.
"""

from __future__ import annotations

import argparse
import sys

from tests.bench.figures import Figure, report
from tests.bench.sample.live_service import REDIS_PORT, measured

PORT = 19001


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=50, help="changes per second")
    parser.add_argument("--seconds", type=int, default=20)
    arguments = parser.parse_args()
    told = measured("preflight2", PORT, [
        "-host", f"127.0.0.1:{PORT}", "-redis", f"redis://127.0.0.1:{REDIS_PORT}/0",
        "-clients", str(arguments.clients), "-rate", str(arguments.rate), "-duration", f"{arguments.seconds}s",
    ])  # fmt: skip
    return report(
        "sample/preflight",
        [
            Figure("changes", told["changes"], ""),
            Figure("reads of the hash", told["reads"], "", at_most=told["changes"]),
            Figure("frames", told["frames"], ""),
            Figure("clients without the last state", told["without_last_state"], "", at_most=0),
            Figure("clients dropped", told["dropped"], "", at_most=0),
            Figure("last state p99", told["last_state_p99_ms"], "ms"),
            Figure("last state at most", told["last_state_max_ms"], "ms"),
            Figure("memory at most", round(told["megabytes"], 1), "MB"),
            Figure("processor", round(told["cores"], 3), "core"),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
