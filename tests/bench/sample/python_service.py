"""A service of the sample tree on this machine, started as the stack starts it, with generated data."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_TREE = Path(__file__).resolve().parents[3] / "docker" / "sample"
RUN = "bench-run"


@dataclass(frozen=True)
class Service:
    """Where the service listens, and the box (degrees) that its data covers."""

    host: str
    port: int
    extent: tuple[float, float, float, float]

    @property
    def url(self) -> str:
        """The URL of its root."""
        return f"http://{self.host}:{self.port}"


@contextlib.contextmanager
def running(module: str, workers: int, options: Sequence[str] = ()) -> Iterator[Service]:
    """Run `module:app` with gunicorn until the block ends; one run has the generated terrain model."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        geodata, run = Path(folder) / "geodata", Path(folder) / "wc1" / "runs" / RUN[:2] / RUN / "dem"
        run.mkdir(parents=True)
        env = {
            **os.environ,
            "PYTHONPATH": str(SAMPLE_TREE),
            "PYTHONDONTWRITEBYTECODE": "1",
            "GEODATA_DIR": str(geodata),
            "WC1_DIR": str(Path(folder) / "wc1"),
            "SITE_PREFIX": "/weppcloud",
        }
        subprocess.run([sys.executable, "-m", "wepppy.sample_data"], env=env, check=True, stdout=sys.stderr)
        (run / "dem.tif").hardlink_to(geodata / "ned1" / "2016" / "dem.tif")
        left, bottom, right, top = json.loads((geodata / "sample-data.json").read_text())["run_extent"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        command = [sys.executable, "-m", "gunicorn", f"{module}:app", *options, "--no-control-socket"]
        server = subprocess.Popen(
            [*command, "--bind", f"127.0.0.1:{port}", "--workers", str(workers), "--log-level", "warning"],
            env=env,
        )
        try:
            service = Service("127.0.0.1", port, (left, bottom, right, top))
            _wait(service, server)
            yield service
        finally:
            server.terminate()
            server.wait(timeout=30)


def _wait(service: Service, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{service.url}/health", timeout=5):
            return
        time.sleep(0.1)
    raise SystemExit("the service did not start")
