"""What is told of the backups: to the health check, and to whoever watches at an address that is a secret."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.base import files
from tests.database.sidecar import SIDECAR, dumps, health, saying, sidecar, until
from tests.database.stack import LightStack
from tests.database.test_secrets import Watch

DAY = 86400
TOKEN = "t0ken-of-the-watcher"
# Answers every POST and prints what it was sent.
WATCHER = """
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(json.dumps(message | {"path": self.path}), flush=True)
        self.send_response(204)
        self.end_headers()
    def log_message(self, *words): pass
http.server.HTTPServer(("", 8000), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def watched(light: LightStack) -> Iterator[Watch]:
    """The light stack with an address set the way people do it, and who of this machine's processes saw the token."""
    seen = Watch([TOKEN])
    with seen.open():
        hook(light, f"http://watcher:8000/{TOKEN}")
        yield seen
    hook(light, "")


def logs(container: str) -> str:
    """All that a container has said."""
    done = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def hook(stack: LightStack, address: str) -> None:
    """Writes the address into its secret file and has `compose-up` put it into effect."""
    files.replace(stack.secret_file("backup_hook_url"), address, 0o444)
    stack.must("compose-up", f"--services={','.join(stack.services)}")


@pytest.fixture
def watcher(stack: LightStack, watched: Watch) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Somebody at http://watcher:8000 on the sidecar's way out; the address's path and what he was told so far."""
    container = f"{stack.name}-watcher"
    stack.docker(
        "run", "--detach", "--name", container, "--network", f"{stack.name}_outward", "--network-alias", "watcher",
        f"{stack.name}-python:dev", "python", "-c", WATCHER,
    )  # fmt: skip
    try:
        yield lambda: [json.loads(line) for line in stack.docker("logs", container).splitlines()]
    finally:
        stack.docker("rm", "--force", container)


def test_success_and_failure_are_told_and_test_restores_are_really_held(
    stack: LightStack, folder: Path, watcher: Callable[[], list[dict[str, Any]]]
) -> None:
    settings = {"BACKUP_DRILL_INTERVAL_SECONDS": 3600}
    with sidecar(stack, "telling", folder, **settings):
        until(lambda: len(watcher()) >= 2, "two messages")
        told = watcher()
        assert [(each["event"], each["ok"]) for each in told] == [("backup", True), ("drill", True)]
        assert told[0]["rows"] == told[1]["rows"] > 0
        assert {each["path"] for each in told} == {f"/{TOKEN}"}
        (name,) = dumps(folder)
        # The message is sent first, for the record's disk may be the trouble.
        until((folder / f"{name}.drilled").exists, "the record")
        assert json.loads((folder / f"{name}.drilled").read_text())["ok"] is True
        assert not [each for each in stack.databases() if "_incoming_" in each]
    with sidecar(stack, "failing", folder, PGPORT=1, BACKUP_INTERVAL_SECONDS=1, **settings) as container:
        message = until(lambda: next((m for m in watcher() if not m["ok"]), None), "the failure")
        assert "no server answers" in message["problem"]
        status, words = saying(container, "failed")
        assert status != 0
        assert "no server answers" in words
        assert "the last verified backup" in words


def test_the_watchers_address_is_seen_by_nobody_and_a_new_one_takes_effect(
    stack: LightStack, watched: Watch, watcher: Callable[[], list[dict[str, Any]]]
) -> None:
    said = stack.must("db-backup", "--json")
    until(lambda: watcher(), "the message")
    hook(stack, f"http://watcher:8000/{TOKEN}/second")
    stack.must("db-backup")
    until(lambda: watcher()[-1]["path"] == f"/{TOKEN}/second", "the message at the new address")
    stack.docker("stop", f"{stack.name}-watcher")
    done = stack.compose("run", "--rm", "-T", SIDECAR, "wepp-backup", "dump")
    assert "BACKUP_HOOK_URL was not told" in done.stdout
    said += done.stdout + done.stderr + stack.must("compose-config") + stack.must("compose-up", "--json")
    said += json.dumps(stack.inspect()) + logs(stack.container(SIDECAR))
    said += stack.in_sidecar("env") + stack.must("db-backups", "--json")
    assert TOKEN not in said
    assert watched.seen == set()


@pytest.mark.parametrize("since", [0.5, 8.0])
def test_a_test_restore_that_cannot_be_held_is_told_once_a_quarter_of_its_interval_has_gone_by(
    stack: LightStack, folder: Path, since: float
) -> None:
    with sidecar(stack, "first", folder, BACKUP_INTERVAL_SECONDS=DAY):
        (name,) = until(lambda: dumps(folder), "the first backup")
    manifest = json.loads((folder / f"{name}.json").read_text())
    manifest["database_bytes"] = 10**15  # as large as no server's disk
    (folder / f"{name}.json").write_text(json.dumps(manifest))
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - since * 3600))
    (folder / ".drill-try.json").write_text(json.dumps({"since": began}))
    (folder / ".drill-try.json").chmod(0o666)
    with sidecar(stack, "drilling", folder, BACKUP_DRILL_INTERVAL_SECONDS=DAY) as container:
        until(lambda: "no test restore" in logs(container), "the try")
        status, words = health(container)
        assert "the last verified backup" in words
        assert (status != 0) == (since > 6)
        assert ("no test restore could be held for 8 h" in words) == (since > 6)
        assert not (folder / f"{name}.drilled").exists()  # nothing is known of the dump


def test_a_backup_that_is_not_what_its_manifest_says_fails_its_test_restore(
    stack: LightStack, folder: Path
) -> None:
    with sidecar(stack, "first", folder, BACKUP_INTERVAL_SECONDS=3600):
        (name,) = until(lambda: dumps(folder), "the first backup")
    manifest = json.loads((folder / f"{name}.json").read_text())
    manifest["tables"]["public.alembic_version"] += 1
    (folder / f"{name}.json").write_text(json.dumps(manifest))
    with sidecar(
        stack, "drilling", folder, BACKUP_INTERVAL_SECONDS=3600, BACKUP_DRILL_INTERVAL_SECONDS=3600
    ) as container:
        until((folder / f"{name}.drilled").exists, "the test restore")
        status, words = saying(container, "test restore")
        assert status != 0
        assert "public.alembic_version has 1 rows instead of 2" in words
        assert not [each for each in stack.databases() if "_incoming_" in each]
