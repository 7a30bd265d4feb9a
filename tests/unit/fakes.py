"""Stand-ins for programs, time, machine and terminal, and a small checkout to use them on."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.base.clock import Clock
from scripts.base.console import Console
from scripts.base.host import Host
from scripts.engine.compose import Compose
from scripts.engine.runner import LineProcess, Result, Runner

EXAMPLE = """\
# Name of the stack.
COMPOSE_PROJECT_NAME=wepppy
COMPOSE_FILE=docker/docker-compose.dev.yml
COMPOSE_PROFILES=geo
UID=
GID=
WEPPPY_SRC=
WEPPPY_REQUIREMENTS=requirements.txt

PORT_CADDY=8080
PORT_STATUS=9002
"""
# What the stack's secret files hold, by id.
SECRETS = {"postgres_password": "a-very-secret-word", "vapid_private_key": "another-secret-word"}
GIB = 1024**3
Answer = Callable[[Sequence[str]], Result | None]


@dataclass
class Call:
    """One program that was run: how, with which arguments, variables and input."""

    way: str
    argv: list[str]
    env: dict[str, str]
    stdin: str | None = None
    attended: bool = False


class FakeRunner(Runner):
    """Answers from a table of argument fragments; the rule that was added last counts most."""

    def __init__(self, *, dry: bool = False) -> None:
        self.dry = dry
        self.calls: list[Call] = []
        self.rules: list[tuple[tuple[str, ...], Callable[[Sequence[str]], Result]]] = []
        self.lines: dict[str, list[str]] = {}
        self.line_processes: list[FakeLineProcess] = []

    def on(self, *fragments: str, stdout: str = "", stderr: str = "", returncode: int = 0) -> None:
        """Calls whose arguments hold all fragments, each as a whole argument, get this answer."""
        self.rules.append((fragments, lambda argv: Result(tuple(argv), returncode, stdout, stderr)))

    def do(self, *fragments: str, action: Callable[[Sequence[str]], Result]) -> None:
        """Calls whose arguments hold all fragments are answered by `action`."""
        self.rules.append((fragments, action))

    def capture(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Result:
        """Answers a question."""
        del timeout
        return self._answer(Call("capture", list(argv), dict(env or {}), stdin))

    def stream(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
        attended: bool = False,
    ) -> Result:
        """Pretends to change something; its output goes to `on_line` line by line."""
        if self.dry:
            self.calls.append(Call("dry", list(argv), dict(env or {})))
            return Result(tuple(argv), 0)
        result = self._answer(Call("stream", list(argv), dict(env or {}), attended=attended))
        for line in result.stdout.splitlines() if on_line else ():
            assert on_line
            on_line(line)
        return result

    def attach(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> int:
        """Pretends to hand over the terminal."""
        return self._answer(Call("attach", list(argv), dict(env or {}))).returncode

    def line_process(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> FakeLineProcess:
        """Starts the next of `line_processes`."""
        self.calls.append(Call("line_process", list(argv), dict(env or {})))
        return self.line_processes.pop(0)

    def _answer(self, call: Call) -> Result:
        self.calls.append(call)
        for fragments, action in reversed(self.rules):
            if all(fragment in call.argv for fragment in fragments):
                return action(call.argv)
        raise AssertionError(f"nobody told the fake what to answer to {call.argv}")

    def commands(self, way: str = "stream") -> list[list[str]]:
        """Argument lists of what was run that way."""
        return [call.argv for call in self.calls if call.way == way]


@dataclass
class FakeClock(Clock):
    """Time that passes only by sleeping."""

    seconds: float = 0.0

    def monotonic(self) -> float:
        """Seconds slept so far."""
        return self.seconds

    def now(self) -> float:
        """The same, as if the epoch were the start."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Lets time pass."""
        self.seconds += seconds


@dataclass
class FakeHost(Host):
    """A machine whose disk, ports and programs are told."""

    free: int | None = 100 * GIB
    taken: dict[int, int] = field(default_factory=dict)
    who: str = "nginx (process 12)"
    commands: tuple[str, ...] = ("mmdebstrap",)

    def free_bytes(self, path: Path) -> int | None:
        """Told free bytes."""
        del path
        return self.free

    def bind_problem(self, address: str, port: int) -> int:
        """Told errno."""
        del address
        return self.taken.get(port, 0)

    def listener(self, port: int) -> str:
        """Told name."""
        del port
        return self.who

    def has_command(self, name: str) -> bool:
        """Told programs."""
        return name in self.commands


