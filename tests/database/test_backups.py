"""The backup sidecar on a real engine: the operators' commands, its schedule, its watcher, a full disk."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.database.stack import LightStack

SIDECAR = "postgres-backup"
DAY = 86400
# Bytes that nothing packs, a hundred megabytes of them.
BULK = """
CREATE TABLE bulk AS SELECT n, (SELECT string_agg(uuid_send(gen_random_uuid()), '') FROM generate_series(1, 64 + n % 2))
FROM generate_series(1, 100000) n
"""
# Answers every POST and prints what it was sent.
WATCHER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.rfile.read(int(self.headers["Content-Length"])).decode(), flush=True)
        self.send_response(204)
        self.end_headers()
    def log_message(self, *words): pass
http.server.HTTPServer(("", 8000), Handler).serve_forever()
"""


def until(wanted: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """The first true answer of `wanted`; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := wanted()):
        assert time.monotonic() < deadline, f"{what} did not come in {seconds:g} s"
        time.sleep(0.1)
    return answer


def dumps(folder: Path) -> list[str]:
    """Names of the dumps in a folder, the oldest first."""
    return sorted(each.name for each in folder.glob("*.dump"))


def companions_of(folder: Path, *beginnings: str) -> list[str]:
    """Names of what lies in a folder and begins with one of these."""
    return [each.name for each in folder.iterdir() if each.name.startswith(beginnings)]


@pytest.fixture
def folder(stack: LightStack, tmp_path: Path) -> Path:
    """An empty folder for backups that the sidecar's user may write to."""
    made = tmp_path / "backups"
    made.mkdir()
    if os.getuid() == 0:
        tmp_path.chmod(0o755)
        os.chown(made, int(stack.settings["UID"]), int(stack.settings["GID"]))
    return made


@contextmanager
def sidecar(
    stack: LightStack, name: str, backups: Path | str, *command: str, **variables: object
) -> Iterator[str]:
    """Another sidecar beside the stack's own, with a folder or volume of its own; gone afterwards."""
    container = f"{stack.name}-{name}"
    options = [f"--env={key}={value}" for key, value in variables.items()]
    stack.compose(
        "run", "--detach", "--no-deps", "--name", container, "--volume", f"{backups}:/backups", *options,
        SIDECAR, *(command or ("wepp-backup", "keep")),
    )  # fmt: skip
    try:
        yield container
    finally:
        stack.docker("rm", "--force", "--volumes", container)


def health(container: str) -> tuple[int, str]:
    """Exit status and words of the sidecar's health check."""
    done = subprocess.run(
        ["docker", "exec", container, "wepp-backup", "health"], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def saying(container: str, word: str) -> tuple[int, str]:
    """The health check's answer once it holds a word."""
    until(lambda: word in health(container)[1], f"{word!r} in the health check")
    return health(container)


def age(folder: Path, name: str, days: float) -> None:
    """Makes a finished backup so many days older, in its manifest and in its files' times."""
    then = time.time() - days * DAY
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(then))
    manifest = json.loads((folder / f"{name}.json").read_text())
    aged = f"wepppy-{stamp}.dump"
    manifest |= {"name": aged, "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(then))}
    (folder / f"{name}.json").write_text(json.dumps(manifest))
    for each in folder.glob(f"{name}*"):
        os.utime(each, (then, then))
        each.rename(folder / each.name.replace(name, aged))


# ---- the operators' page, word for word ----


def test_the_latest_dumps_are_listed_as_the_operators_do(stack: LightStack) -> None:
    made = json.loads(stack.must("db-backup", "--json"))
    listed = stack.compose("exec", "-T", SIDECAR, "ls", "-l", "/backups").stdout
    assert made["name"] in listed


def test_a_dump_by_hand_lands_on_the_host_in_the_callers_ownership(stack: LightStack) -> None:
    line = (
        'pg_dump -h "$PGHOST" -U "$PGUSER" -d "$PGDATABASE" -Fc '
        '-f "/backups/wepppy-manual-$(date +%Y%m%d-%H%M%S).dump"'
    )
    before = set(dumps(stack.backups))
    stack.compose("run", "--rm", SIDECAR, "bash", "-lc", line)
    (name,) = set(dumps(stack.backups)) - before
    assert name.startswith("wepppy-manual-")
    assert (stack.backups / name).stat().st_uid == int(stack.settings["UID"])
    stack.must("db-verify", f"--dump={name}")
    listed = json.loads(stack.must("db-backups", "--json"))["backups"]
    assert [each["verified"] for each in listed if each["name"] == name] == [False]


def test_both_schedule_variables_are_obeyed(stack: LightStack, folder: Path) -> None:
    with sidecar(stack, "first", folder, BACKUP_INTERVAL_SECONDS=3600):
        (first,) = until(lambda: dumps(folder), "the first backup")
        assert (folder / first).stat().st_mode & 0o777 == 0o600
    age(folder, first, 3)
    (folder / "wepppy-manual-20200101-000000.dump").touch()
    os.utime(folder / "wepppy-manual-20200101-000000.dump", (0, 0))
    (folder / "wepppy-before-the-upgrade.dump").touch()
    os.utime(folder / "wepppy-before-the-upgrade.dump", (0, 0))
    old = dumps(folder)[0]
    with sidecar(stack, "second", folder, BACKUP_INTERVAL_SECONDS=2, BACKUP_KEEP_DAYS=1) as container:
        # Pruning follows a backup: the new one is there a moment before the old ones are gone.
        until(lambda: not companions_of(folder, old, "wepppy-manual-"), "pruning")
        until(lambda: len(dumps(folder)) >= 4, "several backups")
        assert (folder / "wepppy-before-the-upgrade.dump").exists()
        # Young enough means two and a half seconds here, which a busy machine overruns now and then.
        until(lambda: health(container)[0] == 0, "health")


# ---- what is wrong is told ----


@pytest.fixture
def watcher(stack: LightStack) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Somebody at http://watcher:8000 on the sidecar's way out; what he was told so far."""
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
    settings = {"BACKUP_HOOK_URL": "http://watcher:8000/secret-path", "BACKUP_DRILL_INTERVAL_SECONDS": 3600}
    with sidecar(stack, "telling", folder, **settings) as container:
        until(lambda: len(watcher()) >= 2, "two messages")
        told = watcher()
        assert [(each["event"], each["ok"]) for each in told] == [("backup", True), ("drill", True)]
        assert told[0]["rows"] == told[1]["rows"] > 0
        (name,) = dumps(folder)
        assert json.loads((folder / f"{name}.drilled").read_text())["ok"] is True
        assert not [each for each in stack.databases() if "_incoming_" in each]
        assert "secret-path" not in stack.docker("logs", container)
    with sidecar(stack, "failing", folder, PGPORT=1, BACKUP_INTERVAL_SECONDS=1, **settings) as container:
        message = until(lambda: next((m for m in watcher() if not m["ok"]), None), "the failure")
        assert "no server answers" in message["problem"]
        status, words = saying(container, "failed")
        assert status != 0
        assert "no server answers" in words
        assert "the last verified backup" in words


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


# ---- what goes wrong harms nothing ----


@pytest.fixture
def bulk(stack: LightStack) -> Iterator[None]:
    """A hundred megabytes in the database."""
    stack.psql(BULK)
    yield
    stack.psql("DROP TABLE bulk")


@pytest.mark.usefixtures("bulk")
def test_a_disk_that_becomes_full_leaves_nothing_and_is_told(stack: LightStack) -> None:
    volume = f"{stack.name}-small"
    owner = f"uid={stack.settings['UID']},gid={stack.settings['GID']}"
    # Room for what a database of that size most often packs to, and not for what this one does.
    stack.docker(
        "volume", "create", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", f"o=size=92m,{owner}", volume
    )  # fmt: skip
    try:
        with sidecar(stack, "full", volume) as container:
            status, words = saying(container, "failed")
            assert status != 0
            assert "is full" in words
            left = stack.docker("exec", container, "ls", "-A", "/backups").split()
            assert [name for name in left if "dump" in name] == []
    finally:
        stack.docker("volume", "rm", "--force", volume)


@pytest.mark.usefixtures("bulk")
def test_a_sidecar_that_is_killed_while_it_dumps_leaves_the_earlier_backups_and_the_next_run_cleans_up(
    stack: LightStack, folder: Path
) -> None:
    with sidecar(stack, "first", folder, BACKUP_INTERVAL_SECONDS=3600):
        (first,) = until(lambda: dumps(folder), "the first backup")
    for number in range(3):
        with sidecar(stack, f"killed-{number}", folder, "wepp-backup", "dump") as container:
            until(lambda: list(folder.glob(".*.dump.partial")), "the dump in the making")
            time.sleep(0.3 * number)
            stack.docker("kill", "--signal=KILL", container, check=False)
        assert dumps(folder)[0] == first
    before = dumps(folder)
    with sidecar(stack, "next", folder, "wepp-backup", "dump") as container:
        stack.docker("wait", container)
        assert len(dumps(folder)) == len(before) + 1, stack.docker("logs", container)
    assert list(folder.glob(".*.partial")) == []
    for name in dumps(folder):
        sums = subprocess.run(
            ["sha256sum", "--check", f"{name}.sha256"], cwd=folder, check=False, capture_output=True
        )
        assert sums.returncode == 0, sums


@pytest.mark.usefixtures("bulk")
def test_two_backups_at_once_are_made_one_after_the_other(stack: LightStack) -> None:
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda _: json.loads(stack.must("db-backup", "--json")), range(2))
    assert first["name"] != second["name"]
    assert first["rows"] == second["rows"]
    assert list(stack.backups.glob(".*.partial")) == []
