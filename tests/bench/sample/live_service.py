"""A Go service of the sample with a Redis of its own, and the program that puts it under load."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from typing import Any

REDIS_PORT = 16379
# The redis-server of the stack announces changes of hashes, too.
REDIS = [
    "redis-server",
    "--port",
    str(REDIS_PORT),
    "--bind",
    "127.0.0.1",
    "--save",
    "",
    "--notify-keyspace-events",
    "Kh",
]


def measured(service: str, port: int, arguments: Sequence[str]) -> dict[str, Any]:
    """Run `/opt/SERVICE/service` on `port` with its metrics on, and return what its load program tells."""
    prefix = service.removesuffix("2").upper()
    environment = {
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(REDIS_PORT),
        f"{prefix}_LISTEN_ADDR": f"127.0.0.1:{port}",
        f"{prefix}_METRICS_ENABLED": "true",
        f"{prefix}_LOG_LEVEL": "error",
    }
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        _start(stack, [*REDIS, "--dir", folder], stdout=subprocess.DEVNULL)
        program = _start(stack, [f"/opt/{service}/service"], env={**os.environ, **environment})
        _wait(f"http://127.0.0.1:{port}/health", program)
        load = [f"/opt/load/{service}", "-pid", str(program.pid), *arguments]
        outcome = subprocess.run(load, capture_output=True, text=True, check=False)
        if outcome.returncode:
            raise SystemExit(f"{service}-load: {outcome.stderr}")
    figures: dict[str, Any] = json.loads(outcome.stdout)
    return figures


def _start(stack: contextlib.ExitStack, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    process = stack.enter_context(subprocess.Popen(command, **options))
    stack.callback(process.terminate)
    return process


def _wait(address: str, program: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and program.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return
        time.sleep(0.1)
    raise SystemExit("the service did not start")
