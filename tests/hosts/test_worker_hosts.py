"""Workers on other hosts: join, compute what the web application starts, be refused with the reason, leave."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.stack import Stack
from tests.hosts.engines import Engine, run
from tests.hosts.farm import GID, UID, Invited, WorkerHost
from tests.hosts.site import MainHost

REDIS_USERS = [
    "exec",
    "-T",
    "redis",
    "sh",
    "-c",
    "REDISCLI_AUTH=$(cat $REDIS_PASSWORD_FILE) redis-cli acl users",
]
ROLES = ["exec", "-T", "postgres", "psql", "-XAtU", "postgres", "-c", "SELECT rolname FROM pg_roles"]


@pytest.fixture
def folder(shared: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Where a worker host keeps its `.env` and what lies beside it."""
    made = shared.parent / f"host-{abs(hash(request.node.name)) % 10**6}"
    made.mkdir()
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def invited(main: MainHost, hosts: tuple[Engine, ...], image: str, folder: Path) -> Iterator[Invited]:
    """The first host, which has the image."""
    made = Invited(main, hosts[0], folder)
    assert image
    yield made
    made.end()


def stores(main: MainHost) -> str:
    """Who may log in at Redis and at Postgres."""
    return main.compose(*REDIS_USERS).stdout + main.compose(*ROLES).stdout


def test_a_joined_host_computes_what_the_web_application_starts_and_leaves_nothing_behind(
    main: MainHost, invited: Invited, shared: Path
) -> None:
    answer = json.loads(invited.join().stdout)
    assert answer["ok"]
    assert "worker-workers" in stores(main)
    main.compose("stop", "rq-worker")
    try:
        runid, _ = main.compute("computed elsewhere")
    finally:
        main.compose("start", "rq-worker")
    listed = json.loads(main.invoke("workers", "--json").stdout)
    assert {(each["host"], each["workers"], each["wrong"]) for each in listed["hosts"]} == {
        ("main", "2 of 2", ""),
        ("workers", "2 of 2", ""),
    }
    assert (shared / "wc1" / "runs" / runid[:2] / runid / "report.json").is_file()
    for task in ("compose-up", "compose-status", "workers", "doctor"):
        invited.host.invoke(task)
    invited.host.invoke("worker-leave")
    assert not invited.host.stack.env_file.exists()
    listed = json.loads(main.invoke("workers", "--json").stdout)
    assert [each["host"] for each in listed["hosts"]] == ["main"]
    assert "worker-workers" not in stores(main)


@pytest.mark.core
def test_the_port_is_open_at_the_private_address_alone_and_to_certificates_alone(
    main: MainHost, invited: Invited
) -> None:
    assert invited.file.exists()
    address, port = main.settings["WORKER_ADDRESS"], int(main.settings["WORKER_PORT"])
    # Neither at another address of that host, nor the stores themselves.
    reach = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"
    for each in (("127.0.0.1", port), ("172.17.0.1", port), (address, 6379), (address, 5432)):
        asked = ["docker", "exec", main.engine.container, "python3", "-c", reach, each[0], str(each[1])]
        assert "ConnectionRefusedError" in run(*asked, check=False).stderr, each
    context = ssl.create_default_context(cafile=str(main.secret_file("worker_authority")))
    context.check_hostname = False
    with socket.create_connection((address, port), 10) as plain:
        plain.sendall(b"PING\r\n")
        assert plain.recv(100)[:1] in (b"", b"\x15"), "an alert of TLS or nothing"
    assert answer_without_certificate(context, address, port) == b""


def answer_without_certificate(context: ssl.SSLContext, address: str, port: int) -> bytes:
    """What comes back; the server may end the connection with an alert or without."""
    with (
        socket.create_connection((address, port), 10) as plain,
        context.wrap_socket(plain) as wrapped,
        contextlib.suppress(ssl.SSLError, ConnectionError),
    ):
        wrapped.sendall(b"PING\r\n")
        return wrapped.recv(100)
    return b""


@pytest.mark.parametrize(
    ("size", "owner", "token", "words"),
    [
        ("64m", UID, True, "less than 1 GiB of room"),
        ("2g", UID + 1, True, "belongs to 1001:1000 here"),
        ("2g", UID, False, "another folder than on the main host"),
    ],
    ids=["a full disk", "another owner", "another folder"],
)
def test_a_folder_that_is_not_the_main_hosts_is_refused_and_nothing_stays(
    invited: Invited, shared: Path, size: str, owner: int, token: bool, words: str
) -> None:
    engine, runs = invited.host.engine, shared / "wc1"
    engine.shell(f"mkdir -p /kept && cp -a {runs}/.wepp-stack-* /kept/")
    engine.shell(f"mount -t tmpfs -o size={size},uid={owner},gid={GID},mode=0777 tmpfs {runs}")
    try:
        if token:
            engine.shell(f"cp /kept/.wepp-stack-* {runs}/")
        done = invited.join(check=False)
        assert done.returncode == 4
        assert words in done.stderr
        assert not invited.host.stack.env_file.exists()
        assert not list(invited.host.stack.env_file.parent.glob("secrets/*"))
        assert engine.docker("ps", "--all", "--quiet").stdout == ""
    finally:
        engine.shell(f"umount {runs}; rm -rf /kept")
    # The same invitation is good still.
    invited.join()


