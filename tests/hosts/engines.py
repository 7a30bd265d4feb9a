"""Hosts for tests: container engines, each in a privileged container with an address and a data folder of its own.

    with engines("main", "worker", folders=[shared]) as (main, worker):
        worker.load("wepp-checks-python:dev")
        worker.docker("run", "--rm", "wepp-checks-python:dev", "true")
        subprocess.run(["docker", "compose", "up"], env={**os.environ, **main.environment})

Host code talks to an engine with `Engine.environment`; this repository and `folders` have the same path in each, so
bind mounts of the compose files mean the same. A published port is at `Engine.address`, not at this machine's. The
engines listen without TLS, inside the test's own network alone.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests import containers

ROOT = Path(__file__).resolve().parents[2]
IMAGE = f"{containers.PROJECT}-host:dev"
PORT = 2375
START_SECONDS = 60.0
# Of a network of its own, by the number in the middle; .1 is this machine.
SUBNET = "10.213.{}.0/24"
Command = subprocess.CompletedProcess[str]


def run(*command: str, check: bool = True, timeout: float = 300, **variables: str) -> Command:
    """Run a command to its end. Raise AssertionError with what it said when it fails and `check` is on."""
    done = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=timeout, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert not check or not done.returncode, f"{command} ended with {done.returncode}\n{done.stderr}"
    return done


@dataclass
class Engine:
    """One host: `name` is its host's name, `address` the same after each start."""

    name: str
    address: str
    _cuts: list[tuple[str, ...]] = field(default_factory=list, repr=False)

    @property
    def container(self) -> str:
        """Name of the container that is the host, on this machine's engine."""
        return f"{self.name}-{os.getpid()}"

    @property
    def process_id(self) -> int:
        """The host's first process, as this machine numbers it."""
        return int(run("docker", "inspect", "--format={{.State.Pid}}", self.container).stdout)

    @property
    def url(self) -> str:
        """DOCKER_HOST for programs on this machine."""
        return f"tcp://{self.address}:{PORT}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which `docker` and tasks on this machine use this engine."""
        return {"DOCKER_HOST": self.url}

    def docker(self, *arguments: str, check: bool = True, timeout: float = 300) -> Command:
        """Run `docker` against this engine."""
        return run("docker", *arguments, check=check, timeout=timeout, **self.environment)

    def shell(self, script: str, check: bool = True) -> Command:
        """Run a line of sh in the host itself, as root."""
        return run("docker", "exec", self.container, "sh", "-c", script, check=check)

    # ---- life ----

    def start(self) -> None:
        """Start the host, or the engine in it, or neither where both run; wait until the engine answers."""
        run("docker", "start", self.container)
        if not self._answers():
            # Bound to this address alone. Without `--tls=false` it would wait 15 s so that somebody reads a warning.
            self.shell(
                f"nohup dockerd --host=unix:///var/run/docker.sock --host={self.url} --tls=false "
                "--storage-driver=overlay2 >> /var/log/dockerd.log 2>&1 &"
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, self.shell("tail -n 50 /var/log/dockerd.log").stdout
            time.sleep(0.1)

    def _answers(self) -> bool:
        return not self.docker("version", check=False).returncode

    def stop(self) -> None:
        """Stop the engine as a shutdown does: its containers get their time to end. Then the host."""
        self.shell("kill $(cat /var/run/docker.pid) && while test -e /var/run/docker.pid; do sleep 0.1; done")
        run("docker", "stop", "--time=1", self.container)

    def kill(self) -> None:
        """Kill the host, as a power cut does: every process in it at once. `start` brings it back."""
        run("docker", "kill", self.container)
        # The rules went with its network.
        self._cuts.clear()

    def kill_engine(self) -> None:
        """Kill the engine alone (SIGKILL); its containers run on, `start` brings it back."""
        self.shell("kill -9 $(cat /var/run/docker.pid)")

    # ---- images ----

    def load(self, *images: str) -> None:
        """Copy images of this machine's engine; one that is there already costs only the reading."""
        load(images, self)

    # ---- network ----

    def cut(self, *addresses: str, incoming: bool = True, outgoing: bool = True) -> None:
        """Drop every packet from or to these addresses, of the host and of its containers, until `heal`."""
        for address in addresses:
            rules = [
                *([("raw", "PREROUTING", "--source", address)] if incoming else []),
                *([("mangle", "POSTROUTING", "--destination", address)] if outgoing else []),
            ]
            for table, *rule in rules:
                self._iptables(table, "--insert", *rule)
                self._cuts.append((table, *rule))

    def heal(self) -> None:
        """Undo every `cut` of this host."""
        while self._cuts:
            table, *rule = self._cuts.pop()
            self._iptables(table, "--delete", *rule)

    @contextlib.contextmanager
    def partition(
        self, *addresses: str, incoming: bool = True, outgoing: bool = True, seconds: float = 0
    ) -> Iterator[None]:
        """A cut for the length of a block, and for `seconds` at least."""
        until = time.monotonic() + seconds
        self.cut(*addresses, incoming=incoming, outgoing=outgoing)
        try:
            yield
            time.sleep(max(0.0, until - time.monotonic()))
        finally:
            self.heal()

    def _iptables(self, table: str, change: str, chain: str, *rule: str) -> None:
        command = ["iptables", "--wait", "--table", table, change, chain, *rule, "--jump", "DROP"]
        run("docker", "exec", self.container, *command)


def load(images: Sequence[str], *into: Engine) -> None:
    """Copy images of this machine's engine to several engines; they are read once."""
    saving = subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE)
    loading = [
        subprocess.Popen(
            ["docker", "load"], env={**os.environ, **each.environment}, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        for each in into
    ]  # fmt: skip
    assert saving.stdout
    while chunk := saving.stdout.read(1 << 20):
        for each in loading:
            assert each.stdin
            each.stdin.write(chunk)
    for process in loading:
        process.communicate()
    assert not any(process.wait() for process in (saving, *loading)), f"not loaded: {images}"


def image() -> str:
    """The image of such a host, built if it is not there; returns its name."""
    base = f"BASE_IMAGE={containers.stand_in('python')}"
    folder = str(Path(__file__).parent)
    containers.run(["docker", "build", "--quiet", "--tag", IMAGE, "--build-arg", base, folder])
    return IMAGE


@contextlib.contextmanager
def engines(
    *names: str, folders: Sequence[Path] = (), options: Sequence[str] = ()
) -> Iterator[tuple[Engine, ...]]:
    """Hosts that run and answer, on a network of their own; removed with all their data whatever happens.

    folders: mounted in each at the path they have here. options: of `docker run` for each, such as `--cpus=1`.
    """
    built = image()
    # Found by its name for the test's process, which a leftover is told by.
    network = f"hosts-{names[0]}-{os.getpid()}"
    number = _network(network)
    made = tuple(Engine(name, f"10.213.{number}.{11 + index}") for index, name in enumerate(names))
    try:
        for each in made:
            mounts = [f"--volume={folder}:{folder}" for folder in (ROOT, *folders)]
            run(
                "docker", "run", "--detach", "--privileged", "--init", "--name", each.container,
                "--hostname", each.name, "--network", network, "--ip", each.address,
                # What an engine leaves in /run is of no use after a kill.
                "--tmpfs=/run", "--volume=/var/lib/docker", *mounts, *options, built,
            )  # fmt: skip
        with ThreadPoolExecutor() as pool:
            list(pool.map(Engine.start, made))
        yield made
    finally:
        run("docker", "rm", "--force", "--volumes", *(each.container for each in made), check=False)
        run("docker", "network", "rm", network, check=False)


def _network(name: str) -> int:
    """Make a network in the first subnet that no other one has; returns the number in its addresses."""
    for number in itertools.chain(range(os.getpid() % 256, 256), range(os.getpid() % 256)):
        made = run("docker", "network", "create", "--subnet", SUBNET.format(number), name, check=False)
        if not made.returncode:
            return number
        assert "overlaps" in made.stderr, made.stderr
    raise AssertionError("no subnet is free")