@dataclass
class Screen:
    """A console that is no terminal, and what it printed."""

    as_json: bool = False
    out: io.StringIO = field(default_factory=io.StringIO)
    err: io.StringIO = field(default_factory=io.StringIO)

    @property
    def console(self) -> Console:
        """The console that prints here."""
        return Console(as_json=self.as_json, out=self.out, err=self.err)


def service(image: str, *, port: int = 0, **more: Any) -> dict[str, Any]:
    """One service of a rendered model; published on the loopback under a number of its own."""
    published = more.pop("published", port)
    each: dict[str, Any] = {"image": image, **more}
    if port:
        each["ports"] = [{"host_ip": "127.0.0.1", "published": str(published), "target": port}]
    return each


def model(root: Path) -> dict[str, Any]:
    """A rendered model with one of each: proxy, backend, optional backend, store, one-shot."""
    secrets = root / ".docker-data" / "secrets"
    return {
        "name": "wepppy",
        "services": {
            "caddy": service("wepppy-caddy:dev", port=8080, build={"args": {"CADDY_IMAGE": "caddy:2.10"}}),
            "status": service(
                "wepppy-status:dev",
                port=9002,
                build={},
                depends_on={"upgrade": {}},
                labels={"wepp.about": "Messages", "wepp.probe": "/status/health", "wepp.probe.body": "OK"},
            ),
            "metquery": service(
                "wepppy-status:dev",
                profiles=["geo"],
                build={},
                labels={"wepp.probe": "/met/health", "wepp.probe.body": '"OK"', "wepp.url": "/met/"},
            ),
            "postgres": service("postgres:17-trixie", container_name="wepppy-postgres"),
            "upgrade": service("wepppy-status:dev", build={}, labels={"wepp.role": "one-shot"}),
        },
        "secrets": {
            "postgres_password": {"file": str(secrets / "postgres_password")},
            "vapid_private_key": {"file": str(secrets / "vapid_private_key")},
            "ca_bundle": {"file": "/dev/null"},
        },
    }


def container(name: str, *, status: str = "running", health: str = "healthy", **more: Any) -> dict[str, Any]:
    """One answer of `docker inspect`."""
    state: dict[str, Any] = {
        "Status": status,
        "ExitCode": more.get("exit_code", 0),
        "StartedAt": "1970-01-01T00:00:00Z",
    }
    if health:
        state["Health"] = {"Status": health, "Log": [{"Output": more.get("health_output", "fine\n")}]}
    return {
        "Id": f"id-{name}",
        "Name": f"/wepppy-{name}-1",
        "State": state,
        "Config": {
            "Labels": {
                **({"wepp.role": "one-shot"} if name == "upgrade" else {}),
                "com.docker.compose.service": name,
                "com.docker.compose.project": more.get("project", "wepppy"),
                "com.docker.compose.project.working_dir": more.get("folder", ""),
            }
        },
        "HostConfig": {"PortBindings": more.get("bindings", {})},
        "NetworkSettings": {"Ports": more.get("ports", {})},
    }


