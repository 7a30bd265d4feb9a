"""Requests per second and 99th percentile of the elevation service, at points all over the sample terrain (wrk).

The goal on two cores, client included: at least 1,000 requests per second, 99 of 100 within 20 ms.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.figures import Figure, report
from tests.bench.sample.python_service import RUN, running

# wrk asks for each request; the summary goes to standard error so that it can be told from wrk's own.
SCRIPT = """
local left, bottom, right, top = %s
local path = "%s"
request = function()
  local lng, lat = left + math.random() * (right - left), bottom + math.random() * (top - bottom)
  return wrk.format("GET", path .. "?lat=" .. lat .. "&lng=" .. lng)
end
done = function(summary, latency, _)
  local errors = summary.errors
  io.stderr:write(string.format(
    '{"requests_per_second": %%.0f, "p50_ms": %%.2f, "p99_ms": %%.2f, "requests": %%d, "failed": %%d}',
    summary.requests / summary.duration * 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    summary.requests, errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1, help="as the stack has it")
    parser.add_argument("--clients", type=int, default=8, help="connections kept open")
    parser.add_argument("--seconds", type=int, default=10)
    arguments = parser.parse_args()
    options = ["-k", "uvicorn.workers.UvicornWorker"]
    with (
        running("wepppy.microservices.elevationquery", arguments.workers, options) as service,
        tempfile.TemporaryDirectory() as folder,
    ):
        script = Path(folder) / "points.lua"
        path = f"/weppcloud/runs/{RUN}/sample/elevationquery"
        script.write_text(SCRIPT % (", ".join(map(str, service.extent)), path))
        clients = ["-t", "1", "-c", str(arguments.clients), "-s", str(script)]
        subprocess.run(["wrk", *clients, "-d", "2", service.url], capture_output=True, check=True)  # warm
        command = ["wrk", *clients, "-d", str(arguments.seconds), service.url]
        outcome = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    figures = json.loads(outcome)
    return report(
        "sample/elevationquery",
        [
            Figure("requests", figures["requests_per_second"], "1/s", at_least=1000),
            Figure("latency p50", figures["p50_ms"], "ms"),
            Figure("latency p99", figures["p99_ms"], "ms", at_most=20),
            Figure("failed requests", figures["failed"], "", at_most=0),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