def test_a_folder_that_the_workers_cannot_write_to_is_refused(invited: Invited, shared: Path) -> None:
    engine, runs = invited.host.engine, shared / "wc1"
    engine.shell(f"mount --bind {runs} {runs} && mount -o remount,bind,ro {runs}")
    try:
        said = invited.join(check=False).stderr
        assert f"workers run as {UID}:{GID} and cannot write to {runs}: Read-only file system" in said
    finally:
        engine.shell(f"umount {runs}")


def test_an_invitation_for_another_host_is_refused(
    main: MainHost, invited: Invited, hosts: tuple[Engine, ...]
) -> None:
    other = WorkerHost(hosts[1], invited.host.stack)
    said = other.invoke("worker-join", str(invited.file), f"--passphrase-file={invited.phrase}", check=False)
    assert said.returncode == 4
    assert "the invitation is for workers, and this host is serial" in said.stderr


def test_an_invitation_that_was_used_is_refused_elsewhere(invited: Invited, folder: Path) -> None:
    invited.join()
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    again = WorkerHost(invited.host.engine, Stack(elsewhere / ".env"))
    said = again.invoke("worker-join", str(invited.file), f"--passphrase-file={invited.phrase}", check=False)
    assert said.returncode == 4
    assert "the invitation was used at" in said.stderr
    assert not (elsewhere / ".env").exists()
    # The first one works on.
    running = invited.host.engine.docker("ps", "--quiet", "--filter", "health=healthy").stdout.split()
    assert len(running) == 2


def test_a_role_of_somebody_elses_is_left_alone(
    main: MainHost, hosts: tuple[Engine, ...], folder: Path
) -> None:
    assert folder
    psql = ["exec", "-T", "postgres", "psql", "-XqU", "postgres", "-c"]
    main.compose(*psql, 'CREATE ROLE "worker-serial"')
    try:
        done = main.invoke("worker-invite", f"--host={hosts[1].name}", check=False)
        assert done.returncode == 5
        assert "there is a role worker-serial that wepp-stack has not made" in done.stderr
        main.invoke("workers")
        assert "worker-serial" in main.compose(*ROLES).stdout
        told = re.search(r"docker exec (\S+) psql (.*) -c '(.*)'", done.stderr)
        assert told
        main.engine.docker("exec", told[1], "psql", *told[2].split(), "-c", told[3])
        assert "worker-serial" not in main.compose(*ROLES).stdout
    finally:
        main.compose(*psql, 'DROP ROLE IF EXISTS "worker-serial"')


def test_the_main_host_takes_a_lost_hosts_access_away(main: MainHost, invited: Invited) -> None:
    invited.join()
    told = main.invoke("worker-leave", "--host=workers", "--now").stderr
    assert "workers has no access any more" in told
    assert "worker-workers" not in stores(main)
    gateway = invited.host.stack.env_file.parent.name + "-gateway-1"
    asked = invited.host.engine.docker(
        "exec", gateway, "python", "/opt/stack/gateway.py", "ask", "look"
    ).stdout
    assert "does not let this host in" in asked


def test_a_queue_with_one_consumer_goes_to_the_host_that_joins_for_it_and_comes_back(
    main: MainHost, hosts: tuple[Engine, ...], image: str, folder: Path
) -> None:
    assert image
    invited = Invited(main, hosts[1], folder, queues="fork-archive")
    try:
        assert "fork-archive: taken over" in invited.join().stderr
        wait_for_notes(main, {"main": "fork-archive is not taken: host serial owns it", "serial": ""})
        invited.host.invoke("worker-leave")
        wait_for_notes(main, {"main": ""})
    finally:
        invited.end()


def wait_for_notes(main: MainHost, wanted: dict[str, str]) -> None:
    """Returns when `workers` tells these notes, one for each host."""
    deadline = time.monotonic() + 60
    while True:
        listed = json.loads(main.invoke("workers", "--json", check=False).stdout)["hosts"]
        notes = {each["host"]: each["note"] for each in listed}
        if notes == wanted:
            return
        assert time.monotonic() < deadline, listed