class Checkout:
    """A small checkout in `root` whose engine is the fake; everything well until a test spoils it."""

    def __init__(self, root: Path, *, dry: bool = False) -> None:
        self.root = root
        self.runner = FakeRunner(dry=dry)
        # Indexes of this machine's own are none of the tests' business.
        self.environment: dict[str, str] = {
            "HOME": str(root),
            "PIP_CONFIG_FILE": os.devnull,
        }
        (root / ".env.example").write_text(EXAMPLE)
        tree = root / "docker" / "sample"
        for name in ("wepppy/weppcloud", "wepppy/sample_data", "services/status2", "services/preflight2"):
            (tree / name).mkdir(parents=True)
        (tree / "wepppy/weppcloud/app.py").touch()
        (tree / "requirements.txt").touch()
        (root / "docker" / "docker-compose.dev.yml").write_text("services: {}\n")
        self.runner.on("docker", "ps", "--quiet")
        self.containers_are(
            [container(name) for name in ("caddy", "status", "metquery", "postgres")]
            + [container("upgrade", status="exited", health="")]
        )
        self.images_are("wepppy-caddy:dev", "wepppy-status:dev", "postgres:17-trixie", "caddy:2.10")
        runner = self.runner
        self.engine_is()
        runner.on("docker", "ps", "label=com.docker.compose.service=postgres-backup")
        runner.on("config", "json", stdout=json.dumps(model(root)))
        runner.on("docker", "volume", "ls", stdout="wepppy_pgdata\nwepppy_wc1\n")
        runner.on("docker", "volume", "inspect", stdout="wepppy_pgdata\t2026-11-29T14:06:25Z\n")
        runner.on("docker", "network", "ls")
        runner.on("docker", "volume", "rm")
        runner.on("docker", "logs", stdout="1970-01-01T00:00:01Z last words\n")
        runner.on("docker", "inspect", "{{.Image}}")
        runner.on("docker", "start", stdout="wepppy-upgrade-1\n")
        runner.on("docker", "wait", stdout="0\n")
        runner.on("build")
        runner.on("up")
        runner.on("down")

    def engine_is(self, version: str = "26.1", **plugins: str) -> None:
        """What the engine and its client say of themselves. plugins: their versions."""
        plugins = plugins or {"compose": "2.26.1-4", "buildx": "0.13.1"}
        answer = {
            "ServerVersion": version, "NCPU": 2, "MemTotal": 16 * GIB, "DockerRootDir": "/var/lib/docker",
            "ClientInfo": {"Plugins": [{"Name": name, "Version": text} for name, text in plugins.items()]},
        }  # fmt: skip
        self.runner.on("docker", "info", stdout=json.dumps(answer))

    def with_env(self, *, mode: int = 0o600, **changes: str) -> Path:
        """Writes a `.env` that is complete, apart from the changes."""
        values = {
            "COMPOSE_PROJECT_NAME": "wepppy",
            "COMPOSE_FILE": "docker/docker-compose.dev.yml",
            "COMPOSE_PROFILES": "geo",
            "UID": "1000",
            "GID": "1000",
            "WEPPPY_SRC": "",
            "WEPPPY_REQUIREMENTS": "requirements.txt",
            "PORT_CADDY": "8080",
            "PORT_STATUS": "9002",
            **changes,
        }
        path = self.root / ".env"
        path.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
        path.chmod(mode)
        return path

    def with_secrets(self, **values: str) -> None:
        """Writes the secret files that the model mounts."""
        folder = self.root / ".docker-data" / "secrets"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, value in {**SECRETS, **values}.items():
            (folder / name).unlink(missing_ok=True)
            (folder / name).write_text(value)
            (folder / name).chmod(0o444)

    def containers_are(self, answers: Sequence[dict[str, Any]]) -> None:
        """What the engine holds for the project."""
        self.runner.on("docker", "ps", "--all", stdout="".join(f"{each['Id']}\n" for each in answers))
        self.runner.on("docker", "inspect", "container", stdout=json.dumps(list(answers)))

    def starts(self, *answers: dict[str, Any]) -> None:
        """What the engine holds once `docker compose up` has ended well."""

        def up(argv: Sequence[str]) -> Result:
            self.containers_are(answers)
            return Result(tuple(argv), 0)

        self.runner.do("up", action=up)

    def with_seen_volumes(self) -> None:
        """The volumes that the engine holds are this checkout's."""
        folder = self.root / ".docker-data"
        folder.mkdir(exist_ok=True)
        (folder / "volumes.json").write_text(json.dumps({"wepppy_pgdata": "2026-11-29T14:06:25Z"}))

    def images_are(self, *names: str) -> None:
        """Which images the engine holds."""

        def inspect(argv: Sequence[str]) -> Result:
            found = [name for name in argv if name in names]
            missing = len(found) < len(argv[argv.index("--format") + 2 :])
            stderr = "Error response from daemon: No such image: one-of-them" if missing else ""
            ids = "".join(f"sha256:{name}\n" for name in found)
            return Result(tuple(argv), int(missing), ids, stderr)

        self.runner.do("docker", "image", "inspect", action=inspect)

    def compose(self, *profiles: str) -> Compose:
        """The stack of this checkout."""
        return Compose(self.root, self.runner, environment=self.environment, profiles=profiles)


@dataclass
class FakeLineProcess(LineProcess):
    """A program that says `script` line by line, waiting for a word after each `ready`, and ends with `status`."""

    script: list[str]
    status: int = 0
    complaints: str = ""
    heard: list[str] = field(default_factory=list)
    ended: bool = False

    def lines(self) -> Iterator[str]:
        """The lines that are left."""
        while self.script:
            yield self.script.pop(0)

    def send(self, word: str) -> None:
        """Remembers the word."""
        self.heard.append(word)

    def end(self) -> tuple[int, str]:
        """Ends it."""
        self.ended = True
        return self.status, self.complaints
